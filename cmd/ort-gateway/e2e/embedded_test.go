package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/ort-gateway/ort-gateway/cmd/ort-demo/idp"
	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// embedded is the demo's provider (zitadel's library): the second real identity provider behind the gateway. It knows
// no scope online_access, refuses scopes that it does not know, and ends a token's family when one comes twice.
type embedded struct {
	*idp.Provider
	url string

	mu            sync.Mutex
	refreshTokens []string
	withAccess    map[string]string // refresh token by the access token that came with it
	calls         int
}

// startEmbedded starts it; roots verify the gateway's certificate where it calls its back channel.
func startEmbedded(t *testing.T, issuer string, clients []clientMetadata, roots *x509.CertPool) *embedded {
	t.Helper()
	e := &embedded{withAccess: map[string]string{}}
	out := &proctest.Output{}
	t.Cleanup(func() { keepLog(t, "upstream", out) })
	config := idp.Config{Issuer: issuer, TokenMiddleware: e.listen, BackChannelTLS: &tls.Config{RootCAs: roots}, Log: slog.New(slog.NewTextHandler(out, nil))}
	for _, c := range clients {
		config.Clients = append(config.Clients, idp.Client{ID: c.ID, Secret: c.Secret, RedirectURIs: c.RedirectURIs, PostLogoutRedirectURIs: c.PostLogout, Origins: c.Origins, BackChannelLogoutURI: c.BackChannel})
	}
	for _, name := range []string{"alice", "bob"} {
		config.Users = append(config.Users, idp.User{Username: name, Password: name + "-pass", Name: name, Email: name + "@users.test"})
	}
	p, err := idp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	e.Provider = p
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

// listen keeps every refresh token that is issued.
func (e *embedded) listen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		var got struct {
			AccessToken  string `json:"access_token"`
			RefreshToken string `json:"refresh_token"`
		}
		_ = json.Unmarshal(rec.Body.Bytes(), &got)
		e.mu.Lock()
		e.calls++
		if got.RefreshToken != "" {
			e.refreshTokens = append(e.refreshTokens, got.RefreshToken)
			e.withAccess[got.AccessToken] = got.RefreshToken
		}
		e.mu.Unlock()
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}

// credential is the refresh token that came with an access token.
func (e *embedded) credential(accessToken string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.withAccess[accessToken]
}

func (e *embedded) issued() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.refreshTokens...)
}
