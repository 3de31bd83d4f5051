package proxy

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// ask is a GET of one of the session endpoints with a proof over the ORT.
func (a *app) ask(path string, options ...dpoptest.Option) *http.Response {
	a.t.Helper()
	proof := a.key.Proof(http.MethodGet, public+path, append([]dpoptest.Option{dpoptest.Nonce(a.Verifier.Nonce()), dpoptest.AccessToken(a.ort)}, options...)...)
	return a.do(http.MethodGet, path, "", "Authorization", "DPoP "+a.ort, "DPoP", proof)
}

func TestSessionEndpoint(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	for range 2 {
		resp := a.ask("/_ort/session")
		if body := text(resp); resp.StatusCode != 200 || !strings.HasPrefix(body, `{"session_idle_expires_in":3`) || resp.Header.Get("DPoP-Nonce") == "" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	other := r.app()
	for _, row := range []struct {
		name  string
		resp  *http.Response
		error string
	}{
		{"nothing", r.do(http.MethodGet, "/_ort/session", ""), ""},
		{"Bearer with a bound ORT", r.do(http.MethodGet, "/_ort/session", "", "Authorization", "Bearer "+a.ort), "invalid_token"},
		{"no proof", r.do(http.MethodGet, "/_ort/session", "", "Authorization", "DPoP "+a.ort), "invalid_dpop_proof"},
		{"no nonce", r.do(http.MethodGet, "/_ort/session", "", "Authorization", "DPoP "+a.ort, "DPoP", a.key.Proof(http.MethodGet, public+"/_ort/session", dpoptest.AccessToken(a.ort))), "use_dpop_nonce"},
		{"no ath", r.do(http.MethodGet, "/_ort/session", "", "Authorization", "DPoP "+a.ort, "DPoP", a.key.Proof(http.MethodGet, public+"/_ort/session", dpoptest.Nonce(r.Verifier.Nonce()))), "invalid_dpop_proof"},
		{"another key", r.do(http.MethodGet, "/_ort/session", "", "Authorization", "DPoP "+a.ort, "DPoP", other.key.Proof(http.MethodGet, public+"/_ort/session", dpoptest.AccessToken(a.ort), dpoptest.Nonce(r.Verifier.Nonce()))), "invalid_dpop_proof"},
		{"garbage", r.do(http.MethodGet, "/_ort/session", "", "Authorization", "DPoP ORT1.x"), "invalid_token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			challenge := row.resp.Header.Get("WWW-Authenticate")
			if row.resp.StatusCode != 401 || !strings.HasPrefix(challenge, "DPoP ") || row.error != "" && !strings.Contains(challenge, `error="`+row.error+`"`) {
				t.Errorf("%d %s", row.resp.StatusCode, challenge)
			}
			if (row.resp.Header.Get("DPoP-Nonce") != "") != (row.error == "use_dpop_nonce") {
				t.Errorf("nonce %q", row.resp.Header.Get("DPoP-Nonce"))
			}
		})
	}
	r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode())
	if resp := a.ask("/_ort/session"); resp.StatusCode != 401 || !strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("after the end: %d", resp.StatusCode)
	}
	if resp := r.do(http.MethodGet, "/_ort/nothing", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path of the gateway's own: %d", resp.StatusCode)
	}
}

// stream opens the events of a session over a real connection.
func (a *app) stream(t *testing.T, server *httptest.Server) (next func() string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), socketWait)
	t.Cleanup(cancel)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/_ort/session/events", nil)
	req.Header.Set("Authorization", "DPoP "+a.ort)
	req.Header.Set("DPoP", a.key.Proof(http.MethodGet, public+"/_ort/session/events", dpoptest.Nonce(a.Verifier.Nonce()), dpoptest.AccessToken(a.ort)))
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		event := ""
		for lines.Scan() {
			switch line := lines.Text(); {
			case line == "" && event != "":
				return event
			case line != "":
				event += line + ";"
			}
		}
		return event + "EOF"
	}, resp.StatusCode
}

