package e2e

import (
	"net/http"
	"net/url"
	"testing"
)

// The upstream is as strict as these tests need it, and where it is to be lenient it is no more lenient than that.
func TestUpstreamEndsTheGrantWhenACredentialIsUsedTwice(t *testing.T) {
	for _, c := range []struct {
		reuse string
		uses  []int // which refresh token is used, 0 the first one
		want  []int
	}{
		{"revoke", []int{0, 1, 0, 2}, []int{200, 200, 400, 400}},
		{"unacknowledged", []int{0, 0, 2, 0, 3}, []int{200, 200, 200, 400, 400}},
	} {
		t.Run(c.reuse, func(t *testing.T) {
			st := bareUpstream(t, providerConfig{Reuse: c.reuse, Refresh: "always"})
			a := st.app("app-one", nil)
			a.scope = "openid"
			got, err := a.redeem(a.code(t, nil), a.lastVerifier)
			if err != nil || got.RefreshToken == "" {
				t.Fatalf("login: %v %v", got, err)
			}
			tokens := []string{got.RefreshToken}
			for i, n := range c.uses {
				got, err := a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens[n]}})
				if err != nil {
					t.Fatal(err)
				}
				if got.status != c.want[i] {
					t.Fatalf("refresh %d with token %d: %v, want %d", i, n, got, c.want[i])
				}
				tokens = append(tokens, got.RefreshToken)
			}
			s := st.provider.seen(t)
			if s.RevokedGrants != 1 || s.LoginForms != 1 || len(s.RefreshTokens) < 3 {
				t.Errorf("the hooks say %+v", s)
			}
		})
	}
}

// bareUpstream is an upstream without a gateway; the client talks to it directly.
func bareUpstream(t *testing.T, c providerConfig) *stack {
	t.Helper()
	c.Issuer = "http://127.0.0.1:1"
	c.Clients = usualClients(c.Issuer, [2]string{"http://one.localhost:3001", "http://two.localhost:3002"})
	p := startProvider(t, c)
	return &stack{t: t, provider: p, origin: p.url, clients: c.Clients, http: http.DefaultTransport.(*http.Transport).Clone(), metadata: metadata{
		Authorization: p.url + "/auth", Token: p.url + "/token", PAR: p.url + "/request",
	}}
}
