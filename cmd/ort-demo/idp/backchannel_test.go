package idp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ort-gateway/ort-gateway/cmd/ort-demo/idp"
)

// An administrator's logout ends single sign-on, and the clients that took part are told, once each.
func TestLogOutTellsTheClients(t *testing.T) {
	told := make(chan map[string]any, 10)
	status := http.StatusOK
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told <- claims(t, r.PostFormValue("logout_token"))
		w.WriteHeader(status)
	}))
	defer client.Close()
	b := start(t, func(c *idp.Config) {
		c.Clients[0].BackChannelLogoutURI, c.Clients[1].BackChannelLogoutURI = client.URL, client.URL
	})
	sid, _ := claims(t, b.session("app-one").IDToken)["sid"].(string)
	for _, by := range []string{sid, ""} {
		if by == "" {
			b.session("app-one")
		}
		if err := b.idp.LogOut(t.Context(), "alice", by); err != nil {
			t.Fatal(err)
		}
		if len(told) != 1 {
			t.Fatalf("%d calls, want one: the other client did not take part", len(told))
		}
		got := <-told
		if got["aud"] != "app-one" && len(got["aud"].([]any)) != 1 || got["sub"] != "alice" || got["iss"] != b.server.URL || got["jti"] == "" {
			t.Errorf("the logout token's claims are %v", got)
		}
		if named, _ := got["sid"].(string); named != by {
			t.Errorf("sid %q, want %q", named, by)
		}
		if got := b.answer(b.authorize("app-one", "prompt", "none")).Get("error"); got != "login_required" {
			t.Errorf("prompt=none after the logout: %q", got)
		}
	}
	b.session("app-one")
	status = http.StatusBadRequest
	if err := b.idp.LogOut(t.Context(), "alice", ""); err == nil {
		t.Error("a client's refusal was no error")
	}
}
