package upstream

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

func TestReturn(t *testing.T) {
	keycloak := &Provider{Issuer: "https://id.example", EndSession: "https://id.example/realms/r/protocol/openid-connect/logout", Revocation: "https://id.example/revoke"}
	other := &Provider{Issuer: "https://id.example", EndSession: "https://id.example/end", Revocation: "https://id.example/revoke"}
	bare := &Provider{Issuer: "https://id.example"}
	for _, row := range []struct {
		name     string
		mode     string
		provider *Provider
		client   string
		status   int
		path     string // "": nothing is sent
		body     string
		again    bool
	}{
		{"auto at Keycloak", EndAuto, keycloak, "spa", 204, "/realms/r/protocol/openid-connect/logout", "client_id=spa&refresh_token=R0", false},
		{"auto elsewhere", EndAuto, other, "spa", 200, "/revoke", "client_id=spa&token=R0&token_type_hint=refresh_token", false},
		{"logout", EndLogout, other, "spa", 204, "/end", "client_id=spa&refresh_token=R0", false},
		{"revoke at Keycloak", EndRevoke, keycloak, "spa", 200, "/revoke", "client_id=spa&token=R0&token_type_hint=refresh_token", false},
		{"none", EndNone, other, "spa", 200, "", "", false},
		{"no endpoint", EndAuto, bare, "spa", 200, "", "", false},
		{"a confidential client: its secret is not ours", EndAuto, other, "web", 200, "", "", false},
		{"refused for good", EndAuto, other, "spa", 400, "/revoke", "client_id=spa&token=R0&token_type_hint=refresh_token", false},
		{"a fault", EndAuto, other, "spa", 500, "/revoke", "client_id=spa&token=R0&token_type_hint=refresh_token", true},
		{"too many", EndAuto, other, "spa", 429, "/revoke", "client_id=spa&token=R0&token_type_hint=refresh_token", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			path, body := "", ""
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				path, body = r.URL.Path, string(raw)
				if r.Host != "id.example" || r.Header.Get("X-Forwarded-Proto") != "https" {
					t.Errorf("not under the public name: %s %v", r.Host, r.Header)
				}
				w.WriteHeader(row.status)
			}))
			defer server.Close()
			m := &Metadata{}
			m.state.Store(&State{Providers: []*Provider{row.provider}})
			at, _ := url.Parse(server.URL)
			public, _ := url.Parse("https://id.example")
			r := &Returner{Metadata: m, Mode: row.mode, Confidential: []string{"web"}, Public: public, Upstream: at,
				Client: http.DefaultTransport, Logger: slog.New(slog.DiscardHandler)}
			if again := r.Return(context.Background(), "https://id.example", row.client, "R0"); again != row.again {
				t.Errorf("again %v, want %v", again, row.again)
			}
			if path != row.path || body != row.body {
				t.Errorf("sent %s %s, want %s %s", path, body, row.path, row.body)
			}
			server.Close()
			if row.path != "" && !r.Return(context.Background(), "https://id.example", row.client, "R0") {
				t.Error("an upstream that is down is not asked again")
			}
		})
	}
}
