package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func mapsKeys[V any](m map[string]V) func(func(string) bool) { return maps.Keys(m) }

func TestDiscoveryDocumentTellsOfORTs(t *testing.T) {
	st := startStack(t, setup{})
	m := st.metadata
	if !slices.Contains(m.Scopes, "online_access") || !slices.Contains(m.Grants, "refresh_token") {
		t.Errorf("scopes %v, grants %v", m.Scopes, m.Grants)
	}
	if m.Session != st.origin+"/_ort/session" {
		t.Errorf("ort_session_endpoint %q", m.Session)
	}
	if want := []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "RS256"}; !slices.Equal(m.DPoPAlgs, want) {
		t.Errorf("dpop_signing_alg_values_supported %v, want %v", m.DPoPAlgs, want)
	}
}

func TestAuthorizationRequestsThatAreRefused(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.login(t) // the upstream has shown that the client owns its redirect_uri
	q := a.authorizationRequest(url.Values{"scope": {"openid online_access offline_access"}})
	back, err := a.authorize(q)
	if err != nil {
		t.Fatal(err)
	}
	if back.Get("error") != "invalid_request" || back.Get("state") != q.Get("state") ||
		back.Get("error_description") != "Cannot request both online_access and offline_access scopes" {
		t.Errorf("online_access with offline_access: %v", back)
	}
	q = a.authorizationRequest(nil)
	q.Del("code_challenge")
	q.Del("code_challenge_method")
	if back, err = a.authorize(q); err != nil || back.Get("error") != "invalid_request" || !strings.Contains(back.Get("error_description"), "PKCE") {
		t.Errorf("no code_challenge: %v %v", back, err)
	}
	q = a.authorizationRequest(url.Values{"scope": {"openid online_access offline_access"}, "redirect_uri": {"https://evil.test/"}})
	if back, err := a.authorize(q); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("a redirect_uri that is not the client's: %v %v", back, err)
	}
}

func TestRequestsWithoutOnlineAccessPass(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.scope, a.key = "openid profile", nil
	code := a.code(t, nil)
	got, err := a.redeem(code, a.lastVerifier)
	if err != nil || got.status != http.StatusOK || got.RefreshToken == "" || strings.HasPrefix(got.RefreshToken, "ORT") {
		t.Fatalf("login without online_access: %v %v", got, err)
	}
	if got.Idle != nil {
		t.Errorf("the answer has session members: %s", got.body)
	}
	got, err = a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.RefreshToken}})
	if err != nil || got.status != http.StatusOK || got.RefreshToken == "" {
		t.Errorf("refresh without an ORT: %v %v", got, err)
	}
	u, _ := url.Parse(st.origin)
	for _, c := range a.browser.Jar.Cookies(u) {
		if c.Name == "ort" || c.Name == "__Host-ort" {
			t.Errorf("the browser got the cookie %s", c.Name)
		}
	}
	web := st.app("web", nil)
	got, err = web.post("device", st.metadata.Device, url.Values{"scope": {"openid online_access"}}, "")
	if err != nil || got.status != http.StatusOK || got.members["device_code"] == nil {
		t.Errorf("device authorization: %v %s %v", got, got.body, err)
	}
	got, err = web.token(url.Values{"grant_type": {"client_credentials"}, "scope": {"online_access"}})
	if err != nil || got.status != http.StatusOK || got.RefreshToken != "" || got.Scope != "" {
		t.Errorf("client_credentials: %v %v", got, err)
	}
}

