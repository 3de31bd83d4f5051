package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// cell is two apps on one SDK in one browser before one identity provider, whose session ends in one way.
type cell struct {
	*matrixStack
	t             *testing.T
	sdk           string
	first, second *tab
}

// outcome is what the user notices of an end: in the other app, in its open page, and at the next login.
type outcome struct {
	other  string // the other app's next exchange: "dead", or "alive"
	told   string // the reason in its page's event, "" for none
	signOn string // single sign-on: "ended", or "untouched"
	asked  bool   // the first app's next login shows the login form
}

// newCell logs both apps in, in a fresh browser, and lets the second one watch its session.
func newCell(t *testing.T, st *matrixStack, sdk string) *cell {
	t.Helper()
	ctx, cancel := chromedp.NewContext(st.browserContext, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("opening a fresh browser: %v", err)
	}
	c := &cell{matrixStack: st, t: t, sdk: sdk}
	c.first = open(t, ctx, st.apps[sdk][0])
	if !c.first.enter("alice") {
		t.Error("the first login showed no form")
	}
	c.second = open(t, ctx, st.apps[sdk][1])
	if c.second.enter("alice") {
		t.Error("the second app showed a form: there is no single sign-on")
	}
	must[bool](c.second, `spa.watch()`)
	must[any](c.second, `spa.event('session', 5000)`)
	return c
}

// observe looks at everything that the user may notice. patience is how long the end may take to come by itself.
func (c *cell) observe(want outcome, patience time.Duration) (got outcome) {
	t := c.t
	t.Helper()
	if want.told != "" {
		got.told = c.told(c.second, patience+time.Second) // an end is told within one second
	}
	got.other = c.alive(c.second)
	if want.told == "" && must[bool](c.second, `spa.events.some((e) => e.name === 'ended')`) {
		t.Error("the other app's page was told of an end")
	}
	got.signOn = map[string]string{"code": "untouched", "login_required": "ended"}[c.first.silently(c.stack, c.one)]
	if c.sdk == "auth0" && got.other == "dead" {
		// The SDK's fallback, where an app has switched it on, brings no login back that has ended.
		fallback := must[string](c.second, `spa.fallback().then(() => 'token', (err) => err.error)`)
		if fallback != "login_required" && got.signOn == "ended" {
			t.Errorf("the SDK's fallback: %q", fallback)
		}
	}
	c.first.visit(c.first.origin + "/")
	c.first.ready()
	got.asked = c.first.enter("alice")
	distinct(t, must[[]string](c.first, `spa.several(2)`), 2)
	if got.other == "dead" && c.second.enter("alice") {
		t.Error("the second app shows a form after the new login")
	}
	distinct(t, must[[]string](c.second, `spa.several(2)`), 2)
	return got
}

// told waits until a page is told of the end, and returns the reason.
func (c *cell) told(tb *tab, patience time.Duration) string {
	c.t.Helper()
	millis, _ := json.Marshal(patience.Milliseconds())
	event := must[struct{ Data string }](tb, `spa.event('ended', `+string(millis)+`)`)
	var data struct{ Reason string }
	if err := json.Unmarshal([]byte(event.Data), &data); err != nil {
		c.t.Errorf("the event's data %q: %v", event.Data, err)
	}
	return data.Reason
}

// alive tries an exchange, which a dead session refuses by the SDK's own error with the text that clients match.
func (c *cell) alive(tb *tab) string {
	c.t.Helper()
	got := must[struct{ Error, Description string }](tb, `spa.exchange().then(() => ({}), (err) => ({ error: err.error ?? err.name, description: err.error_description ?? err.message }))`)
	switch {
	case got.Error == "":
		return "alive"
	case got.Error != "invalid_grant" || !strings.HasPrefix(got.Description, "Unknown or invalid refresh token"):
		c.t.Errorf("the SDK's error is %+v", got)
	}
	return "dead"
}

// sid is the first app's name for the login at the identity provider, sub its user's.
func (c *cell) sid() string { return c.claim("sid") }
func (c *cell) sub() string { return c.claim("sub") }

