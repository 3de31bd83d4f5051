package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// ends says whether revoking one app's ORT ends the other's: they share a session.
func (a *app) ends(b *app) bool {
	a.t.Helper()
	if resp := a.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {a.client}}.Encode()); resp.StatusCode != 200 {
		a.t.Fatalf("revoking: %d", resp.StatusCode)
	}
	return b.exchange().StatusCode != http.StatusOK
}

// visit is an authorization request of a browser with those cookies, and what it
// is given: a code, and the browser's cookie.
func (a *app) visit(cookie string, change ...string) (code, own string) {
	a.t.Helper()
	resp := a.do(http.MethodGet, "/authorize?"+a.authorize(change...).Encode(), "", "Cookie", cookie)
	for _, c := range resp.Cookies() {
		if strings.HasSuffix(c.Name, "ort") {
			own = c.Name + "=" + c.Value
		}
	}
	if to, err := resp.Location(); err == nil {
		code = to.Query().Get("code")
	}
	return code, own
}

// with exchanges a code that came in any way.
func (a *app) with(code string) *app {
	a.t.Helper()
	body := a.is("code exchange", a.redeem(code), 200, `"refresh_token":"ORT1.`)
	_, rest, _ := strings.Cut(body, `"refresh_token":"`)
	a.ort, _, _ = strings.Cut(rest, `"`)
	return a
}

// Two browsers with one challenge: the login is of the one that got the code.
func TestLoginBelongsToTheBrowserThatGetsTheCode(t *testing.T) {
	r, idp := idpRig(t, func(c *proxytest.Config) { c.User = "" }) // the form is shown
	first := r.app()
	_, mine := first.visit("")
	_, victims := first.visit("") // the same link, opened in another browser
	if mine == "" || victims == "" || mine == victims {
		t.Fatalf("cookies %q %q", mine, victims)
	}
	idp.User = "alice"
	code, _ := first.visit(victims)
	first.with(code)
	theirs, others := r.app(), r.app()
	theirs.client, others.client = "spa2", "spa2"
	code, _ = theirs.visit(victims)
	theirs.with(code)
	code, _ = others.visit(mine)
	others.with(code)
	if others.ends(first) {
		t.Error("the browser that only knew the link shares the session")
	}
	if !theirs.ends(first) {
		t.Error("the browser that got the code does not share the session")
	}
}

// Where no redirect with the code is seen, it is the one browser that asked.
func TestLoginWithoutARedirectIsOfTheOneBrowserThatAsked(t *testing.T) {
	formPost := func(r *rig, a *app, cookie string) (code, own string) {
		resp := r.do(http.MethodGet, "/authorize?"+a.authorize("response_mode", "form_post").Encode(), "", "Cookie", cookie)
		for _, c := range resp.Cookies() {
			if strings.HasSuffix(c.Name, "ort") {
				own = c.Name + "=" + c.Value
			}
		}
		_, rest, _ := strings.Cut(text(resp), `name="code" value="`)
		code, _, _ = strings.Cut(rest, `"`)
		return code, own
	}
	for name, strangers := range map[string]bool{"one browser": false, "two browsers": true} {
		t.Run(name, func(t *testing.T) {
			r, _ := idpRig(t, func(c *proxytest.Config) { c.WithoutSID = true })
			a, b := r.app(), r.app()
			b.client = "spa2"
			_, cookie := formPost(r, a, "")
			code, _ := formPost(r, a, cookie)
			if strangers {
				formPost(r, a, "")
			}
			a.with(code)
			code, _ = b.visit(cookie)
			b.with(code)
			if joined := b.ends(a); joined == strangers {
				t.Errorf("the apps share a session: %v", joined)
			}
		})
	}
}

func TestTwoAppsOfOneBrowserShareASession(t *testing.T) {
	r, _ := idpRig(t, nil)
	a := r.app().login()
	b := r.app()
	b.client, b.cookie = "spa2", a.cookie
	b.login()
	c := r.app() // another browser, another login
	c.client = "spa2"
	c.login()
	if c.ends(a) || !b.ends(a) {
		t.Error("sessions are of browsers")
	}
}

// A pushed request is tied to the browser that uses it.
func TestPushedLoginIsOfTheBrowserThatUsesIt(t *testing.T) {
	r, _ := idpRig(t, nil)
	a := r.app()
	body := r.is("pushing", r.do(http.MethodPost, "/par", a.authorize().Encode()), 201)
	_, rest, _ := strings.Cut(body, `"request_uri":"`)
	uri, _, _ := strings.Cut(rest, `"`)
	resp := r.do(http.MethodGet, "/authorize?"+url.Values{"client_id": {"spa"}, "request_uri": {uri}}.Encode(), "")
	to, err := resp.Location()
	if err != nil {
		t.Fatal(resp.StatusCode)
	}
	for _, c := range resp.Cookies() {
		if c.Name == "__Host-ort" {
			a.cookie = c.Name + "=" + c.Value
		}
	}
	if a.cookie == "" || len(resp.Header.Values("Set-Cookie")) != 2 {
		t.Errorf("cookies %q", resp.Header.Values("Set-Cookie"))
	}
	a.with(to.Query().Get("code"))
	b := r.app()
	b.client, b.cookie = "spa2", a.cookie
	if !b.login().ends(a) {
		t.Error("the apps share no session")
	}
}

