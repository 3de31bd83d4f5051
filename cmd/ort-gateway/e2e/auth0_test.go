package e2e

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

var auth0Paths = map[string]string{"ORT_AUTH0_PATHS": "true"}

// Auth0's SPA SDK runs unmodified before a provider that has never heard of its paths.
func TestAuth0SPASDKOnAuth0Paths(t *testing.T) {
	t.Run("oidc-provider, tokens in local storage", func(t *testing.T) {
		twoApps(t, "auth0", "localstorage", setup{tls: true, env: auth0Paths})
	})
	t.Run("oidc-provider, tokens in memory", func(t *testing.T) {
		twoApps(t, "auth0", "memory", setup{suffix: "/", env: auth0Paths})
	})
	t.Run("demo's provider", func(t *testing.T) {
		twoApps(t, "auth0", "localstorage", setup{tls: true, embedded: true, env: auth0Paths})
	})
}

// auth0Stack is one app on Auth0's SDK before oidc-provider on its own paths.
func auth0Stack(t *testing.T, s setup, c spaConfig, host string) (*stack, *spa) {
	t.Helper()
	chromiumProgram(t)
	nodeProgram(t)
	one := startSPA(t, "one", "auth0")
	if host != "" {
		one.origin = strings.Replace(one.origin, "one.localhost", host, 1)
	}
	s.origins, s.env = [2]string{one.origin, "http://two.localhost:3002"}, maps.Clone(s.env)
	if s.env == nil {
		s.env = map[string]string{}
	}
	s.env["ORT_AUTH0_PATHS"] = "true"
	st := startStack(t, s)
	c.Origin, c.Domain, c.ClientID = st.origin, st.origin, "app-one"
	if s.tls { // the SDK takes issuers of https alone
		c.Issuer = st.issuer
	}
	one.config.Store(&c)
	return st, one
}

// response_mode=web_message: the form and the code come in a popup, and the tokens to the page that opened it.
func TestAuth0SPASDKPopup(t *testing.T) {
	st, one := auth0Stack(t, setup{tls: true}, spaConfig{Cache: "localstorage"}, "")
	tab := open(t, chromium(t), one)
	if got := tab.popup(t, true); got != "alice" {
		t.Errorf("the popup's user is %q", got)
	}
	distinct(t, must[[]string](tab, `spa.several(5)`), 5)
	if got := tab.popup(t, false); got != "alice" {
		t.Errorf("the second popup's user is %q", got)
	}
	distinct(t, must[[]string](tab, `spa.several(2)`), 2)
	if logins := st.logins(); logins != 1 {
		t.Errorf("%d login forms", logins)
	}
}

// popup logs in by a popup, which asks for a password where form is set. That one the app opens itself, as the SDK lets
// it, so that chromedp watches an empty page: it must not attach to one that is just being loaded (it would read the
// page's nodes while it still notes them).
func (tb *tab) popup(t *testing.T, form bool) string {
	t.Helper()
	popup := "undefined"
	var inside *tab
	if form {
		popup = "window.popup"
		inside = tb.opened(t, `(`+popup+` = window.open('about:blank', 'popup', 'width=400,height=600'), true)`)
	}
	state := `document.getElementById('state').textContent`
	must[bool](tb, `(`+state+` = 'waiting', spa.popup(`+popup+`).then((user) => { `+state+` = user }, (err) => { `+state+` = 'failed: ' + err }), true)`)
	if form {
		inside.fillIn("alice")
	}
	return tb.await("the popup's answer", func(_, state string) bool { return state != "waiting" })
}

// opened is the tab that an expression opens.
func (tb *tab) opened(t *testing.T, expression string) *tab {
	t.Helper()
	found := chromedp.WaitNewTarget(tb.ctx, func(*target.Info) bool { return true })
	must[bool](tb, expression)
	var id target.ID
	select {
	case id = <-found:
	case <-time.After(pageTimeout):
		t.Fatal("no tab was opened")
	}
	ctx, cancel := chromedp.NewContext(tb.ctx, chromedp.WithTargetID(id))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("watching the tab that was opened: %v", err)
	}
	return &tab{t: t, ctx: ctx}
}

// A hidden frame renews without refresh tokens where the provider's cookie comes with it.
func TestAuth0SPASDKFrame(t *testing.T) {
	t.Run("same site", func(t *testing.T) {
		_, one := auth0Stack(t, setup{suffix: "/"}, spaConfig{Cache: "localstorage"}, "127.0.0.1")
		tab := open(t, chromium(t), one)
		tab.login("alice", true)
		for range 2 {
			if got := must[string](tab, `spa.frame()`); got == "" {
				t.Error("no token")
			}
		}
		distinct(t, must[[]string](tab, `spa.several(2)`), 2)
	})
	t.Run("another site, whose frames get no cookies: the error comes as a message too", func(t *testing.T) {
		_, one := auth0Stack(t, setup{tls: true}, spaConfig{Cache: "localstorage"}, "")
		tab := open(t, chromium(t), one)
		tab.login("alice", true)
		if got := must[string](tab, `spa.frame().then(() => 'token', (err) => err.error)`); got != "login_required" {
			t.Errorf("the hidden frame was answered %q", got)
		}
	})
}