func TestProofsOfTheWrongKindAreRefused(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.login(t)
	right, n := a.key, a.nonce
	use := func(proof string) *answer {
		t.Helper()
		got, err := a.post("refresh_token", st.metadata.Token, a.refreshForm(nil), proof)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	once := right.proof(http.MethodPost, st.metadata.Token, n, "")
	for _, c := range []struct{ name, proof, want string }{
		{"no proof", "", "invalid_dpop_proof"},
		{"another key", newProofKey().proof(http.MethodPost, st.metadata.Token, n, ""), "invalid_dpop_proof"},
		{"another method", right.proof(http.MethodGet, st.metadata.Token, n, ""), "invalid_dpop_proof"},
		{"another endpoint", right.proof(http.MethodPost, st.metadata.Revocation, n, ""), "invalid_dpop_proof"},
		{"the upstream's address", right.proof(http.MethodPost, st.upstream+"/token", n, ""), "invalid_dpop_proof"},
		{"no nonce", right.proof(http.MethodPost, st.metadata.Token, "", ""), "use_dpop_nonce"},
		{"made-up nonce", right.proof(http.MethodPost, st.metadata.Token, random(32), ""), "use_dpop_nonce"},
		{"right", once, ""},
		{"right, a second time", once, "use_dpop_nonce"},
	} {
		got := use(c.proof)
		if got.Error != c.want {
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
		if values := got.header.Values("DPoP-Nonce"); (c.want == "use_dpop_nonce" || c.want == "") && len(values) != 1 {
			t.Errorf("%s: DPoP-Nonce %q, want one", c.name, values)
		}
	}
	if calls := st.provider.seen(t).TokenCalls; calls != 2 {
		t.Errorf("the upstream saw %d token requests, want 2: the login and the one right exchange", calls)
	}
	st.restart(nil)
	a.noRetry = true
	if got, err := a.exchange(); err != nil || got.Error != "use_dpop_nonce" {
		t.Errorf("a nonce of the former process: %v %v", got, err)
	}
	a.works(t)
}

func TestORTNeverReachesTheUpstream(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.login(t)
	got, err := a.post("introspection", st.metadata.Introspection, url.Values{"token": {a.ort}}, "")
	if err != nil || got.status != http.StatusOK || string(got.members["active"]) != "false" || len(got.members) != 1 {
		t.Errorf("introspection: %v %s %v", got, got.body, err)
	}
	other := st.app("app-two", nil)
	other.ort = a.ort
	if got, err := other.exchange(); err != nil || got.Error != "invalid_grant" {
		t.Errorf("exchange by another client: %v %v", got, err)
	}
	// What is no ORT of this gateway, and what was cut or changed.
	for _, ort := range []string{a.ort[:len(a.ort)-2], a.ort + "AA", "ORT1.", "ORT1." + random(100)} {
		forged := *a
		forged.ort = ort
		if got, err := forged.exchange(); err != nil || got.Error != "invalid_grant" {
			t.Errorf("exchange with a forged ORT: %v %v", got, err)
		}
		if got, err := forged.revoke(); err != nil || got.status != http.StatusOK {
			t.Errorf("revocation of a forged ORT: %v %v", got, err)
		}
	}
	if got, err := other.revoke(); err != nil {
		t.Errorf("revocation by another client: %v %v", got, err)
	}
	a.works(t) // none of it ended anything
}

func TestUpstreamFaultsEndNothing(t *testing.T) {
	st := startStack(t, setup{env: map[string]string{"ORT_UPSTREAM_TIMEOUT": "2s"}})
	a := st.app("app-one", nil)
	a.login(t)
	st.provider.fault(t, fault{Kind: "error", Status: 500}, fault{Kind: "error", Status: 503}, fault{Kind: "error", Status: 429})
	a.unavailable(t)
	a.unavailable(t)
	if got, err := a.exchange(); err != nil || got.status != http.StatusTooManyRequests {
		t.Errorf("exchange while the upstream says 429: %v %v", got, err)
	}
	a.works(t)
	st.provider.fault(t, fault{Kind: "error", Status: 200, Type: "text/html", Body: "<p>maintenance"})
	if got, err := a.exchange(); err != nil || got.status != http.StatusBadGateway {
		t.Errorf("an answer that is no JSON: %v %v", got, err)
	}
	a.works(t)
	// Slower than the time-out: the client hears 503, the late answer's credential is kept.
	st.provider.fault(t, fault{Kind: "slow", Millis: 2600})
	a.unavailable(t)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		got, err := a.exchange()
		if err != nil {
			t.Fatal(err)
		}
		if got.status == http.StatusOK {
			break
		}
		if got.status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			t.Fatalf("after a late answer: %v", got)
		}
	}
	if s := st.provider.seen(t); len(s.Refused) > 0 {
		t.Errorf("the upstream refused %q", s.Refused)
	}
}

