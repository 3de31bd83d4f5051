package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// CORS answers are the upstream's, for its origins alone, with what DPoP needs.
func TestCORS(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		st := startStack(t, s)
		a := st.app("app-one", nil)
		a.login(t)
		home := strings.TrimSuffix(a.redirectURI, "/callback")

		for _, endpoint := range []string{st.metadata.Token, st.metadata.Revocation} {
			allowed := preflight(t, st, endpoint, home, http.MethodPost)
			if got := allowed.Get("Access-Control-Allow-Origin"); got != home && got != "*" {
				t.Errorf("preflight at %s: allowed origin %q, want %q", endpoint, got, home)
			}
			if !lists(allowed, "Access-Control-Allow-Headers", "DPoP") || !lists(allowed, "Access-Control-Allow-Headers", "Content-Type") {
				t.Errorf("preflight at %s: allowed headers %q", endpoint, allowed.Values("Access-Control-Allow-Headers"))
			}
		}
		// Answers of the gateway itself and of the upstream are equal in this.
		for i, form := range []url.Values{a.refreshForm(nil), {"grant_type": {"refresh_token"}, "refresh_token": {"ORT1.x"}}, a.codeForm("x", random(32))} {
			for _, origin := range []string{home, "https://evil.test", "null"} {
				got := fromOrigin(t, a, origin, form)
				if origin == home {
					if got.Get("Access-Control-Allow-Origin") != home {
						t.Errorf("%s from the app's origin: allowed origin %q", form.Get("grant_type"), got.Get("Access-Control-Allow-Origin"))
					}
					if !lists(got, "Access-Control-Expose-Headers", "DPoP-Nonce") {
						t.Errorf("%s: exposed headers %q", form.Get("grant_type"), got.Values("Access-Control-Expose-Headers"))
					}
					continue
				}
				// What the gateway answers by itself carries what a preflight says where nothing else is known, and
				// oidc-provider's preflight allows every origin.
				if o := got.Get("Access-Control-Allow-Origin"); (o == origin || o == "*") && (i != 1 || s.embedded) {
					t.Errorf("%d %s from %s: allowed origin %q", i, form.Get("grant_type"), origin, o)
				}
			}
		}
		own := preflight(t, st, st.origin+"/_ort/session", home, http.MethodGet)
		if own.Get("Access-Control-Allow-Origin") != home || !lists(own, "Access-Control-Allow-Headers", "DPoP") || !lists(own, "Access-Control-Allow-Headers", "Authorization") {
			t.Errorf("preflight at /_ort/session: %v", own)
		}
	})
}

func preflight(t *testing.T, st *stack, endpoint, origin, method string) http.Header {
	t.Helper()
	headers := "content-type,dpop"
	if method == http.MethodGet {
		headers = "authorization,dpop"
	}
	return send(t, st, http.MethodOptions, endpoint, nil, http.Header{
		"Origin": {origin}, "Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {headers},
	})
}

func fromOrigin(t *testing.T, a *app, origin string, form url.Values) http.Header {
	t.Helper()
	form.Set("client_id", a.id)
	proof := a.key.proof(http.MethodPost, a.st.metadata.Token, a.nonce, "")
	a.st.secret(proof)
	return send(t, a.st, http.MethodPost, a.st.metadata.Token, form, http.Header{"Origin": {origin}, "Dpop": {proof}})
}

func send(t *testing.T, st *stack, method, endpoint string, form url.Values, header http.Header) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := (&http.Client{Transport: st.http, Timeout: requestTimeout}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header
}

// lists says whether a header field with a comma-separated list has a member, in any case.
func lists(h http.Header, field, member string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(h.Values(field), ","), ","), func(s string) bool {
		return strings.EqualFold(strings.TrimSpace(s), member)
	})
}
