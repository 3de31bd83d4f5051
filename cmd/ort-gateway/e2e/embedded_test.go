package e2e

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/ort-gateway/ort-gateway/cmd/ort-demo/idp"
)

// embedded is the demo's provider (zitadel's library): the second real identity provider behind the gateway. It knows
// no scope online_access, refuses scopes that it does not know, and ends a token's family when one comes twice.
type embedded struct {
	*idp.Provider
	url string

	mu            sync.Mutex
	refreshTokens []string
	calls         int
}

func startEmbedded(t *testing.T, issuer string, clients []clientMetadata) *embedded {
	t.Helper()
	e := &embedded{}
	out := &output{}
	t.Cleanup(func() { keepLog(t, "upstream", out) })
	config := idp.Config{Issuer: issuer, TokenMiddleware: e.listen, Log: slog.New(slog.NewTextHandler(out, nil))}
	for _, c := range clients {
		config.Clients = append(config.Clients, idp.Client{ID: c.ID, Secret: c.Secret, RedirectURIs: c.RedirectURIs, PostLogoutRedirectURIs: c.PostLogout, Origins: c.Origins})
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
			RefreshToken string `json:"refresh_token"`
		}
		_ = json.Unmarshal(rec.Body.Bytes(), &got)
		e.mu.Lock()
		e.calls++
		if got.RefreshToken != "" {
			e.refreshTokens = append(e.refreshTokens, got.RefreshToken)
		}
		e.mu.Unlock()
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}

func (e *embedded) issued() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.refreshTokens...)
}