func TestInvalidGrantOfTheUpstreamEndsOneGrantOnly(t *testing.T) {
	st := startStack(t, setup{})
	one := st.app("app-one", nil)
	one.login(t)
	two := st.app("app-two", one.browser)
	two.login(t)
	st.provider.fault(t, fault{Kind: "error", Status: 400, Body: map[string]string{"error": "invalid_grant", "error_description": "gone"}})
	one.dead(t)
	one.dead(t)
	two.works(t)
}

func TestSessionEndsByItsLimits(t *testing.T) {
	st := startStack(t, setup{env: map[string]string{"ORT_SESSION_IDLE_TIMEOUT": "4s", "ORT_SESSION_ABSOLUTE_TIMEOUT": "9s"}})
	one := st.app("app-one", nil)
	one.login(t)
	two := st.app("app-two", one.browser)
	two.login(t)
	start := time.Now()
	for time.Since(start) < 6*time.Second { // longer than the idle timeout: one clock for both apps
		one.works(t)
		time.Sleep(time.Second)
	}
	two.works(t)
	time.Sleep(time.Until(start.Add(9500 * time.Millisecond))) // the absolute one, although active
	one.dead(t)
	two.dead(t)
	idle := st.app("app-one", nil)
	idle.login(t)
	time.Sleep(4500 * time.Millisecond)
	idle.dead(t)
}

// The session endpoint tells and does not extend; its events tell the end at once.
func TestSessionEndpointAndEvents(t *testing.T) {
	st := startStack(t, setup{})
	one := st.app("app-one", nil)
	one.login(t)
	two := st.app("app-two", one.browser)
	two.login(t)
	resp := two.sessionRequest(t, "/_ort/session")
	var left struct {
		Idle     float64 `json:"session_idle_expires_in"`
		Absolute float64 `json:"session_expires_in"`
	}
	if err := json.Unmarshal([]byte(readAll(resp.Body)), &left); err != nil || resp.StatusCode != http.StatusOK || left.Idle <= 0 || left.Absolute < left.Idle {
		t.Errorf("session: %s %+v %v", resp.Status, left, err)
	}
	stream := two.sessionRequest(t, "/_ort/session/events")
	if stream.StatusCode != http.StatusOK || !strings.HasPrefix(stream.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("events: %s %s", stream.Status, stream.Header.Get("Content-Type"))
	}
	began := time.Now()
	if got, err := one.revoke(); err != nil || got.status != http.StatusOK {
		t.Fatalf("revocation: %v %v", got, err)
	}
	text := readAll(stream.Body) // the stream ends with the session
	if !strings.Contains(text, "event: session") || !strings.Contains(text, "event: ended") || time.Since(began) > 2*time.Second {
		t.Errorf("events after %v: %q", time.Since(began), text)
	}
	resp = two.sessionRequest(t, "/_ort/session")
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("session after its end: %s %q", resp.Status, resp.Header.Get("WWW-Authenticate"))
	}
}

// sessionRequest asks one of the gateway's own endpoints, once more where a DPoP nonce is asked for.
func (a *app) sessionRequest(t *testing.T, path string) *http.Response {
	t.Helper()
	for attempt := 0; ; attempt++ {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.st.origin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		proof := a.key.proof(http.MethodGet, a.st.origin+path, a.nonce, a.ort)
		a.st.secret(proof)
		req.Header.Set("Authorization", "DPoP "+a.ort)
		req.Header.Set("DPoP", proof)
		resp, err := (&http.Client{Transport: a.st.http, Timeout: requestTimeout}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if n := resp.Header.Get("DPoP-Nonce"); n != "" {
			a.nonce = n
		}
		if resp.StatusCode != http.StatusUnauthorized || attempt > 0 || !strings.Contains(resp.Header.Get("WWW-Authenticate"), "use_dpop_nonce") {
			return resp
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}
