package proxy

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// agent is a browser that keeps its cookies.
type agent struct {
	*rig
	cookies map[string]string
}

func (r *rig) agent() *agent { return &agent{r, map[string]string{}} }

func (b *agent) cookie() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		pairs = append(pairs, name+"="+b.cookies[name])
	}
	return strings.Join(pairs, "; ")
}

// visit is a request with the browser's cookies; it keeps those that it is given.
func (b *agent) visit(method, target, body string) *http.Response {
	b.t.Helper()
	resp := b.do(method, target, body, "Cookie", b.cookie())
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return resp
}

// opens logs an app in, in this browser.
func (b *agent) opens(client string) *app {
	b.t.Helper()
	a := b.app()
	a.client = client
	to, err := b.visit(http.MethodGet, "/authorize?"+a.authorize().Encode(), "").Location()
	if err != nil {
		b.t.Fatal(err)
	}
	return a.with(to.Query().Get("code"))
}

// asks is where an authorization request with those changes leads: "code", an
// error, or "form" for the login page.
func (b *agent) asks(change ...string) string {
	b.t.Helper()
	to, err := b.visit(http.MethodGet, "/authorize?"+b.app().authorize(change...).Encode(), "").Location()
	switch {
	case err != nil:
		return "form"
	case to.Query().Has("code"):
		return "code"
	}
	return to.Query().Get("error")
}

// dead checks that an ORT is refused, and why.
func (a *app) dead(what, why string) {
	a.t.Helper()
	a.is(what, a.exchange(), 400, `"error":"invalid_grant"`, "Unknown or invalid refresh token: "+why)
}

// logoutRig is a rig whose identity provider shows its form, and a browser that
// is logged in there with an app.
func logoutRig(t *testing.T, options ...rigOption) (*rig, *proxytest.IdP, *agent, *app) {
	t.Helper()
	r, idp := idpRig(t, nil, options...)
	b := r.agent()
	a := b.opens("spa")
	idp.User = ""
	if got := b.asks("prompt", "none"); got != "code" {
		t.Fatalf("no single sign-on: %s", got)
	}
	return r, idp, b, a
}

const home = "https://app.example/bye"

// RP-initiated logout: the upstream expires its login cookie, and with that the
// session is over in every app.
func TestLogoutEndsTheSession(t *testing.T) {
	for name, request := range map[string]func(b *agent) *http.Response{
		"GET": func(b *agent) *http.Response { return b.visit(http.MethodGet, "/logout", "") },
		"with redirect": func(b *agent) *http.Response {
			return b.visit(http.MethodGet, "/logout?post_logout_redirect_uri="+home, "")
		},
		"POST": func(b *agent) *http.Response { return b.visit(http.MethodPost, "/logout", "client_id=spa") },
		"a cross-site POST, without the browser cookie": func(b *agent) *http.Response {
			delete(b.cookies, "__Host-ort")
			return b.visit(http.MethodPost, "/logout", "client_id=spa")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, b, a := logoutRig(t)
			other := b.opens("spa2")
			stranger := r.agent()
			login := b.cookies[proxytest.LoginCookie]
			request(b)
			a.dead("the app that logged out", "the user logged out")
			other.dead("the other app", "the user logged out")
			b.cookies[proxytest.LoginCookie] = login // a page restored
			if got := b.asks("prompt", "none"); got != "login_required" {
				t.Errorf("single sign-on goes on: %s", got)
			}
			if strings.Contains(r.last().header.Get("Cookie"), login) {
				t.Error("a dead login cookie went up")
			}
			if got := stranger.asks(); got != "form" {
				t.Errorf("another browser: %s", got)
			}
		})
	}
}

