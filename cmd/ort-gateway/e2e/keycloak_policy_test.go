package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Requests without online_access get what Keycloak gives, and other grants no refresh token where they ask for it.
func keycloakWithoutORT(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	for _, scope := range []string{"openid", "openid offline_access"} {
		a := st.app("spa", nil)
		a.scope, a.key = scope, nil
		code := a.code(t, nil)
		sent := st.rec.lastAuthorization(t)
		if sent.Get("code_challenge") != hash64(a.lastVerifier) || sent.Has("max_age") || sent.Get("scope") != scope {
			t.Errorf("%s: went up: %v", scope, sent)
		}
		got, err := a.redeem(code, a.lastVerifier)
		if err != nil || got.status != http.StatusOK || got.RefreshToken == "" || strings.HasPrefix(got.RefreshToken, "ORT") || got.Idle != nil {
			t.Fatalf("%s: %v %v", scope, got, err)
		}
		got, err = a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.RefreshToken}})
		if err != nil || got.status != http.StatusOK || got.RefreshToken == "" || got.Idle != nil {
			t.Errorf("%s: refresh: %v %v", scope, got, err)
		}
	}
	web := st.app("web", nil)
	for _, form := range []url.Values{
		{"grant_type": {"client_credentials"}, "scope": {"openid online_access"}},
		{"grant_type": {"password"}, "username": {"alice"}, "password": {"alice-pass"}, "scope": {"openid online_access"}},
	} {
		got, err := web.token(form)
		if err != nil || got.status != http.StatusOK || got.AccessToken == "" || got.RefreshToken != "" || got.Idle != nil {
			t.Errorf("%s: %v %v", form.Get("grant_type"), got, err)
		}
	}
}

// A client that is not allowed gets no ORT, and not Keycloak's refresh token, which comes unasked, in its place.
func keycloakPolicy(t *testing.T, kc *keycloak) {
	st := kc.stack(t, map[string]string{"ORT_CLIENTS": "spa,web", "ORT_ONLINE_ONLY_CLIENTS": "spa"})
	none := func(a *app) {
		t.Helper()
		a.key = nil // no proof is asked
		code := a.code(t, nil)
		got, err := a.redeem(code, a.lastVerifier)
		if err != nil || got.status != http.StatusOK || got.AccessToken == "" || got.RefreshToken != "" || got.Idle != nil {
			t.Errorf("login of %s with %q: %v %v", a.id, a.scope, got, err)
		}
	}
	none(st.app("spa2", nil))
	only := st.app("spa", nil)
	only.scope = "openid"
	none(only)
	// Some servers take these for their token endpoint.
	for _, path := range []string{"/token;%2f..%2fpage", "/token;%2f..%2fuserinfo", "/token;/page", "/userinfo%3F/../token", "/certs%23%2f../token"} {
		code := only.code(t, nil)
		got, err := only.post("hidden", st.issuer+"/protocol/openid-connect"+path, only.codeForm(code, only.lastVerifier), "")
		if err != nil || got.RefreshToken != "" {
			t.Errorf("%s: %v %v", path, got, err)
		}
	}
	only = st.app("spa", nil)
	only.scope = "openid offline_access"
	none(only)
	if sent := st.rec.lastAuthorization(t); sent.Get("scope") != "openid" {
		t.Errorf("scope %q of an online-only client went up", sent.Get("scope"))
	}
	only = st.app("spa", nil)
	only.scope = "openid online_access offline_access"
	only.login(t)
	only.works(t)
}

// The device grant, with the user's part done in a browser.
func keycloakDevice(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	web := st.app("web", st.consenting())
	got, err := web.post("device", st.issuer+"/protocol/openid-connect/auth/device", url.Values{"scope": {"openid online_access"}}, "")
	if err != nil || got.status != http.StatusOK {
		t.Fatalf("device authorization: %v %v", got, err)
	}
	var device, page string
	_ = json.Unmarshal(got.members["device_code"], &device)
	_ = json.Unmarshal(got.members["verification_uri_complete"], &page)
	st.secret(device)
	if _, err := web.walk(page); err == nil || !strings.Contains(err.Error(), "a page without a form") {
		t.Fatalf("the user's part: %v", err)
	}
	got, err = web.token(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {device}})
	if err != nil || got.status != http.StatusOK || got.AccessToken == "" {
		t.Fatalf("device grant: %v %v", got, err)
	}
	if got.RefreshToken != "" || got.Idle != nil {
		t.Errorf("a device grant that asked for online_access has a refresh token")
	}
}

