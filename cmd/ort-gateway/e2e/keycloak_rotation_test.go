package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The realm "rotating" revokes a refresh token that is used twice, and its successor with it.
func keycloakRotation(t *testing.T, kc *keycloak) {
	st := kc.realmStack(t, "rotating", map[string]string{"ORT_ISSUER": "http://" + kc.public + "/realms/ort,http://" + kc.public + "/realms/rotating"})
	a := st.app("spa", nil)
	a.login(t)
	parallel(t, a, 50)
	a.works(t)
	calls := st.rec.tokenCalls()
	if len(calls) != 52 {
		t.Errorf("Keycloak saw %d token requests, want 52", len(calls))
	}
	for i, c := range calls[1:] {
		if c.status != http.StatusOK || c.form.Get("refresh_token") != calls[i].refreshToken {
			t.Errorf("refresh %d: status %d, or not with the newest refresh token", i+1, c.status)
		}
	}
	two := st.app("spa2", a.browser)
	two.login(t)
	parallel(t, two, 10)
	st.gateway.kill()
	st.startGateway()
	two.works(t)
	a.works(t)
	if got, err := two.revoke(); err != nil || got.status != http.StatusOK {
		t.Errorf("revocation: %v %v", got, err)
	}
	a.dead(t)
}

// An answer of Keycloak that is lost takes the rotated token with it: that grant ends, and no other.
func keycloakRotationLost(t *testing.T, kc *keycloak) {
	st := kc.realmStack(t, "rotating", nil)
	a := st.app("spa", nil)
	a.login(t)
	two := st.app("spa2", a.browser)
	two.login(t)
	st.rec.loseAnswers(1)
	a.unavailable(t)
	a.dead(t)
	two.works(t)
	a.login(t)
	a.works(t)
	two.works(t)
	if a.browser.forms != 1 {
		t.Errorf("%d login forms, want 1", a.browser.forms)
	}
}

// A client that leaves while its request is at Keycloak loses nothing: the rotated token is kept, the code is not sent again.
func keycloakClientLeft(t *testing.T, kc *keycloak) {
	st := kc.realmStack(t, "rotating", nil)
	a := st.app("spa", nil)
	a.login(t)
	leave := func(form url.Values) {
		t.Helper()
		h := st.rec.holdAnswer()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := a.tokenContext(ctx, form)
			done <- err
		}()
		select {
		case <-h.seen:
		case err := <-done:
			t.Fatalf("the request never reached Keycloak: %v", err)
		}
		cancel()
		if err := <-done; err == nil {
			t.Error("the client was to leave, but got an answer")
		}
		close(h.release)
	}
	for range 3 {
		leave(a.refreshForm(nil))
		a.works(t)
	}
	code, verifier := a.code(t, nil), a.lastVerifier
	st.secret(code)
	leave(a.codeForm(code, verifier))
	calls := len(st.rec.tokenCalls())
	a.refused(t, code, verifier)
	if now := len(st.rec.tokenCalls()); now != calls {
		t.Error("a code that was exchanged went up again")
	}
	a.works(t)
	for i, c := range st.rec.tokenCalls() {
		if c.status != http.StatusOK {
			t.Errorf("token request %d: Keycloak answered %d", i+1, c.status)
		}
	}
}

// The realms' clients name a back-channel logout URL without a host: Keycloak calls it at its public origin, which is
// the gateway's whatever port that has.
func keycloakBackChannel(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	a := st.app("spa", nil)
	sid := sessionID(t, a.login(t))
	if err := st.gateway.terminate(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", kc.public)
	if err != nil {
		t.Fatal(err)
	}
	calls := make(chan url.Values, 10)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		calls <- url.Values{"path": {r.URL.Path}, "logout_token": r.PostForm["logout_token"]}
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	kc.admin(t, http.MethodDelete, "ort/sessions/"+sid, nil, nil)
	select {
	case got := <-calls:
		if got.Get("path") != "/_ort/backchannel-logout" || got.Get("logout_token") == "" {
			t.Errorf("a back-channel call: %v", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("no back-channel call came")
	}
}

// sessionID returns the sid of an answer's ID token.
func sessionID(t *testing.T, got *answer) string {
	t.Helper()
	var claims struct {
		SessionID string `json:"sid"`
	}
	parts := strings.Split(got.IDToken, ".")
	if len(parts) != 3 {
		t.Fatalf("%s: no ID token", got.what)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil || claims.SessionID == "" {
		t.Fatalf("%s: the ID token has no sid: %v", got.what, err)
	}
	return claims.SessionID
}