// What is no logout, whatever it looks like, ends nothing.
func TestLogoutsThatEndNothing(t *testing.T) {
	const page = "<p>Really?</p>"
	to := func(r *rig, location string, header ...string) {
		r.says(302, "", append([]string{"Location", location}, header...)...)
	}
	goes := "post_logout_redirect_uri=" + url.QueryEscape(home)
	for name, test := range map[string]func(r *rig, idp *proxytest.IdP, b *agent){
		"a confirmation page": func(r *rig, _ *proxytest.IdP, b *agent) {
			r.says(200, page)
			b.visit("GET", "/logout", "")
		},
		"a link from another site, in another browser": func(r *rig, idp *proxytest.IdP, b *agent) {
			hint := idp.Sign(map[string]any{"iss": public, "aud": "spa", "sub": "alice"})
			to(r, home)
			r.agent().visit("GET", "/logout?"+goes+"&id_token_hint="+hint, "")
			r.agent().visit("GET", "/logout?"+goes, "")
		},
		"a hint of another user": func(r *rig, idp *proxytest.IdP, b *agent) {
			hint := idp.Sign(map[string]any{"iss": public, "aud": "spa", "sub": "mallory"})
			r.hinted(home)
			b.visit("GET", "/logout?"+goes+"&id_token_hint="+hint, "")
		},
		"a hint of another login": func(r *rig, idp *proxytest.IdP, b *agent) {
			hint := idp.Sign(map[string]any{"iss": public, "aud": "spa", "sub": "alice", "sid": "another"})
			r.hinted(home)
			b.visit("GET", "/logout?"+goes+"&id_token_hint="+hint, "")
		},
		"a hint that nobody signed": func(r *rig, idp *proxytest.IdP, b *agent) {
			hint := idp.Sign(map[string]any{"iss": public, "aud": "spa", "sub": "alice"})
			r.hinted(home)
			b.visit("GET", "/logout?"+goes+"&id_token_hint="+hint[:len(hint)-8]+"AAAAAAAA", "")
		},
		"a redirect elsewhere": func(r *rig, idp *proxytest.IdP, b *agent) {
			hint := idp.Sign(map[string]any{"iss": public, "aud": "spa", "sub": "alice"})
			r.hinted("https://app.example/error?error=x")
			b.visit("GET", "/logout?"+goes+"&id_token_hint="+hint, "")
		},
		"a redirect with the login cookie sent and no hint": func(r *rig, _ *proxytest.IdP, b *agent) {
			to(r, home)
			b.visit("GET", "/logout?"+goes, "")
		},
		"a login cookie that is replaced": func(r *rig, _ *proxytest.IdP, b *agent) {
			r.says(200, page, "Set-Cookie", "idp=; Max-Age=0", "Set-Cookie", "idp=renewed; Path=/")
			b.visit("GET", "/logout", "")
		},
		"another cookie that expires": func(r *rig, _ *proxytest.IdP, b *agent) {
			r.says(200, page, "Set-Cookie", "idp_theme=; Max-Age=0", "Set-Cookie", "xidp=; Max-Age=0")
			b.visit("GET", "/logout", "")
		},
		"a login cookie that expires without a logout": func(r *rig, _ *proxytest.IdP, b *agent) {
			r.says(200, page, "Set-Cookie", "idp=; Max-Age=0")
			b.visit("GET", "/other", "")
		},
		"a fault": func(r *rig, _ *proxytest.IdP, b *agent) {
			r.does(func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) })
			b.visit("GET", "/logout", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, idp, b, a := logoutRig(t)
			well := r.answer
			test(r, idp, b)
			r.does(well)
			r.is("the ORT", a.exchange(), 200)
		})
	}
}

// hinted lets the upstream redirect logouts, and serve its keys.
func (r *rig) hinted(location string) {
	well := r.answer
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		if q.URL.Path != "/logout" {
			well(w, q, body)
			return
		}
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	})
}

// A direct redirect to the client, with a hint of this very login or with no login
// left at the upstream.
func TestLogoutByRedirect(t *testing.T) {
	goes := "/logout?post_logout_redirect_uri=" + url.QueryEscape(home)
	t.Run("a hint", func(t *testing.T) {
		r, idp, b, a := logoutRig(t)
		hint := idp.Sign(map[string]any{"iss": public, "aud": "spa", "sub": "alice", "exp": 1})
		r.hinted(home + "?state=x")
		b.visit("GET", goes+"&id_token_hint="+hint, "")
		a.dead("the ORT", "the user logged out")
	})
	t.Run("a hint in a form", func(t *testing.T) {
		r, idp, b, a := logoutRig(t)
		hint := idp.Sign(map[string]any{"iss": public, "aud": "spa", "sub": "alice"})
		r.hinted(home)
		b.visit("POST", "/logout", "post_logout_redirect_uri="+url.QueryEscape(home)+"&id_token_hint="+hint)
		a.dead("the ORT", "the user logged out")
	})
	t.Run("no login left", func(t *testing.T) {
		r, _, b, a := logoutRig(t)
		delete(b.cookies, proxytest.LoginCookie)
		r.hinted(home)
		b.visit("GET", goes, "")
		a.dead("the ORT", "the user logged out")
	})
}