func TestBrowserCookieUnderPlainHTTP(t *testing.T) {
	keys, _ := seal.ParseKeys(seal.NewKey())
	b := newBrowsers(keys.Box("cookie"), false, 1e9)
	h := http.Header{}
	b.set(h, b.fresh())
	if line := h.Get("Set-Cookie"); !strings.HasPrefix(line, "ort=") || strings.Contains(line, "Secure") {
		t.Errorf("got %q", line)
	}
}

// A cookie of a former sealing key is good as long as the key is there; none else.
func TestBrowserCookieFollowsTheKeys(t *testing.T) {
	old := seal.NewKey()
	keys, _ := seal.ParseKeys(old)
	b := newBrowsers(keys.Box("cookie"), true, 1e9)
	value := b.fresh()
	both, err := seal.ParseKeys(seal.NewKey() + "," + old)
	if err != nil {
		t.Fatal(err)
	}
	keys.Replace(both)
	req, _ := http.NewRequest(http.MethodGet, public, nil)
	req.Header.Set("Cookie", "__Host-ort=planted; __Host-ort="+value)
	if b.of(req) != value {
		t.Error("the cookie of a current key is not taken")
	}
	other, _ := seal.ParseKeys(seal.NewKey())
	keys.Replace(other)
	if b.of(req) != "" {
		t.Error("the cookie of a key that is gone is taken")
	}
}

// With the store down what needs it waits, and all else passes.
func TestStoreDown(t *testing.T) {
	r, _ := idpRig(t, nil)
	a := r.app().login()
	code := r.app()
	waiting := code.code()
	r.store.Close()
	page := func(what string, resp *http.Response) {
		t.Helper()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %v", what, resp.StatusCode, resp.Header)
		}
	}
	page("a request for online_access", r.do(http.MethodGet, "/authorize?"+r.app().authorize().Encode(), ""))
	plain := r.app().authorize("scope", "openid").Encode()
	page("with a login cookie", r.do(http.MethodGet, "/authorize?"+plain, "", "Cookie", "idp=x"))
	r.unavailable("PAR", r.do(http.MethodPost, "/par", r.app().authorize().Encode()))
	r.unavailable("code exchange", code.redeem(waiting))
	r.unavailable("ORT exchange", a.exchange())
	r.unavailable("revocation", r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode()))
	r.unavailable("session", a.ask("/_ort/session"))
	r.unavailable("events", a.ask("/_ort/session/events"))
	page("a logout with a login cookie", r.do(http.MethodGet, "/logout", "", "Cookie", "idp=x"))
	page("a posted one", r.do(http.MethodPost, "/logout", "client_id=spa", "Cookie", "idp=x"))
	before := r.count()
	for what, resp := range map[string]*http.Response{
		"a logout":                      r.do(http.MethodGet, "/logout?post_logout_redirect_uri="+home, ""),
		"a logout with our cookie":      r.do(http.MethodGet, "/logout", "", "Cookie", a.cookie),
		"another authorization request": r.do(http.MethodGet, "/authorize?"+plain, ""),
		"PAR":                           r.do(http.MethodPost, "/par", plain),
		"another grant":                 r.do(http.MethodPost, "/token", "grant_type=client_credentials&client_id=spa"),
		"userinfo with a login cookie":  r.do(http.MethodGet, "/userinfo", "", "Cookie", "idp=x"),
		"a page with a login cookie":    r.do(http.MethodGet, "/page", "", "Cookie", "idp=x"),
		"introspection":                 r.do(http.MethodPost, "/introspect", "client_id=spa&token=x"),
		"another token's revocation":    r.do(http.MethodPost, "/revoke", "client_id=spa&token=x"),
		"discovery":                     r.do(http.MethodGet, "/.well-known/openid-configuration", ""),
	} {
		if resp.StatusCode >= 500 {
			t.Errorf("%s: %d %s", what, resp.StatusCode, text(resp))
		}
	}
	if n := r.count() - before; n != 9 {
		t.Errorf("%d requests reached the upstream", n)
	}
	if resp := r.do(http.MethodGet, "/authorize?"+strings.Replace(plain, "redirect_uri", "x", 1), "", "Cookie", a.cookie); resp.StatusCode >= 500 {
		t.Errorf("with a browser cookie alone: %d", resp.StatusCode)
	}
}

