package e2e

import (
	"net/http"
	"net/url"
	"testing"
)

// Keycloak binds its tokens by itself: at a client that demands proofs, and at any other that sends them.
func keycloakDPoP(t *testing.T, kc *keycloak) {
	st := kc.stack(t, map[string]string{"ORT_DPOP_AUTHORITY": "upstream"})
	for _, id := range []string{"spa-dpop", "spa"} {
		a := st.app(id, nil)
		got := a.loginWith(t, url.Values{"dpop_jkt": {a.key.Thumbprint()}})
		keycloakMembers(t, got, 1800)
		if got.TokenType != "DPoP" {
			t.Errorf("%s: token_type %q", id, got.TokenType)
		}
		if sent := st.rec.lastAuthorization(t); sent.Get("dpop_jkt") != a.key.Thumbprint() {
			t.Errorf("%s: dpop_jkt %q went up", id, sent.Get("dpop_jkt"))
		}
		for range 3 {
			if got := a.works(t); got.TokenType != "DPoP" {
				t.Errorf("%s: token_type %q", id, got.TokenType)
			}
		}
		parallel(t, a, 10)
		userinfo(t, a, "DPoP", a.works(t).AccessToken)
		calls := st.rec.tokenCalls()
		for _, c := range calls[len(calls)-10:] {
			if len(c.proofs) != 1 {
				t.Errorf("%s: an exchange went up with proofs %q", id, c.proofs)
			}
		}
		stolen := *a
		stolen.key = newProofKey()
		if got, err := stolen.exchange(); err != nil || got.Error != "invalid_dpop_proof" {
			t.Errorf("%s: exchange by another key: %v %v", id, got, err)
		}
		stolen.key = nil
		if got, err := stolen.exchange(); err != nil || got.Error != "invalid_dpop_proof" {
			t.Errorf("%s: exchange without a proof: %v %v", id, got, err)
		}
		proof := a.key.proof(http.MethodPost, st.metadata.Token, "", "")
		for i, want := range []string{"", "invalid_dpop_proof"} {
			got, err := a.post("replay", st.metadata.Token, a.refreshForm(nil), proof)
			if err != nil || got.Error != want {
				t.Errorf("%s: time %d of one proof: %v %v", id, i+1, got, err)
			}
		}
		if now := len(st.rec.tokenCalls()); now != len(calls)+1 {
			t.Errorf("%s: %d of the four reached Keycloak, want 1", id, now-len(calls))
		}
		code := a.code(t, url.Values{"dpop_jkt": {newProofKey().Thumbprint()}})
		if got, err := a.redeem(code, a.lastVerifier); err != nil || got.Error != "invalid_dpop_proof" {
			t.Errorf("%s: a proof by another key than dpop_jkt: %v %v", id, got, err)
		}
		if resp := a.sessionRequest(t, "/_ort/session"); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: session: %s", id, resp.Status)
		}
		if got, err := a.revoke(); err != nil || got.status != http.StatusOK {
			t.Errorf("%s: revocation: %v %v", id, got, err)
		}
		a.dead(t)
	}
}

// Where DPoP ends at the gateway, a client of which Keycloak demands proofs gets nothing: that is a wrong setting.
func keycloakDPoPEnded(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	a := st.app("spa-dpop", nil)
	code := a.code(t, url.Values{"dpop_jkt": {a.key.Thumbprint()}})
	if sent := st.rec.lastAuthorization(t); sent.Has("dpop_jkt") {
		t.Errorf("dpop_jkt %q went up", sent.Get("dpop_jkt"))
	}
	got, err := a.redeem(code, a.lastVerifier)
	if err != nil || got.status != http.StatusBadRequest || got.Error != "invalid_request" || got.AccessToken != "" {
		t.Errorf("code exchange: %v %v", got, err)
	}
}
