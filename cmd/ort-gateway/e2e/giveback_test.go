package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// alive is what an identity provider has of a user: logins, and refresh tokens that can be used (-1: it does not tell).
type alive struct{ Logins, RefreshTokens int }

// giver is an identity provider to which credentials are given back, and a way to it that can be cut.
type giver struct {
	*stack
	one, two string
	alive    func(t *testing.T, user string) alive
	front    *front
}

// front stands before an identity provider. Cut, it breaks every connection in place of an answer.
type front struct {
	*httptest.Server
	cut, logouts atomic.Bool // all requests, or those alone that give a credential back
}

func startFront(t *testing.T, upstream string) *front {
	t.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 50}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.RawQuery, r.Out.Host = target.Scheme, target.Host, r.In.URL.RawQuery, r.In.Host
			for name, values := range r.In.Header {
				if strings.HasPrefix(name, "X-Forwarded-") {
					r.Out.Header[name] = values
				}
			}
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gives := r.Method == http.MethodPost && (strings.HasSuffix(r.URL.Path, "/logout") || strings.HasSuffix(r.URL.Path, "/revoke") || strings.HasSuffix(r.URL.Path, "/revocation"))
		if f.cut.Load() || f.logouts.Load() && gives {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.Close()
		transport.CloseIdleConnections()
	})
	return f
}

func providerGiver(t *testing.T, env map[string]string) *giver {
	st := startStack(t, setup{env: env})
	g := &giver{stack: st, one: "app-one", two: "app-two", front: startFront(t, st.upstream)}
	g.alive = func(t *testing.T, user string) (a alive) {
		st.provider.call(t, http.MethodPost, "/alive", map[string]string{"sub": user}, &a)
		return a
	}
	st.restart(map[string]string{"ORT_UPSTREAM_URL": g.front.URL})
	return g
}

func (kc *keycloak) giver(t *testing.T, env map[string]string) *giver {
	ks := kc.stack(t, env)
	g := &giver{stack: ks.stack, one: "spa", two: "spa2", front: startFront(t, ks.upstream)}
	g.alive = func(t *testing.T, user string) alive { return alive{Logins: kc.sessionsAt(t, user), RefreshTokens: -1} }
	kc.admin(t, http.MethodPost, "ort/users/"+kc.user(t, "ort", "alice")+"/logout", nil, nil)
	ks.restart(map[string]string{"ORT_UPSTREAM_URL": g.front.URL})
	return g
}

// becomes waits until a user has so much at the provider, and sees that it stays so.
func (g *giver) becomes(t *testing.T, user string, want alive) {
	t.Helper()
	var got alive
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if got = g.alive(t, user); got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s has %+v at the provider, want %+v", user, got, want)
			return
		}
	}
}

// ORT_UPSTREAM_END in its four forms: what is left at the provider of a session that was revoked, and that the user's other
// browser and a second page there go on.
func TestUpstreamEnds(t *testing.T) {
	for form, want := range map[string]alive{
		"auto": {2, 1}, "revoke": {2, 1}, "none": {2, 4}, "logout": {2, 4}, // its end-session endpoint takes no refresh token
	} {
		t.Run(form, func(t *testing.T) {
			upstreamEnds(t, providerGiver(t, map[string]string{"ORT_UPSTREAM_END": form}), want)
		})
	}
	t.Run("after an outage and a restart", func(t *testing.T) { givenBackLater(t, providerGiver(t, nil), alive{1, 0}) })
	t.Run("ends that leave the login alone", func(t *testing.T) { leavesLoginAlone(t, providerGiver(t, shortLimits)) })
	t.Run("a login between the end and the call", func(t *testing.T) { loginBetween(t, providerGiver(t, nil)) })
}

