package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// All that the gateway adds to Keycloak's documents, at each of their places.
func keycloakDiscovery(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	for _, path := range []string{
		"/realms/ort/.well-known/openid-configuration", "/realms/ort/.well-known/oauth-authorization-server",
		"/.well-known/oauth-authorization-server/realms/ort",
	} {
		theirs, ours := document(t, kc.url+path), document(t, st.origin+path)
		if got := string(ours["issuer"]); got != `"`+st.issuer+`"` {
			t.Errorf("%s: issuer %s", path, got)
		}
		for name, want := range theirs {
			if name != "scopes_supported" && name != "dpop_signing_alg_values_supported" && string(ours[name]) != string(want) {
				t.Errorf("%s: %s is %s, want %s", path, name, ours[name], want)
			}
		}
		for name := range ours {
			if _, ok := theirs[name]; !ok && name != "ort_session_endpoint" {
				t.Errorf("%s: has got %s", path, name)
			}
		}
		var before, after []string
		_ = json.Unmarshal(theirs["scopes_supported"], &before)
		_ = json.Unmarshal(ours["scopes_supported"], &after)
		if !slices.Equal(after, append(before, "online_access")) {
			t.Errorf("%s: scopes_supported %q, Keycloak's are %q", path, after, before)
		}
		if want := `["ES256","ES384","ES512","EdDSA","Ed25519","PS256","RS256"]`; string(ours["dpop_signing_alg_values_supported"]) != want {
			t.Errorf("%s: dpop_signing_alg_values_supported %s, want %s", path, ours["dpop_signing_alg_values_supported"], want)
		}
		if got := string(ours["ort_session_endpoint"]); got != `"`+st.origin+`/_ort/session"` {
			t.Errorf("%s: ort_session_endpoint %s", path, got)
		}
	}
}

func document(t *testing.T, address string) map[string]json.RawMessage {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var members map[string]json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&members); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", address, resp.Status, err)
	}
	return members
}

// One browser, two apps: one password, one session, an ORT and a key for each, one end.
func keycloakLogin(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	one := st.app("spa", nil)
	got := one.login(t)
	keycloakMembers(t, got, 1800)
	sent := st.rec.lastAuthorization(t)
	if slices.Contains(strings.Fields(sent.Get("scope")), "offline_access") {
		t.Errorf("scope %q went up", sent.Get("scope"))
	}
	if sent.Get("code_challenge") == hash64(one.lastVerifier) || sent.Get("code_challenge_method") != "S256" || sent.Get("max_age") != "604800" {
		t.Errorf("went up: %v", sent)
	}
	call := st.rec.tokenCalls()[0]
	if call.form.Get("code_verifier") == one.lastVerifier || len(call.proofs) > 0 {
		t.Errorf("the code exchange went up with %v and proofs %q", call.form, call.proofs)
	}
	for range 5 {
		got := one.works(t)
		keycloakMembers(t, got, 1800)
		if got.IDToken == "" || got.TokenType != "Bearer" {
			t.Errorf("exchange: token_type %q, ID token %q", got.TokenType, got.IDToken)
		}
	}
	parallel(t, one, 20)
	if calls := st.rec.tokenCalls(); len(calls) != 26 {
		t.Errorf("Keycloak saw %d token requests, want 26", len(calls))
	}
	userinfo(t, one, "Bearer", one.works(t).AccessToken)

	two := st.app("spa2", one.browser)
	two.login(t)
	two.works(t)
	if one.browser.forms != 1 {
		t.Errorf("%d login forms, want 1", one.browser.forms)
	}
	for _, a := range []*app{one, two} {
		stolen := *a
		stolen.key = newProofKey()
		if got, err := stolen.exchange(); err != nil || got.Error != "invalid_dpop_proof" {
			t.Errorf("exchange of %s by another key: %v %v", a.id, got, err)
		}
		stolen.key = nil
		if got, err := stolen.exchange(); err != nil || got.Error != "invalid_dpop_proof" {
			t.Errorf("exchange of %s without a proof: %v %v", a.id, got, err)
		}
	}
	if resp := two.sessionRequest(t, "/_ort/session"); resp.StatusCode != http.StatusOK {
		t.Errorf("session: %s", resp.Status)
	}
	elsewhere := st.app("spa", nil)
	elsewhere.login(t)
	if got, err := one.revoke(); err != nil || got.status != http.StatusOK {
		t.Errorf("revocation: %v %v", got, err)
	}
	one.dead(t)
	two.dead(t)
	elsewhere.works(t)
}