// What an upstream sends back to the authorization endpoint, rewritten, passes.
func TestRewrittenRequestsThatComeBack(t *testing.T) {
	r := newRig(t, policy(ortengine.Policy{OnlineOnly: []string{"spa"}}))
	a := r.app()
	r.do(http.MethodGet, "/authorize?"+a.authorize().Encode(), "")
	rewritten := r.last().query
	if !strings.Contains(rewritten, "offline_access") {
		t.Fatal(rewritten)
	}
	r.do(http.MethodGet, "/authorize?"+rewritten+"&login_verifier=1", "")
	if got := r.last().query; got != rewritten+"&login_verifier=1" {
		t.Errorf("in a redirect: %s\nwant %s", got, rewritten)
	}
	r.do(http.MethodPost, "/authorize", rewritten)
	if got := r.last().body; got != rewritten {
		t.Errorf("in a form: %s", got)
	}
}

// crossPost is an authorization request that another site posts: a browser sends
// its SameSite=Lax cookie with none.
func (b *agent) crossPost(a *app, change ...string) *http.Response {
	b.t.Helper()
	own := b.cookies["__Host-ort"]
	delete(b.cookies, "__Host-ort")
	resp := b.do(http.MethodPost, "/authorize", a.authorize(change...).Encode(), "Cookie", b.cookie(), "Sec-Fetch-Site", "cross-site", "Origin", "https://app.example")
	if own != "" {
		b.cookies["__Host-ort"] = own
	}
	for _, c := range resp.Cookies() {
		b.cookies[c.Name] = c.Value
	}
	return resp
}

// Another site's POST leaves a browser its cookie, and its session with it.
func TestCrossSitePostKeepsTheBrowser(t *testing.T) {
	r, idp := idpRig(t, nil)
	b := r.agent()
	first := b.opens("spa")
	own := b.cookies["__Host-ort"]
	second := r.app()
	second.client = "spa2"
	to, err := b.crossPost(second).Location()
	if err != nil || b.cookies["__Host-ort"] != own {
		t.Fatalf("%v, the cookie is another: %v", err, b.cookies["__Host-ort"] != own)
	}
	second.with(to.Query().Get("code"))
	idp.User = ""
	b.visit(http.MethodGet, "/logout", "")
	first.dead("the first app", "the user logged out")
	second.dead("the app that posted", "the user logged out")
}

// The request that is answered with the code tells the browser; one that has no
// cookie there has none indeed, and is given one.
func TestCrossSitePostThatShowsAForm(t *testing.T) {
	for name, known := range map[string]bool{"a browser that has a cookie": true, "a new browser": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.does(func(w http.ResponseWriter, q *http.Request, body string) {
				switch q.URL.Path {
				case "/authorize":
					w.Write([]byte("the form")) // without a login cookie that the gateway knows
				case "/login":
					w.Header().Set("Location", redirect+"?code=c-"+q.URL.Query().Get("state")+"&state="+q.URL.Query().Get("state"))
					w.WriteHeader(http.StatusFound)
				case "/logout":
					w.Header().Set("Location", home)
					w.WriteHeader(http.StatusFound)
				default:
					usual(w, q, body)
				}
			})
			b := r.agent()
			if known {
				b.visit(http.MethodGet, "/authorize?"+r.app().authorize().Encode(), "")
			}
			own := b.cookies["__Host-ort"]
			a := r.app()
			if resp := b.crossPost(a, "state", "s1"); resp.StatusCode != 200 || b.cookies["__Host-ort"] != own {
				t.Fatalf("%d, another cookie: %v", resp.StatusCode, b.cookies["__Host-ort"] != own)
			}
			to, err := b.visit(http.MethodPost, "/login?state=s1", "username=alice").Location()
			if err != nil || b.cookies["__Host-ort"] == "" || known && b.cookies["__Host-ort"] != own {
				t.Fatalf("%v, the cookies %v", err, b.cookies)
			}
			a.with(to.Query().Get("code"))
			if r.agent().visit(http.MethodPost, "/login?state=another", "").Header.Get("Set-Cookie") != "" {
				t.Error("a cookie for a login that the gateway did not see")
			}
			b.visit(http.MethodGet, "/logout?post_logout_redirect_uri="+home, "")
			a.dead("the app", "the user logged out")
		})
	}
}

func TestCrossPosts(t *testing.T) {
	r := newRig(t)
	for _, row := range []struct {
		method, site, origin string
		want                 bool
	}{
		{"POST", "cross-site", "", true}, {"POST", "same-site", "https://app.example", false}, {"POST", "same-origin", "", false}, {"POST", "none", "", false},
		{"POST", "", "https://app.example", true}, {"POST", "", "null", true}, {"POST", "", public, false}, {"POST", "", "", false},
		{"GET", "cross-site", "", false}, {"HEAD", "", "https://app.example", false},
	} {
		q, _ := http.NewRequest(row.method, public+"/authorize", nil)
		q.Header.Set("Sec-Fetch-Site", row.site)
		q.Header.Set("Origin", row.origin)
		if got := r.crossPosted(q); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
}