func TestEvents(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(r)
	defer server.Close()
	a := r.app().login()
	b := r.app()
	b.client, b.cookie = "spa2", a.cookie
	b.login()
	next, _ := a.stream(t, server)
	beside, _ := b.stream(t, server)
	if got := next(); !strings.HasPrefix(got, `event: session;data: {"session_idle_expires_in":`) {
		t.Errorf("at the start: %s", got)
	}
	beside()
	r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"))
	if got := next(); !strings.HasPrefix(got, "event: session;") {
		t.Errorf("at a change: %s", got)
	}
	beside()
	r.do(http.MethodPost, "/revoke", url.Values{"token": {b.ort}, "client_id": {"spa2"}}.Encode())
	for _, n := range []func() string{next, beside} {
		if got := n(); got != `event: ended;data: {"reason":"revoked"};` {
			t.Errorf("at the end: %s", got)
		}
		if got := n(); got != "EOF" {
			t.Errorf("after the end: %s", got)
		}
	}
	if _, status := a.stream(t, server); status != 401 {
		t.Errorf("a stream of an ended session: %d", status)
	}
}

func TestStreamsAreBoundedAndEndAtClose(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(r)
	defer server.Close()
	a := r.app().login()
	var last func() string
	for i := range 17 {
		next, status := a.stream(t, server)
		if want := map[bool]int{true: 200, false: 503}[i < 16]; status != want {
			t.Errorf("stream %d: %d, want %d", i, status, want)
		}
		if i == 0 {
			last = next
		}
	}
	if r.Streams() != 16 {
		t.Errorf("%d streams", r.Streams())
	}
	if resp := a.ask("/_ort/session"); resp.StatusCode != 200 {
		t.Errorf("asking instead: %d", resp.StatusCode)
	}
	last()
	r.Close()
	r.Close()
	if got := last(); got != "EOF" {
		t.Errorf("after Close: %s", got)
	}
	if _, status := a.stream(t, server); status != 503 {
		t.Errorf("a stream after Close: %d", status)
	}
}

// An ORT that is bound to no key is presented as Bearer, and in no other way.
func TestSessionOfAnUnboundORT(t *testing.T) {
	r, _ := idpRig(t, nil, confidential("web"))
	a := webApp(r)
	ask := func(header ...string) *http.Response { return r.do(http.MethodGet, "/_ort/session", "", header...) }
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		r.is(scheme, ask("Authorization", scheme+a.ort), 200, `{"session_idle_expires_in":`)
	}
	proof := a.key.Proof(http.MethodGet, public+"/_ort/session", dpoptest.Nonce(r.Verifier.Nonce()), dpoptest.AccessToken(a.ort))
	for name, resp := range map[string]*http.Response{
		"with a proof":   ask("Authorization", "DPoP "+a.ort, "DPoP", proof),
		"Basic":          ask("Authorization", "Basic "+a.ort),
		"no scheme":      ask("Authorization", a.ort),
		"twice":          ask("Authorization", "Bearer "+a.ort, "Authorization", "Bearer "+a.ort),
		"in the query":   r.do(http.MethodGet, "/_ort/session?access_token="+a.ort, ""),
		"another prefix": ask("Authorization", "Bearer "+strings.ToLower(a.ort)),
	} {
		if resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "DPoP ") || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
	}
}

// Asking extends nothing.
func TestSessionIsNotExtendedByAsking(t *testing.T) {
	var c clock
	r, _ := idpRig(t, func(conf *proxytest.Config) { conf.Now = c.now }, by(&c)) // idle 1 h
	a := r.app().login()
	for _, want := range []string{`{"session_idle_expires_in":3600,"session_expires_in":28`, `{"session_idle_expires_in":1800,`, `{"session_idle_expires_in":0,`} {
		if want != `{"session_idle_expires_in":0,` {
			r.is("session", a.ask("/_ort/session"), 200, want)
		}
		c.pass(30 * time.Minute)
	}
	resp := a.ask("/_ort/session")
	if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || !strings.Contains(challenge, `error="invalid_token"`) || !strings.Contains(challenge, "idle") {
		t.Errorf("idle: %d %s", resp.StatusCode, challenge)
	}
	resp = a.ask("/_ort/session/events")
	if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || !strings.Contains(challenge, `error="invalid_token"`) {
		t.Errorf("events: %d %s", resp.StatusCode, challenge)
	}
}