func (c *cell) claim(name string) string {
	c.t.Helper()
	parts := strings.Split(must[string](c.first, `spa.idToken()`), ".")
	if len(parts) != 3 {
		c.t.Fatal("the ID token is no JWT")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims map[string]any
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	value, _ := claims[name].(string)
	if err != nil || value == "" {
		c.t.Fatalf("the ID token has no %s: %v", name, err)
	}
	return value
}

// adminEndsEach ends, one by one, every session of the user that the session API lists as alive.
func (c *cell) adminEndsEach() {
	c.t.Helper()
	var page struct {
		Sessions []struct {
			ID    string
			Ended *struct{}
		}
	}
	c.adminAsks(http.MethodGet, "/sessions?limit=500&sub="+url.QueryEscape(c.sub()), &page)
	for _, s := range page.Sessions {
		if s.Ended == nil {
			c.adminEnds("/sessions/" + s.ID)
		}
	}
}

func (c *cell) adminEnds(path string) {
	c.t.Helper()
	var got struct{ Ended int }
	if c.adminAsks(http.MethodDelete, path, &got); got.Ended == 0 {
		c.t.Error("the session API ended nothing")
	}
}

func (c *cell) adminAsks(method, path string, out any) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.admin+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+matrixAdmin)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("the session API: %s %v", resp.Status, err)
	}
}

// leave starts a logout and walks through the provider's pages; answer says what the user does where he is asked.
func (c *cell) leave(expression string, answer bool) (asked bool) {
	t := c.t
	t.Helper()
	c.first.begin(expression)
	const question = `document.querySelector('button[name=logout], #kc-logout, form[action$="/end_session"] button')`
	bye := c.first.origin + "/bye"
	c.first.poll("the provider's answer to the logout", `(location.href.startsWith('`+bye+`') || !!`+question+`) && document.readyState === 'complete'`)
	if asked = must[bool](c.first, `!!`+question); asked && answer {
		c.first.begin(question + `.click()`)
		c.first.poll("the way back", `location.href.startsWith('`+bye+`')`)
	}
	return asked
}

// forgetProvider takes the provider's cookies from the browser, as when its login is lost there.
func (c *cell) forgetProvider() {
	c.t.Helper()
	err := c.first.within(func(ctx context.Context) error {
		for _, name := range []string{"KEYCLOAK_IDENTITY", "KEYCLOAK_SESSION", "_session", "_session.sig", "demo_idp_session"} {
			for _, path := range []string{"/", "/realms/ort/"} {
				if _, err := chromedp.Call(ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: name, Domain: "127.0.0.1", Path: path}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatalf("forgetting the provider's cookies: %v", err)
	}
}

// poll waits until an expression is true; a page that is just being replaced is asked again.
func (tb *tab) poll(what, expression string) {
	tb.t.Helper()
	for deadline := time.Now().Add(pageTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if yes, err := call[bool](tb, `!!(`+expression+`)`); err == nil && yes {
			return
		}
	}
	where, _ := call[string](tb, `location.href + '\n' + document.documentElement.outerHTML.slice(0, 1500)`)
	tb.t.Fatalf("waiting for %s: the page is %s", what, where)
}

// begin evaluates what leaves the page.
func (tb *tab) begin(expression string) {
	tb.t.Helper()
	if _, err := call[bool](tb, `(document.getElementById('state') && (document.getElementById('state').textContent = 'leaving'), `+expression+`, true)`); err != nil {
		tb.t.Fatal(err)
	}
}

func (tb *tab) visit(address string) {
	tb.t.Helper()
	if err := tb.within(func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Navigate(address)) }); err != nil {
		tb.t.Fatalf("opening %s: %v", address, err)
	}
}

// enter logs in and says whether the form was shown.
func (tb *tab) enter(user string) (asked bool) {
	tb.t.Helper()
	tb.begin(`spa.login()`)
	tb.poll("the form or the app", `document.getElementById('password') || location.href.startsWith('`+tb.origin+`/') && document.getElementById('state').textContent !== 'leaving'`)
	if asked = must[bool](tb, `!!document.getElementById('password')`); asked {
		tb.fillIn(user)
	}
	tb.ready()
	return asked
}

// silently asks the provider for a login that needs nobody (prompt=none), without an ORT, and returns "code" or the error.
// It leaves the app's page.
func (tb *tab) silently(st *stack, client string) string {
	tb.t.Helper()
	back := tb.origin + "/silent"
	tb.visit(st.metadata.Authorization + "?" + url.Values{
		"client_id": {client}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {"openid"}, "prompt": {"none"},
		"state": {random(12)}, "nonce": {random(12)}, "code_challenge": {hash64(random(32))}, "code_challenge_method": {"S256"},
	}.Encode())
	tb.poll("the answer to prompt=none", `location.href.startsWith('`+back+`')`)
	return must[string](tb, `(new URLSearchParams(location.search)).get('error') ?? 'code'`)
}