// keycloakMembers checks an answer with an ORT's limits, where Keycloak's or the gateway's idle limit is the smaller.
func keycloakMembers(t *testing.T, got *answer, idle float64) {
	t.Helper()
	var refresh float64
	if err := json.Unmarshal(got.members["refresh_expires_in"], &refresh); err != nil || got.Idle == nil || got.Absolute == nil {
		t.Errorf("%s: limits are missing: %v", got.what, slices.Sorted(mapsKeys(got.members)))
		return
	}
	if refresh != *got.Idle || refresh > idle || refresh < idle-60 {
		t.Errorf("%s: refresh_expires_in %v, session_idle_expires_in %v, want both %v", got.what, refresh, *got.Idle, idle)
	}
	for _, scope := range []string{"online_access", "offline_access"} {
		if slices.Contains(strings.Fields(got.Scope), scope) {
			t.Errorf("%s: scope %q", got.what, got.Scope)
		}
	}
	if cc := got.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("%s: Cache-Control %q", got.what, cc)
	}
}

// parallel sends so many exchanges of one ORT at once; all must succeed.
func parallel(t *testing.T, a *app, tabs int) {
	t.Helper()
	var wg sync.WaitGroup
	for range tabs {
		tab := *a
		wg.Go(func() {
			got, err := tab.exchange()
			if err != nil || got.status != http.StatusOK || got.AccessToken == "" {
				t.Errorf("one of %d exchanges: %v %v", tabs, got, err)
			}
		})
	}
	wg.Wait()
}

// userinfo uses an access token at the userinfo endpoint, through the gateway.
func userinfo(t *testing.T, a *app, scheme, token string) {
	t.Helper()
	address := a.st.issuer + "/protocol/openid-connect/userinfo"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", scheme+" "+token)
	if scheme == "DPoP" {
		req.Header.Set("DPoP", a.key.proof(http.MethodGet, address, "", token))
	}
	resp, err := (&http.Client{Transport: a.st.http, Timeout: requestTimeout}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body := readAll(resp.Body); resp.StatusCode != http.StatusOK || !strings.Contains(body, "alice") {
		t.Errorf("userinfo: %s %s %q", resp.Status, body, resp.Header.Get("WWW-Authenticate"))
	}
}

// pressesYes answers Keycloak's consent page as a user does who agrees: a browser sends the pressed button alone.
type pressesYes struct{ http.RoundTripper }

func (p pressesYes) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && r.Body != nil {
		form, err := url.ParseQuery(readAll(r.Body))
		if err != nil {
			return nil, err
		}
		if form.Has("accept") {
			form.Del("cancel")
		}
		r = r.Clone(r.Context())
		body := strings.NewReader(form.Encode())
		r.Body, r.ContentLength = http.NoBody, body.Size()
		fresh, err := http.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), body)
		if err != nil {
			return nil, err
		}
		fresh.Header = r.Header
		r = fresh
	}
	return p.RoundTripper.RoundTrip(r)
}

func (st *keycloakStack) consenting() *browser {
	b := st.browser()
	b.Transport = pressesYes{b.Transport}
	return b
}

func keycloakWays(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	for _, way := range []struct {
		name, app string
		with      func(*app)
	}{
		{"fragment", "spa", func(a *app) { a.mode = "fragment" }},
		{"form_post", "spa", func(a *app) { a.mode = "form_post" }},
		{"POST", "spa", func(a *app) { a.viaPOST = true }},
		{"PAR", "spa", func(a *app) { a.viaPAR = true }},
		{"PAR and form_post", "spa2", func(a *app) { a.viaPAR, a.mode = true, "form_post" }},
		{"PAR of a confidential client", "web", func(a *app) { a.viaPAR = true }},
		{"confidential client that sends proofs", "web", func(a *app) { a.key = newProofKey() }},
		{"consent", "consent", func(*app) {}},
		{"without openid", "spa", func(a *app) { a.scope = "profile online_access" }},
	} {
		t.Run(way.name, func(t *testing.T) {
			a := st.app(way.app, st.consenting())
			way.with(a)
			keycloakMembers(t, a.login(t), 1800)
			keycloakMembers(t, a.works(t), 1800)
			if sent := st.rec.lastAuthorization(t); sent.Get("prompt") != "" {
				t.Errorf("prompt %q went up", sent.Get("prompt"))
			}
			if a.scope == "profile online_access" {
				return
			}
			beside := st.app("spa2", a.browser)
			beside.login(t)
			if got, err := a.revoke(); err != nil || got.status != http.StatusOK {
				t.Errorf("revocation: %v %v", got, err)
			}
			a.dead(t)
			beside.dead(t)
		})
	}
}