func keycloakUpstreamEnds(t *testing.T, kc *keycloak) {
	for form, want := range map[string]alive{
		// Revoked by all of its clients, Keycloak's session is over too.
		"auto": {1, -1}, "logout": {1, -1}, "revoke": {1, -1}, "none": {2, -1},
	} {
		t.Run(form, func(t *testing.T) {
			g := kc.giver(t, map[string]string{"ORT_UPSTREAM_END": form})
			consent := g.app("consent", g.stack.consentingBrowser())
			consent.login(t)
			if n := kc.consents(t, "alice"); n != 1 {
				t.Fatalf("%d consents", n)
			}
			kc.admin(t, http.MethodPost, "ort/users/"+kc.user(t, "ort", "alice")+"/logout", nil, nil)
			upstreamEnds(t, g, want)
			if n := kc.consents(t, "alice"); n != 1 {
				t.Errorf("%d consents are left, want 1", n)
			}
		})
	}
	t.Run("after an outage and a restart", func(t *testing.T) { givenBackLater(t, kc.giver(t, nil), alive{0, -1}) })
	t.Run("ends that leave the login alone", func(t *testing.T) { leavesLoginAlone(t, kc.giver(t, shortLimits)) })
	t.Run("a login between the end and the call", func(t *testing.T) { loginBetween(t, kc.giver(t, nil)) })
}

func upstreamEnds(t *testing.T, g *giver, want alive) {
	beside := g.app(g.one, nil)
	beside.login(t)
	a, b := twoIn(t, g.stack, g.one, g.two)
	again := g.app(g.one, a.browser) // the app's page is loaded again
	again.login(t)
	mustRevoke(t, a)
	g.becomes(t, "alice", want)
	again.dead(t)
	b.dead(t)
	beside.works(t)
	beside.loginWith(t, url.Values{"prompt": {"none"}}) // another page load there
	beside.works(t)
	silent(t, a, "login_required") // in every form, single sign-on is over
	a.login(t)
	a.works(t)
}

// Credentials that cannot be given back are, when the provider is there again, by the gateway's next process.
func givenBackLater(t *testing.T, g *giver, want alive) {
	a, b := twoIn(t, g.stack, g.one, g.two)
	before := g.alive(t, "alice")
	g.front.cut.Store(true)
	mustRevoke(t, a)
	b.dead(t)
	if err := g.gateway.terminate(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if got := g.alive(t, "alice"); got != before {
		t.Errorf("with the way cut, the provider has %+v of alice, had %+v", got, before)
	}
	g.front.cut.Store(false)
	g.startGateway()
	g.becomes(t, "alice", want)
	b.dead(t)
}

// The user is back, with the login cookie that the provider then set, before the former credential could be given back: it
// never takes the new login with it.
func loginBetween(t *testing.T, g *giver) {
	a, b := twoIn(t, g.stack, g.one, g.two)
	g.front.logouts.Store(true)
	if got, err := a.revoke(); err != nil || got.status != http.StatusOK {
		t.Fatalf("revoking: %v %v", got, err)
	}
	b.dead(t)
	a.login(t)
	b.login(t)
	if a.browser.forms != 2 {
		t.Errorf("%d login forms, want 2", a.browser.forms)
	}
	g.front.logouts.Store(false)
	g.restart(nil) // which tries again at once
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		a.works(t)
		b.works(t)
	}
	b.loginWith(t, url.Values{"prompt": {"none"}})
}

var shortLimits = map[string]string{"ORT_SESSION_IDLE_TIMEOUT": "3s", "ORT_SESSION_ABSOLUTE_TIMEOUT": "8s"}

