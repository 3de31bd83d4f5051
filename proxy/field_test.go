package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// Faults that users of other gateways and identity providers met.

// A silent request that needs a login says nothing of the session.
func TestLoginRequiredEndsNothing(t *testing.T) {
	r, _, b, a := logoutRig(t)
	well := r.answer
	r.says(302, "", "Location", redirect+"?error=login_required&state=x")
	if got := b.asks("prompt", "none"); got != "login_required" {
		t.Fatalf("a silent request: %s", got)
	}
	r.does(well)
	r.is("the app", a.exchange(), 200)
	if got := b.asks("prompt", "none"); got != "code" {
		t.Errorf("single sign-on afterwards: %s", got)
	}
}

// An app whose key is gone (a browser that clears its storage, or has none) comes
// by a new one into the same session, without a password.
func TestLostKeyNeedsNoPassword(t *testing.T) {
	r, _, b, a := logoutRig(t) // nobody is there to type one
	again := b.opens("spa")
	if again.key.Thumbprint() == a.key.Thumbprint() {
		t.Fatal("the same key")
	}
	r.is("by the new key", again.exchange(), 200)
	r.is("revocation", r.do(http.MethodPost, "/revoke", url.Values{"token": {again.ort}, "client_id": {"spa"}}.Encode()), 200)
	a.dead("the former one, which is of the same session", "the session ended by revocation")
}

// What an ID token says is taken at the code exchange; providers that change sid
// at a refresh move no session.
func TestIDTokenOfARefreshMovesNothing(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	other, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": public, "aud": "spa", "sub": "mallory", "sid": "s2", "auth_time": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte("unread"))
	for _, token := range []string{other, "no token at all", ""} {
		r.says(200, `{"access_token":"AT","id_token":"`+token+`"}`, "Content-Type", "application/json")
		r.is("exchange", a.exchange(), 200, `"id_token":"`+token+`"`)
	}
	logout := func(sid string) {
		t.Helper()
		err := r.Engine.LoggedOut(t.Context(), ortengine.LogoutToken{Issuer: public, Place: public + "/authorize", Audiences: []string{"spa"},
			SID: sid, ID: "jti-" + sid, IssuedAt: time.Now().Add(time.Second), Expires: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
	}
	logout("s2")
	r.is("after the logout of the other sid", a.exchange(), 200)
	logout("s1")
	a.dead("after the logout of the login's", "the user logged out")
}

// A refusal touches no cookie: a loser of a race must not sign the others out.
func TestRefusalsSetNoCookie(t *testing.T) {
	r, _, b, a := logoutRig(t)
	form := a.refreshForm().Encode()
	cookies := "__Host-ort=" + b.cookies["__Host-ort"]
	r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode(), "Cookie", cookies)
	for name, resp := range map[string]*http.Response{
		"no proof":    r.do(http.MethodPost, "/token", form, "Cookie", cookies),
		"an end":      r.do(http.MethodPost, "/token", form, "Cookie", cookies, "DPoP", a.proof("/token")),
		"no ORT":      r.do(http.MethodPost, "/token", "grant_type=refresh_token&client_id=spa&refresh_token=ORT1.x", "Cookie", cookies),
		"a lost code": r.do(http.MethodPost, "/token", a.codeForm("unknown").Encode(), "Cookie", cookies, "DPoP", a.proof("/token")),
		"the status":  r.do(http.MethodGet, "/_ort/session", "", "Cookie", cookies, "Authorization", "DPoP "+a.ort),
	} {
		if resp.StatusCode < 400 || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d, Set-Cookie %q", name, resp.StatusCode, resp.Header.Get("Set-Cookie"))
		}
	}
}

// Token calls do not open a connection each.
func TestTokenCallsShareConnections(t *testing.T) {
	var opened atomic.Int64
	const together, rounds = 20, 10
	r := newRig(t, func(_ *rig, c *Config, _ *ortengine.Config) {
		pooled := c.Transport.(*http.Transport)
		dial := pooled.DialContext
		pooled.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			opened.Add(1)
			return dial(ctx, network, address)
		}
	})
	for range rounds {
		var calls sync.WaitGroup
		for range together {
			calls.Go(func() {
				resp := r.do(http.MethodPost, "/token", "grant_type=client_credentials&client_id=web")
				if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || !strings.Contains(string(body), "AT") {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			})
		}
		calls.Wait()
	}
	// A pool of two idle connections for a host, Go's own, opens about 180.
	if n := opened.Load(); n > together*rounds/2 {
		t.Errorf("%d calls opened %d connections", together*rounds, n)
	}
}