// The SDK's bodies in JSON, from the page and from its worker, to a provider elsewhere and to one at Auth0's paths.
func TestAuth0SPASDKInJSON(t *testing.T) {
	for cache, routes := range map[string]string{"localstorage": "default", "memory": "auth0"} {
		t.Run(cache+", "+routes+" paths", func(t *testing.T) {
			_, one := auth0Stack(t, setup{tls: true, provider: providerConfig{Routes: routes}}, spaConfig{Cache: cache, JSON: true}, "")
			tab := open(t, chromium(t), one)
			tab.login("alice", true)
			distinct(t, must[[]string](tab, `spa.several(5)`), 5)
			must[any](tab, `spa.revoke().then(() => null)`)
			if refused := must[struct{ Error string }](tab, `spa.refused()`); refused.Error == "" {
				t.Error("an exchange after the revocation")
			}
		})
	}
}

// One ORT for several APIs (MRRT): the SDK's audience is the upstream's resource, at login and at each exchange.
func TestAuth0SPASDKForSeveralAudiences(t *testing.T) {
	const first, second = "https://one.api.test", "https://two.api.test"
	for _, cache := range []string{"localstorage", "memory"} {
		t.Run(cache, func(t *testing.T) {
			st, one := auth0Stack(t, setup{
				tls: true, provider: providerConfig{Scope: "openid profile email read"},
				env: map[string]string{"ORT_AUTH0_AUDIENCE": "resource", "ORT_AUDIENCES": first + "," + second},
			}, spaConfig{Cache: cache, Audience: first, Resource: second}, "")
			tab := open(t, chromium(t), one)
			tab.login("alice", true)
			for range 2 {
				for _, audience := range []string{second, first} {
					if got := must[string](tab, `spa.exchangeFor('`+audience+`')`); got != audience {
						t.Errorf("a token for %q, want %q", got, audience)
					}
				}
			}
			got := must[[]string](tab, `Promise.all([1, 2, 3, 4].map((n) => spa.exchangeFor(n % 2 ? '`+first+`' : '`+second+`')))`)
			if !slices.Equal(got, []string{first, second, first, second}) {
				t.Errorf("in parallel: %q", got)
			}
			if refused := must[string](tab, `spa.exchangeFor('https://three.api.test').catch((err) => err.error)`); refused != "invalid_target" {
				t.Errorf("an API that is not listed: %q", refused)
			}
			if n := len(st.provider.seen(t).Refused); n > 0 {
				t.Errorf("the upstream refused %d requests", n)
			}
		})
	}
}

// The SDK's logout goes to /v2/logout: the provider asks, ends its login and leads back; so it does without a login.
func TestAuth0SPASDKLogout(t *testing.T) {
	_, one := auth0Stack(t, setup{tls: true}, spaConfig{Cache: "localstorage"}, "")
	browser := chromium(t)
	first := open(t, browser, one)
	first.login("alice", true)
	second := open(t, browser, one)
	must[bool](second, `spa.watch()`)
	must[any](second, `spa.event('session', 2000)`)
	if _, err := call[bool](first, `(spa.logout(), true)`); err != nil {
		t.Fatal(err)
	}
	first.await("the provider's question", func(where, _ string) bool { return strings.Contains(where, "/session/end") })
	err := first.within(func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`button[name=logout]`)))
	})
	if err != nil {
		t.Fatalf("confirming: %v", err)
	}
	first.await("the way back", func(where, _ string) bool { return where == one.origin+"/bye" })
	must[any](second, `spa.event('ended', 2000)`)

	if _, err := call[bool](second, `(spa.logout(), true)`); err != nil { // the provider's login is gone
		t.Fatal(err)
	}
	second.await("the way back without a login", func(where, _ string) bool { return where == one.origin+"/bye" })
	third := open(t, browser, one)
	third.login("alice", true)
	distinct(t, must[[]string](third, `spa.several(2)`), 2)
}

// JSON bodies become forms, and audience becomes resource where that is set.
func TestAuth0PathsOfAScriptedClient(t *testing.T) {
	st := startStack(t, setup{env: map[string]string{"ORT_AUTH0_PATHS": "true", "ORT_AUTH0_AUDIENCE": "resource", "ORT_AUDIENCES": "https://one.api.test,https://two.api.test"}})
	for member, want := range map[string]*string{
		"/authorize": &st.metadata.Authorization, "/oauth/token": &st.metadata.Token, "/oauth/revoke": &st.metadata.Revocation,
		"/v2/logout": &st.metadata.EndSession, "/oauth/par": &st.metadata.PAR,
	} {
		*want = st.origin + member
	}
	a := st.app("app-one", nil)
	a.loginWith(t, url.Values{"audience": {"https://one.api.test", "https://two.api.test"}})
	a.works(t)
	if got, err := a.exchangeWith(url.Values{"audience": {"https://two.api.test"}}); err != nil || got.status != http.StatusOK {
		t.Errorf("an exchange for another audience: %v %v", got, err)
	}
	if got, err := a.exchangeWith(url.Values{"audience": {"https://three.api.test"}}); err != nil || got.Error != "invalid_target" {
		t.Errorf("an exchange for an audience that is not listed: %v %v", got, err)
	}
	body := `{"grant_type":"refresh_token","client_id":"app-one","refresh_token":"` + a.ort + `"}`
	req, err := http.NewRequest(http.MethodPost, st.metadata.Token, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("DPoP", a.key.proof(http.MethodPost, st.metadata.Token, a.nonce, ""))
	resp, err := a.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if text := readAll(resp.Body); resp.StatusCode != http.StatusOK || strings.Contains(text, "refresh_token") {
		t.Errorf("an exchange in JSON: %s %.200s", resp.Status, text)
	}
	resp.Body.Close()
	b := st.app("app-two", a.browser)
	b.viaPAR = true
	b.login(t)
	mustRevoke(t, a)
	b.dead(t)
	b.login(t)
	b.logout(t, url.Values{"client_id": {b.id}, "returnTo": {b.bye()}}, true)
	b.dead(t)
}