// An idle end, another user's login, the 33rd page load and a login past the absolute timeout take nothing from the
// provider: the logins there stay, with every other grant.
func leavesLoginAlone(t *testing.T, g *giver) {
	idle := g.app(g.one, nil)
	idle.login(t)
	busy := g.app(g.two, nil) // another browser of the same user
	busy.login(t)
	started := time.Now()
	before := g.alive(t, "alice").Logins
	for ended := false; !ended; time.Sleep(500 * time.Millisecond) {
		busy.works(t)
		ended = time.Since(started) > 3500*time.Millisecond
	}
	idle.dead(t)
	idle.loginWith(t, url.Values{"prompt": {"none"}}) // single sign-on is untouched
	busy.works(t)
	for ; time.Since(started) < 9*time.Second; time.Sleep(500 * time.Millisecond) {
		if got, err := busy.exchange(); err != nil || got.status != http.StatusOK && got.Error != "invalid_grant" {
			t.Fatalf("exchange: %v %v", got, err)
		}
	}
	busy.dead(t)
	forms := busy.browser.forms
	busy.login(t) // no loop: the provider asks for a login that is young enough
	busy.works(t)
	if busy.browser.forms != forms+1 {
		t.Errorf("%d forms past the absolute timeout, want 1", busy.browser.forms-forms)
	}
	if got := g.alive(t, "alice").Logins; got < before {
		t.Errorf("%d logins at the provider, %d before: an end took one", got, before)
	}
	g.restart(map[string]string{"ORT_SESSION_IDLE_TIMEOUT": "1h", "ORT_SESSION_ABSOLUTE_TIMEOUT": "2h"})
	loads := make([]*app, 33)
	for i := range loads {
		loads[i] = g.app(g.one, busy.browser)
		loads[i].login(t)
	}
	loads[0].dead(t)
	loads[1].works(t)
	loads[32].works(t)
	beside := g.app(g.two, busy.browser)
	beside.loginWith(t, url.Values{"prompt": {"none"}})
	if got := g.alive(t, "alice").Logins; got < before {
		t.Errorf("%d logins at the provider, %d before: the 33rd page load took one", got, before)
	}
}

// consentingBrowser is a browser whose consent forms are answered.
func (st *stack) consentingBrowser() *browser { return (&keycloakStack{stack: st}).consenting() }

// consents counts what a user has consented to.
func (kc *keycloak) consents(t *testing.T, user string) int {
	t.Helper()
	var list []any
	kc.admin(t, http.MethodGet, "ort/users/"+kc.user(t, "ort", user)+"/consents", nil, &list)
	return len(list)
}

// TestEventStreamsAcrossARestart: a stream lasts ORT_SHUTDOWN_DELAY past SIGTERM and ends in good order; the client comes
// back and learns what has become of its session.
func TestEventStreamsAcrossARestart(t *testing.T) {
	st := startStack(t, setup{embedded: true, env: map[string]string{"ORT_SHUTDOWN_DELAY": "2s", "ORT_SESSION_IDLE_TIMEOUT": "4s"}})
	a, idle := st.app("app-one", nil), st.app("app-one", nil)
	idle.login(t)
	a.login(t)
	open := a.sessionRequest(t, "/_ort/session/events")
	beside := idle.sessionRequest(t, "/_ort/session/events")
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- st.gateway.terminate(20 * time.Second) }()
	time.Sleep(time.Second)
	a.works(t) // it still accepts, and the session lives on
	text, err := io.ReadAll(open.Body)
	if lasted := time.Since(began); err != nil || lasted < 1800*time.Millisecond || strings.Count(string(text), "event: session") != 2 || strings.Contains(string(text), "ended") {
		t.Errorf("the stream ended after %v with %v: %q", lasted, err, text)
	}
	if text, err := io.ReadAll(beside.Body); err != nil || strings.Contains(string(text), "ended") {
		t.Errorf("the other stream ended with %v: %q", err, text)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(began.Add(4200 * time.Millisecond))) // the idle one's limit passes while nobody is there
	st.startGateway()
	back := a.sessionRequest(t, "/_ort/session/events")
	if back.StatusCode != http.StatusOK {
		t.Fatalf("the stream of the living session: %s %v", back.Status, back.Header)
	}
	gone := idle.sessionRequest(t, "/_ort/session/events")
	if why := gone.Header.Get("WWW-Authenticate"); gone.StatusCode != http.StatusUnauthorized || !strings.Contains(why, "invalid_token") || !strings.Contains(why, "idle") {
		t.Errorf("the stream of the session that ended meanwhile: %s %s", gone.Status, why)
	}
	told := make(chan time.Time, 1)
	go func() {
		_, _ = io.ReadAll(back.Body)
		told <- time.Now()
	}()
	revoked := time.Now()
	mustRevoke(t, a)
	select {
	case at := <-told:
		if at.Sub(revoked) > time.Second {
			t.Errorf("told %v after the revocation", at.Sub(revoked))
		}
	case <-time.After(10 * time.Second):
		t.Error("not told of the revocation")
	}
}