// Keycloak says unauthorized_client where a confidential client does not authenticate itself.
func keycloakConfidential(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	web := st.app("web", nil)
	wrong, none := *web, *web
	wrong.secret, none.secret = "wrong-"+random(12), ""
	st.secret(wrong.secret)
	code := web.code(t, nil)
	if got, err := wrong.redeem(code, web.lastVerifier); err != nil || got.status != http.StatusUnauthorized || got.AccessToken != "" {
		t.Errorf("code exchange with a wrong secret: %v %v", got, err)
	}
	keycloakMembers(t, web.login(t), 1800)
	wrong.ort, none.ort = web.ort, web.ort
	if got, err := wrong.exchange(); err != nil || got.status != http.StatusUnauthorized || got.AccessToken != "" {
		t.Errorf("exchange with a wrong secret: %v %v", got, err)
	}
	if got, err := wrong.revoke(); err != nil || got.status != http.StatusUnauthorized {
		t.Errorf("revocation with a wrong secret: %v %v", got, err)
	}
	calls := len(st.rec.tokenCalls())
	if got, err := none.exchange(); err != nil || got.status != http.StatusUnauthorized || got.Error != "invalid_client" {
		t.Errorf("exchange without authentication: %v %v", got, err)
	}
	if len(st.rec.tokenCalls()) != calls {
		t.Error("an exchange without authentication reached Keycloak")
	}
	if got, err := none.revoke(); err != nil || got.status != http.StatusUnauthorized {
		t.Errorf("revocation without authentication: %v %v", got, err)
	}
	keycloakMembers(t, web.works(t), 1800)
	parallel(t, web, 10)
	beside := st.app("spa", web.browser)
	beside.login(t)
	if web.browser.forms != 1 {
		t.Errorf("%d login forms, want 1", web.browser.forms)
	}
	if got, err := web.revoke(); err != nil || got.status != http.StatusOK {
		t.Errorf("revocation: %v %v", got, err)
	}
	web.dead(t)
	beside.dead(t)
}

func keycloakSilent(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	a := st.app("spa", nil)
	back, err := a.authorize(a.authorizationRequest(url.Values{"prompt": {"none"}}))
	if err != nil || back.Get("error") != "login_required" {
		t.Fatalf("prompt=none without a login: %v %v", back, err)
	}
	a.login(t)
	first := *a
	for range 2 {
		a.loginWith(t, url.Values{"prompt": {"none"}})
		a.works(t)
	}
	first.works(t)
	// The same user signs in again: the same session, whose start moves.
	a.loginWith(t, url.Values{"prompt": {"login"}})
	a.works(t)
	first.works(t)
	if a.browser.forms != 2 {
		t.Errorf("%d login forms, want 2", a.browser.forms)
	}
	if got, err := a.revoke(); err != nil || got.status != http.StatusOK {
		t.Errorf("revocation: %v %v", got, err)
	}
	first.dead(t)
}

// The idle limit that is told is the gateway's where that is smaller, and where Keycloak's token has none.
func keycloakLimits(t *testing.T, kc *keycloak) {
	st := kc.stack(t, map[string]string{"ORT_SESSION_IDLE_TIMEOUT": "10m", "ORT_SESSION_ABSOLUTE_TIMEOUT": "20m"})
	a := st.app("spa", nil)
	keycloakMembers(t, a.login(t), 600)
	got := a.works(t)
	keycloakMembers(t, got, 600)
	if *got.Absolute > 1200 || *got.Absolute < 1140 {
		t.Errorf("session_expires_in %v", *got.Absolute)
	}
	if sent := st.rec.lastAuthorization(t); sent.Get("max_age") != "1200" {
		t.Errorf("max_age %q went up", sent.Get("max_age"))
	}
	st.restart(map[string]string{"ORT_SESSION_IDLE_TIMEOUT": "72h", "ORT_SESSION_ABSOLUTE_TIMEOUT": "168h", "ORT_UPSTREAM_SCOPE": "offline_access"})
	b := st.app("spa", nil)
	keycloakMembers(t, b.login(t), 72*3600)
	keycloakMembers(t, b.works(t), 72*3600)
	if sent := st.rec.lastAuthorization(t); !slices.Contains(strings.Fields(sent.Get("scope")), "offline_access") {
		t.Errorf("scope %q went up", sent.Get("scope"))
	}
}