// A proof is for one request: of that method, at that path, once.
func TestSessionProofs(t *testing.T) {
	r, _ := idpRig(t, nil)
	a := r.app().login()
	good := []dpoptest.Option{dpoptest.Nonce(r.Verifier.Nonce()), dpoptest.AccessToken(a.ort)}
	proof := a.key.Proof(http.MethodGet, public+"/_ort/session", good...)
	for _, row := range []struct {
		name, proof, code string
	}{
		{"the first time", proof, ""},
		{"again", proof, "use_dpop_nonce"},
		{"of another path", a.key.Proof(http.MethodGet, public+"/_ort/session/events", good...), "invalid_dpop_proof"},
		{"of another method", a.key.Proof(http.MethodPost, public+"/_ort/session", good...), "invalid_dpop_proof"},
		{"of another host", a.key.Proof(http.MethodGet, "https://other.example/_ort/session", good...), "invalid_dpop_proof"},
		{"over another token", a.key.Proof(http.MethodGet, public+"/_ort/session", good[0], dpoptest.AccessToken("x")), "invalid_dpop_proof"},
	} {
		resp := r.do(http.MethodGet, "/_ort/session?any=query", "", "Authorization", "DPoP "+a.ort, "DPoP", row.proof)
		challenge := resp.Header.Get("WWW-Authenticate")
		if (resp.StatusCode == 200) != (row.code == "") || row.code != "" && (resp.StatusCode != 401 || !strings.Contains(challenge, `error="`+row.code+`"`)) {
			t.Errorf("%s: %d %s", row.name, resp.StatusCode, challenge)
		}
		if n := len(resp.Header.Values("DPoP-Nonce")); (n == 1) != (row.code != "invalid_dpop_proof") {
			t.Errorf("%s: %d nonces", row.name, n)
		}
	}
}

// Where the upstream is the authority, its nonces mean nothing here.
func TestSessionIgnoresNoncesOfTheUpstream(t *testing.T) {
	r := newRig(t, dpopUpstream)
	a := r.app()
	code := a.code()
	body := r.is("code exchange", r.do(http.MethodPost, "/token", a.codeForm(code).Encode(), "DPoP", a.key.Proof(http.MethodPost, public+"/token")), 200, "ORT1.")
	_, rest, _ := strings.Cut(body, `"refresh_token":"`)
	a.ort, _, _ = strings.Cut(rest, `"`)
	for _, nonce := range []string{"", "of-the-upstream"} {
		resp := a.ask("/_ort/session", dpoptest.Nonce(nonce))
		if r.is("with nonce "+nonce, resp, 200); resp.Header.Get("DPoP-Nonce") != "" {
			t.Errorf("a nonce of our own: %q", resp.Header.Get("DPoP-Nonce"))
		}
	}
	old := a.ask("/_ort/session", dpoptest.IssuedAt(time.Now().Add(-time.Hour)))
	if old.StatusCode != 401 || !strings.Contains(old.Header.Get("WWW-Authenticate"), "invalid_dpop_proof") {
		t.Errorf("an old proof: %d", old.StatusCode)
	}
}

func TestOtherPathsOfTheGatewaysOwn(t *testing.T) {
	r := newRig(t)
	for target, want := range map[string]int{"/_ort": 404, "/_ort/": 404, "/_ort/session/": 404, "/_ORT/session": 404, "/_ort/../_ort/x": 404, "//_ort/session": 404, "/_ort%2fsession": 401} {
		if resp := r.do(http.MethodGet, target, ""); resp.StatusCode != want && resp.StatusCode != 404 || r.count() != 0 {
			t.Errorf("%s: %d, want %d; %d requests went up", target, resp.StatusCode, want, r.count())
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "HEAD"} {
		if resp := r.do(method, "/_ort/session", ""); resp.StatusCode != 405 || r.count() != 0 {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
}