// Keycloak's invalid_grant ends the grant that met it, and no other.
func keycloakDisabledUser(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	one := st.app("spa", nil)
	one.login(t)
	two := st.app("spa2", one.browser)
	two.login(t)
	id := kc.user(t, "ort", "alice")
	enable := func(enabled bool) {
		t.Helper()
		kc.admin(t, http.MethodPut, "ort/users/"+id, map[string]bool{"enabled": enabled}, nil)
	}
	enable(false)
	t.Cleanup(func() { enable(true) })
	one.dead(t)
	enable(true)
	one.dead(t)
	two.works(t)
	one.login(t)
	one.works(t)
	if one.browser.forms != 1 {
		t.Errorf("%d login forms, want 1", one.browser.forms)
	}
}

// Another user signs in in the same browser, whose login at Keycloak was lost: the former user's session ends.
func keycloakAnotherUser(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	one := st.app("spa", nil)
	one.login(t)
	two := st.app("spa2", one.browser)
	two.login(t)
	forgetLogin(t, st, one.browser)
	bob := st.app("spa", one.browser)
	bob.user = "bob"
	bob.login(t)
	one.dead(t)
	two.dead(t)
	bob.works(t)
}

// forgetLogin takes every cookie but the gateway's own from a browser.
func forgetLogin(t *testing.T, st *keycloakStack, b *browser) {
	t.Helper()
	forgetCookies(t, st, b, func(name string) bool { return name != "ort" })
}

func forgetCookies(t *testing.T, st *keycloakStack, b *browser, which func(string) bool) {
	t.Helper()
	u, err := url.Parse(st.issuer + "/")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range b.Jar.Cookies(u) {
		if which(c.Name) {
			found = true
			b.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Path: strings.TrimSuffix(u.Path, "/") + "/", MaxAge: -1}})
		}
	}
	for _, c := range b.Jar.Cookies(u) {
		if which(c.Name) {
			t.Fatalf("the cookie %s stays", c.Name)
		}
	}
	if !found {
		t.Fatal("the browser had no such cookie")
	}
}

// Keycloak's preflights allow every origin; its real answers decide.
func keycloakCORS(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	a := st.app("spa", nil)
	a.login(t)
	const home, evil = "http://one.localhost:3001", "https://evil.test"
	ask := func(a *app, origin, method, endpoint string, form url.Values) (*http.Response, string) {
		t.Helper()
		form.Set("client_id", a.id)
		req, err := http.NewRequestWithContext(t.Context(), method, endpoint, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		proof := a.key.proof(method, endpoint, a.nonce, "")
		a.st.secret(proof)
		req.Header = http.Header{"Origin": {origin}, "Dpop": {proof}, "Content-Type": {"application/x-www-form-urlencoded"}}
		resp, err := (&http.Client{Transport: st.http, Timeout: requestTimeout}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n := resp.Header.Get("DPoP-Nonce"); n != "" {
			a.nonce = n
		}
		return resp, readAll(resp.Body)
	}
	readable := func(what string, resp *http.Response, origin string) {
		t.Helper()
		if resp.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: Access-Control-Allow-Origin %q, want %q", what, resp.Header.Get("Access-Control-Allow-Origin"), origin)
		}
		if origin != "" && (!lists(resp.Header, "Access-Control-Expose-Headers", "DPoP-Nonce") || !lists(resp.Header, "Access-Control-Expose-Headers", "WWW-Authenticate")) {
			t.Errorf("%s: Access-Control-Expose-Headers %q", what, resp.Header.Values("Access-Control-Expose-Headers"))
		}
	}

	for _, endpoint := range []string{st.metadata.Token, st.metadata.Revocation} {
		allowed := preflight(t, st.stack, endpoint, home, http.MethodPost)
		if allowed.Get("Access-Control-Allow-Origin") != home || !lists(allowed, "Access-Control-Allow-Headers", "DPoP") {
			t.Errorf("preflight at %s: %v", endpoint, allowed)
		}
	}
	resp, body := ask(a, home, http.MethodPost, st.metadata.Token, a.refreshForm(nil))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("exchange from the app's origin: %s %s", resp.Status, body)
	}
	readable("exchange", resp, home)

	// A page of another origin learns nothing and ends nothing, with the ORT and with a code.
	for _, origin := range []string{evil, "null"} {
		resp, body = ask(a, origin, http.MethodPost, st.metadata.Token, a.refreshForm(nil))
		if resp.StatusCode != http.StatusForbidden || strings.Contains(body, "access_token") || !strings.Contains(body, "Invalid origin") {
			t.Errorf("exchange from %s: %s %s", origin, resp.Status, body)
		}
		readable("exchange from "+origin, resp, "")
	}
	code := a.code(t, nil)
	st.secret(code)
	resp, body = ask(a, evil, http.MethodPost, st.metadata.Token, a.codeForm(code, a.lastVerifier))
	if resp.StatusCode != http.StatusForbidden || strings.Contains(body, "_token") {
		t.Errorf("code exchange from %s: %s %s", evil, resp.Status, body)
	}
	readable("code exchange from "+evil, resp, "")

	// The gateway's own answers are readable where Keycloak allowed that client's origin, after a refusal too.
	resp, body = ask(a, home, http.MethodPost, st.metadata.Token, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"ORT1.x"}})
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a made-up ORT: %s %s", resp.Status, body)
	}
	readable("a made-up ORT", resp, home)
	a.nonce = ""
	resp, body = ask(a, home, http.MethodPost, st.metadata.Token, a.refreshForm(nil))
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "use_dpop_nonce") {
		t.Errorf("exchange without a nonce: %s %s", resp.Status, body)
	}
	readable("exchange without a nonce", resp, home)
	own := preflight(t, st.stack, st.origin+"/_ort/session", home, http.MethodGet)
	if own.Get("Access-Control-Allow-Origin") != home || !lists(own, "Access-Control-Allow-Headers", "DPoP") || !lists(own, "Access-Control-Allow-Headers", "Authorization") {
		t.Errorf("preflight at /_ort/session: %v", own)
	}
	a.works(t)
	resp, body = ask(a, home, http.MethodPost, st.metadata.Revocation, url.Values{"token": {a.ort}})
	if resp.StatusCode != http.StatusOK {
		t.Errorf("revocation: %s %s", resp.Status, body)
	}
	readable("revocation", resp, home)
	resp, _ = ask(a, home, http.MethodPost, st.metadata.Token, a.refreshForm(nil))
	readable("exchange of a dead ORT", resp, home)
}

