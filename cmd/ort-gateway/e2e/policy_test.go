package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A client or audience that is not allowed gets no ORT, and no refresh token of the upstream in its place.
func TestClientsAndAudiencesThatGetNoORT(t *testing.T) {
	st := startStack(t, setup{env: map[string]string{"ORT_CLIENTS": "app-one,web", "ORT_AUDIENCES": "https://one.api.test"}})
	none := func(a *app, extra url.Values) {
		t.Helper()
		a.key = nil // no proof is asked
		code := a.code(t, extra)
		got, err := a.redeem(code, a.lastVerifier)
		if err != nil || got.status != http.StatusOK || got.AccessToken == "" || got.RefreshToken != "" || got.Idle != nil {
			t.Errorf("login of %s without an ORT: %v %s %v", a.id, got, got.body, err)
		}
	}
	none(st.app("app-two", nil), nil)
	two := st.app("app-one", nil)
	two.scope += " read"
	none(two, url.Values{"resource": {"https://two.api.test"}})
	one := st.app("app-one", nil)
	one.scope += " read"
	one.loginWith(t, url.Values{"resource": {"https://one.api.test"}})
	one.works(t)
	calls := st.provider.seen(t).TokenCalls
	if got, err := one.exchangeWith(url.Values{"resource": {"https://two.api.test"}}); err != nil || got.status != http.StatusBadRequest || got.Error != "invalid_target" {
		t.Errorf("exchange for another audience: %v %v", got, err)
	}
	if now := st.provider.seen(t).TokenCalls; now != calls {
		t.Error("an exchange for another audience reached the upstream")
	}
	one.works(t)
}

func TestOnlineOnlyClientGetsNoOfflineToken(t *testing.T) {
	st := startStack(t, setup{env: map[string]string{"ORT_ONLINE_ONLY_CLIENTS": "app-one"}})
	a := st.app("app-one", nil)
	a.scope = "openid offline_access"
	code := a.code(t, url.Values{"prompt": {"consent"}})
	got, err := a.redeem(code, a.lastVerifier)
	if err != nil || got.status != http.StatusOK || got.RefreshToken != "" {
		t.Errorf("an online-only client asked for offline_access: %v %s %v", got, got.body, err)
	}
	a.scope = "openid online_access offline_access"
	a.login(t) // offline_access is taken out first of all
	a.works(t)
}

func TestPlainChallenge(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	q := a.authorizationRequest(url.Values{"code_challenge_method": {"plain"}})
	q.Set("code_challenge", a.lastVerifier)
	back, err := a.authorize(q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.redeem(back.Get("code"), a.lastVerifier)
	if err != nil || got.status != http.StatusOK || !strings.HasPrefix(got.RefreshToken, "ORT1.") {
		t.Errorf("a plain challenge: %v %v", got, err)
	}
	// dpop_jkt of another key than the proof's.
	b := st.app("app-one", nil)
	code := b.code(t, url.Values{"dpop_jkt": {newProofKey().Thumbprint()}})
	if got, err := b.redeem(code, b.lastVerifier); err != nil || got.Error != "invalid_dpop_proof" {
		t.Errorf("a proof by another key than dpop_jkt: %v %v", got, err)
	}
}

// oidc-provider takes its paths with a trailing slash and in any case; no spelling slips past the gateway.
func TestSpellingsOfTheEndpoints(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.login(t)
	for _, path := range []string{"/token/", "/TOKEN", "/Token/", "//token", "/./token", "/x/../token", "/%74oken", "/token;x=1", "/token%2f", "/%2e/token", "/token%3bx"} {
		t.Run(path, func(t *testing.T) {
			got, err := a.post("spelling", st.origin+path, a.refreshForm(nil), "")
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken != "" || got.RefreshToken != "" || got.status == http.StatusOK {
				t.Errorf("an ORT without a proof: %v %s", got, got.body)
			}
			code := a.code(t, nil)
			got, err = a.post("spelling", st.origin+path, a.codeForm(code, a.lastVerifier), "")
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken != "" || got.RefreshToken != "" {
				t.Errorf("a code without a proof: %v %s", got, got.body)
			}
		})
	}
	for _, path := range []string{"/token/introspection/", "/TOKEN/Introspection", "//token/introspection", "/token/revocation/", "/token/%72evocation", "/session/end/", "/SESSION/END"} {
		if _, err := a.post("spelling", st.origin+path, url.Values{"token": {random(8)}, "client_id": {a.id}}, ""); err != nil {
			t.Fatal(err)
		}
		victim := st.app("app-two", nil)
		victim.login(t)
		if _, err := victim.post("spelling", st.origin+path, url.Values{"token": {victim.ort}, "refresh_token": {victim.ort}}, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/auth/", "/AUTH", "//auth", "/%61uth"} {
		b := st.app("app-one", nil)
		saved := st.metadata.Authorization
		st.metadata.Authorization = st.origin + path
		back, err := b.authorize(b.authorizationRequest(nil))
		st.metadata.Authorization = saved
		if err != nil || back.Get("code") == "" {
			continue // the upstream does not know this spelling
		}
		if got, err := b.redeem(back.Get("code"), b.lastVerifier); err != nil || !strings.HasPrefix(got.RefreshToken, "ORT1.") {
			t.Errorf("login at %s: %v %v", path, got, err)
		}
	}
	a.works(t)
}
