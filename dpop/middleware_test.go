package dpop

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

const apiURL = "https://api.example/orders/7"

// resolve knows three tokens.
func resolve(_ *http.Request, token string) (string, error) {
	switch token {
	case "bound":
		return testKey.Thumbprint(), nil
	case "unbound":
		return "", nil
	case "unknown-yet":
		return "", fmt.Errorf("asking for keys: %w", ErrUnavailable)
	}
	return "", errors.New("no such token")
}

func TestMiddleware(t *testing.T) {
	bound := []string{"DPoP bound"}
	ath := dpoptest.AccessToken("bound")
	for _, tt := range []struct {
		name          string
		authorization []string
		key           *dpoptest.Key
		opts          []dpoptest.Option
		noProof       bool
		unbound       bool // AllowUnbound
		replay        ReplayCache
		status        int
		challenge     string // beginning of the first one
	}{
		{name: "good", authorization: bound, opts: with(ath), status: 200},
		{name: "scheme in lower case", authorization: []string{"dpop  bound"}, opts: with(ath), status: 200},
		{name: "nothing", noProof: true, status: 401, challenge: `DPoP algs="`},
		{name: "Basic", authorization: []string{"Basic YTpi"}, status: 401, challenge: `DPoP algs="`},
		{name: "two fields", authorization: []string{"DPoP bound", "DPoP bound"}, opts: with(ath), status: 401, challenge: `DPoP error="invalid_token"`},
		{name: "no token", authorization: []string{"DPoP "}, opts: with(ath), status: 401, challenge: `DPoP error="invalid_token"`},
		{name: "two tokens", authorization: []string{"DPoP bound bound"}, opts: with(ath), status: 401, challenge: `DPoP error="invalid_token"`},
		{name: "bad token", authorization: []string{"DPoP other"}, opts: with(ath), status: 401, challenge: `DPoP error="invalid_token", error_description="access token is not valid"`},
		{name: "token not checked", authorization: []string{"DPoP unknown-yet"}, opts: with(ath), status: 503},
		{name: "unbound token", authorization: []string{"DPoP unbound"}, opts: with(dpoptest.AccessToken("unbound")), status: 401, challenge: `DPoP error="invalid_token"`},
		{name: "downgrade", authorization: []string{"Bearer bound"}, opts: with(ath), status: 401, challenge: `DPoP error="invalid_token"`},
		{name: "downgrade where unbound may pass", authorization: []string{"Bearer bound"}, noProof: true, unbound: true, status: 401, challenge: `DPoP error="invalid_token"`},
		{name: "unbound as Bearer", authorization: []string{"Bearer unbound"}, noProof: true, status: 401, challenge: `DPoP error="invalid_token"`},
		{name: "unbound as Bearer, allowed", authorization: []string{"Bearer unbound"}, noProof: true, unbound: true, status: 200},
		{name: "no proof", authorization: bound, noProof: true, status: 401, challenge: `DPoP error="invalid_dpop_proof"`},
		{name: "no ath", authorization: bound, status: 401, challenge: `DPoP error="invalid_dpop_proof"`},
		{name: "no nonce", authorization: bound, opts: with(ath, dpoptest.Nonce("")), status: 401, challenge: `DPoP error="use_dpop_nonce"`},
		{name: "other key", authorization: bound, key: otherKey, opts: with(ath), status: 401, challenge: `DPoP error="invalid_dpop_proof"`},
		{name: "other URL", authorization: bound, opts: with(ath, dpoptest.Claim("htu", "https://evil.example/orders/7")), status: 401, challenge: `DPoP error="invalid_dpop_proof"`},
		{name: "repeated", authorization: bound, opts: with(ath), replay: answers(Repeated), status: 401, challenge: `DPoP error="use_dpop_nonce"`},
		{name: "memory full", authorization: bound, opts: with(ath), replay: failing{ErrFull}, status: 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := newVerifier(t, func(c *Config) {
				c.Nonces = NewNonces(NoncesConfig{})
				if tt.replay != nil {
					c.Replay = tt.replay
				}
			})
			var refused error
			protect, err := Middleware(MiddlewareConfig{
				Verifier: v, Resolve: resolve, URL: PublicURL("https://api.example/"), AllowUnbound: tt.unbound,
				Refused: func(_ *http.Request, err error) { refused = err },
			})
			if err != nil {
				t.Fatal(err)
			}
			var proof *Proof
			called := false
			handler := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				called = true
				proof, _ = FromContext(r.Context())
			}))
			// The Host header is whatever the sender likes.
			r := httptest.NewRequest("GET", "http://evil.example/orders/7?page=2", nil)
			for _, a := range tt.authorization {
				r.Header.Add("Authorization", a)
			}
			if tt.key == nil {
				tt.key = testKey
			}
			if !tt.noProof {
				r.Header.Set("DPoP", tt.key.Proof("GET", apiURL, append(with(dpoptest.Nonce(v.Nonce())), tt.opts...)...))
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)

			if (refused == nil) != (tt.status == 200) || refused != nil && refused.Error() == "" {
				t.Errorf("Refused was told of %v", refused)
			}
			if w.Code != tt.status || called != (tt.status == 200) {
				t.Errorf("got %d, handler called: %v; want %d", w.Code, called, tt.status)
			}
			if got := w.Header().Get("WWW-Authenticate"); !strings.HasPrefix(got, tt.challenge) || (got == "") != (tt.challenge == "") {
				t.Errorf("got challenge %s, want %s…", got, tt.challenge)
			} else if got != "" && !strings.HasSuffix(got, `algs="ES256 ES384 ES512 EdDSA Ed25519 PS256 RS256"`) {
				t.Errorf("challenge without algorithms: %s", got)
			}
			if got := w.Header().Values("DPoP-Nonce"); len(got) != 1 || got[0] != v.Nonce() {
				t.Errorf("got DPoP-Nonce %q, want one fresh", got)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("got Cache-Control %q", got)
			}
			if tt.status == 200 && !tt.noProof && (proof == nil || proof.Thumbprint != testKey.Thumbprint()) {
				t.Errorf("handler got proof %+v", proof)
			}
		})
	}
}

func TestMiddlewareChecksItsConfig(t *testing.T) {
	v, url := newVerifier(t, nil), PublicURL("https://api.example")
	for want, c := range map[string]MiddlewareConfig{
		"Verifier": {Resolve: resolve, URL: url},
		"Resolve":  {Verifier: v, URL: url},
		"URL":      {Verifier: v, Resolve: resolve},
	} {
		if _, err := Middleware(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
}