// The user confirms on a page of the upstream's: within ten minutes the answer
// that expires the cookie may be on any path, later below the end-session endpoint.
func TestLogoutThatIsConfirmed(t *testing.T) {
	for _, row := range []struct {
		name, path string
		after      time.Duration
		ends       bool
	}{
		{"at once", "/anywhere", 0, true},
		{"just in time", "/anywhere", 10*time.Minute - time.Second, true},
		{"too late", "/anywhere", 10*time.Minute + time.Second, false},
		{"below, late", "/logout/confirm", 20 * time.Minute, true},
		{"beside it", "/logout-all", 20 * time.Minute, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var c clock
			r, _, b, a := logoutRig(t, by(&c))
			well := r.answer
			r.says(200, "<form>")
			b.visit("GET", "/logout", "")
			c.pass(row.after)
			r.says(200, "bye", "Set-Cookie", "idp=gone; Expires=Thu, 01 Jan 1970 00:00:00 GMT")
			b.visit("POST", row.path, "confirm=yes")
			r.does(well)
			if ended := a.exchange().StatusCode != 200; ended != row.ends {
				t.Errorf("ended: %v", ended)
			}
		})
	}
}

// Dead login cookies go up where they can only end, and nowhere else.
func TestDeadLoginCookies(t *testing.T) {
	r, idp, b, a := logoutRig(t)
	r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode())
	dead := "idp=" + b.cookies[proxytest.LoginCookie]
	for _, path := range []string{"/", "/page", "/userinfo", "/authorize?scope=openid", "/authorize?" + r.app().authorize().Encode(), "//x", "/logout-all"} {
		r.do(http.MethodGet, path, "", "Cookie", "a=1; "+dead+"; b=2")
		if got := r.last().header.Get("Cookie"); strings.Contains(got, dead) || !strings.Contains(got, "a=1") || !strings.Contains(got, "b=2") {
			t.Errorf("%s: the upstream got %q", path, got)
		}
	}
	if got := b.asks("prompt", "none"); got != "login_required" {
		t.Errorf("prompt=none: %s", got)
	}
	if got := b.asks(); got != "form" {
		t.Errorf("the next request: %s", got)
	}
	r.do(http.MethodGet, "/logout", "", "Cookie", dead)
	if got := r.last().header.Get("Cookie"); got != dead {
		t.Errorf("at the end-session endpoint: %q", got)
	}
	idp.User = "alice"
	delete(b.cookies, proxytest.LoginCookie)
	b.opens("spa") // a new login works at once
	idp.User = ""
	if got := b.asks("prompt", "none"); got != "code" {
		t.Errorf("after a new login: %s", got)
	}
}

// A value that the upstream uses again is alive; one that it set in answer to a
// request that carried the ended session's is dead.
func TestLoginCookiesThatAreSetAgain(t *testing.T) {
	r, _, b, a := logoutRig(t)
	well := r.answer
	dead := "idp=" + b.cookies[proxytest.LoginCookie]
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode()) // ends while the answer is on its way
		w.Header().Add("Set-Cookie", "idp=renewed; Path=/")
	})
	r.do(http.MethodGet, "/page", "", "Cookie", dead)
	r.does(well)
	r.do(http.MethodGet, "/page", "", "Cookie", "idp=renewed")
	if got := r.last().header.Get("Cookie"); got != "" {
		t.Errorf("a renewal of the ended session's went up: %q", got)
	}
	r.says(200, "", "Set-Cookie", dead+"; Path=/")
	r.do(http.MethodGet, "/page", "")
	r.do(http.MethodGet, "/page", "", "Cookie", dead)
	if got := r.last().header.Get("Cookie"); got != dead {
		t.Errorf("a value that is used again did not go up: %q", got)
	}
}

// An upstream that does not answer holds no logout for ever, and ends nothing.
func TestLogoutAtASilentUpstream(t *testing.T) {
	r, _, b, a := logoutRig(t)
	well, patience := r.answer, r.Engine.Upstream
	r.impatient()
	hold := make(chan struct{})
	r.does(func(http.ResponseWriter, *http.Request, string) { <-hold })
	for _, q := range [][2]string{{"GET", ""}, {"POST", "client_id=spa"}} {
		if resp := b.visit(q[0], "/logout", q[1]); resp.StatusCode != 502 {
			t.Errorf("%s: %d", q[0], resp.StatusCode)
		}
	}
	close(hold)
	r.does(well)
	r.Engine.Upstream = patience
	r.is("the ORT", a.exchange(), 200)
}