// Keycloak takes the token endpoint with a trailing slash and refuses what is not in its normal form.
func keycloakSpellings(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	a := st.app("spa", nil)
	a.login(t)
	const realm = "/realms/ort/protocol/openid-connect"
	for _, path := range []string{
		realm + "/token/", realm + "//token", "/" + realm + "/token", realm + "/./token", realm + "/x/../token", realm + "/%74oken", realm + "/token;x=1",
		realm + "/token%2f", realm + "/Token", realm + "/TOKEN/", "/realms/%6frt/protocol/openid-connect/token", "/realms/ORT/protocol/openid-connect/token",
		"/realms/ort/protocol/openid-connect\\token", realm + "/token/.", realm + "/%2e/token", "/realms/ort;a=b/protocol/openid-connect/token",
	} {
		code := a.code(t, nil)
		st.secret(code)
		for _, form := range []url.Values{a.refreshForm(nil), a.codeForm(code, a.lastVerifier)} {
			got, err := a.post("spelling "+path, st.origin+path, form, "")
			if err != nil {
				t.Fatal(err)
			}
			if got.status == http.StatusOK || got.AccessToken != "" {
				t.Errorf("%s: %s without a proof: %v", path, form.Get("grant_type"), got)
			}
		}
	}
	slash := *a
	slash.st = &stack{t: t, metadata: st.metadata, http: st.http}
	slash.st.metadata.Token += "/"
	if got, err := slash.exchange(); err != nil || got.status != http.StatusOK || got.AccessToken == "" {
		t.Errorf("exchange at the token endpoint with a slash: %v %v", got, err)
	}
	st.secret(slash.st.secrets...)
	for _, path := range []string{realm + "/auth/", realm + "/%61uth", "/" + realm + "/auth", realm + "/AUTH"} {
		b := st.app("spa", nil)
		resp, err := b.browser.Get(st.origin + path + "?" + b.authorizationRequest(nil).Encode())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			continue // Keycloak does not know this spelling
		}
		back, err := b.walk(st.origin + path + "?" + b.authorizationRequest(nil).Encode())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.redeem(back.Get("code"), b.lastVerifier); err != nil || !strings.HasPrefix(got.RefreshToken, "ORT1.") {
			t.Errorf("login at %s: %v %v", path, got, err)
		}
	}
	for _, path := range []string{realm + "/revoke/", realm + "/Revoke", realm + "/token/introspect/", realm + "/logout/", realm + "/LOGOUT"} {
		if _, err := a.post("spelling "+path, st.origin+path, url.Values{"token": {a.ort}, "refresh_token": {a.ort}}, ""); err != nil {
			t.Fatal(err)
		}
		a.login(t)
	}
}
