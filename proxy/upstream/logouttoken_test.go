package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signer is an issuer that publishes its keys.
type signer struct {
	t      testing.TB
	server *httptest.Server
	now    time.Time

	mu      sync.Mutex
	public  []map[string]any
	fetches int
	down    bool
	keys    map[string]any // by kid
}

func newSigner(t testing.TB) *signer {
	s := &signer{t: t, now: time.Unix(1_800_000_000, 0), keys: map[string]any{}}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fetches++
		if s.down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"keys": s.public})
	}))
	t.Cleanup(s.server.Close)
	return s
}

func encoded(n *big.Int, size int) string {
	return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, size)))
}

// add publishes a new key, and takes others back where only is set.
func (s *signer) add(kid, alg string, only bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	public := map[string]any{"kid": kid, "alg": alg, "use": "sig"}
	switch alg {
	case "RS256":
		k, _ := rsa.GenerateKey(rand.Reader, 2048)
		s.keys[kid] = k
		public["kty"], public["n"], public["e"] = "RSA", encoded(k.N, 256), "AQAB"
	case "ES256":
		k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		point, _ := k.PublicKey.Bytes()
		s.keys[kid] = k
		public["kty"], public["crv"] = "EC", "P-256"
		public["x"], public["y"] = base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	case "EdDSA":
		p, k, _ := ed25519.GenerateKey(rand.Reader)
		s.keys[kid] = k
		public["kty"], public["crv"], public["x"] = "OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(p)
	}
	if only {
		s.public = nil
	}
	s.public = append(s.public, public)
}

func (s *signer) verifier() (*Keys, []*Provider) {
	at, _ := url.Parse(s.server.URL)
	keys := &Keys{Upstream: at, Client: http.DefaultTransport, Now: func() time.Time { return s.now }, Logger: slog.New(slog.DiscardHandler)}
	return keys, []*Provider{{Issuer: "https://other.example", JWKS: "https://id.example/other"}, {Issuer: "https://id.example", JWKS: "https://id.example/jwks"}}
}

// token signs claims; a nil value takes a claim out.
func (s *signer) token(kid, alg string, header, change map[string]any) string {
	c := jwt.MapClaims{
		"iss": "https://id.example", "aud": "spa", "sub": "alice", "sid": "s1", "jti": "j1",
		"iat": s.now.Unix(), "exp": s.now.Add(2 * time.Minute).Unix(), "events": map[string]any{logoutEvent: map[string]any{}},
	}
	for k, v := range change {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), c)
	t.Header["kid"], t.Header["typ"] = kid, "logout+jwt"
	for k, v := range header {
		if v == nil {
			delete(t.Header, k)
		} else {
			t.Header[k] = v
		}
	}
	signed, err := t.SignedString(s.keys[kid])
	if err != nil {
		s.t.Fatal(err)
	}
	return signed
}

func TestVerifyLogoutToken(t *testing.T) {
	s := newSigner(t)
	s.add("rsa", "RS256", false)
	for _, row := range []struct {
		name   string
		header map[string]any
		claims map[string]any
		want   error
	}{
		{"as Keycloak sends it", nil, map[string]any{"typ": "Logout"}, nil},
		{"typ JWT", map[string]any{"typ": "JWT"}, nil, nil},
		{"no typ", map[string]any{"typ": nil}, nil, nil},
		{"typ of an access token", map[string]any{"typ": "at+jwt"}, nil, ErrLogoutType},
		{"typ of a proof", map[string]any{"typ": "dpop+jwt"}, nil, ErrLogoutType},
		{"another issuer", nil, map[string]any{"iss": "https://evil.example"}, ErrLogoutIssuer},
		{"no issuer", nil, map[string]any{"iss": nil}, ErrLogoutIssuer},
		{"no iat", nil, map[string]any{"iat": nil}, ErrLogoutTime},
		{"iat in the future", nil, map[string]any{"iat": s.now.Add(2 * time.Minute).Unix()}, ErrLogoutTime},
		{"expired", nil, map[string]any{"exp": s.now.Add(-2 * time.Minute).Unix()}, ErrLogoutTime},
		{"no exp: an older provider", nil, map[string]any{"exp": nil}, nil},
		{"no exp and old", nil, map[string]any{"exp": nil, "iat": s.now.Add(-15 * time.Minute).Unix()}, ErrLogoutTime},
		{"no jti", nil, map[string]any{"jti": nil}, ErrLogoutID},
		{"a long jti", nil, map[string]any{"jti": strings.Repeat("j", 2000)}, ErrLogoutID},
		{"no events", nil, map[string]any{"events": nil}, ErrLogoutEvents},
		{"another event", nil, map[string]any{"events": map[string]any{"http://other": map[string]any{}}}, ErrLogoutEvents},
		{"an event that is no object", nil, map[string]any{"events": map[string]any{logoutEvent: "yes"}}, ErrLogoutEvents},
		{"a nonce: an ID token in disguise", nil, map[string]any{"nonce": "n"}, ErrLogoutNonce},
		{"sid alone", nil, map[string]any{"sub": nil}, nil},
		{"sub alone", nil, map[string]any{"sid": nil}, nil},
		{"neither", nil, map[string]any{"sid": nil, "sub": nil}, ErrLogoutSubject},
	} {
		t.Run(row.name, func(t *testing.T) {
			keys, providers := s.verifier()
			got, err := VerifyLogoutToken(context.Background(), keys, providers, s.token("rsa", "RS256", row.header, row.claims))
			if !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			if err == nil && (got.Issuer != "https://id.example" || got.ID != "j1" || got.Audiences[0] != "spa" || got.IssuedAt.Unix() != s.now.Unix()) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestLogoutTokenSignatures(t *testing.T) {
	s := newSigner(t)
	for kid, alg := range map[string]string{"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"} {
		s.add(kid, alg, false)
	}
	keys, providers := s.verifier()
	verify := func(token string) error {
		_, err := VerifyLogoutToken(context.Background(), keys, providers, token)
		return err
	}
	for kid, alg := range map[string]string{"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"} {
		good := s.token(kid, alg, nil, nil)
		if err := verify(good); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if err := verify(s.token(kid, alg, map[string]any{"kid": nil}, nil)); err != nil {
			t.Errorf("%s without kid: %v", alg, err)
		}
		if err := verify(good[:len(good)-6] + "AAAAAA"); !errors.Is(err, ErrSignature) {
			t.Errorf("%s with another signature: %v", alg, err)
		}
	}
	s.keys["mac"] = []byte("a secret that every client has")
	if err := verify(s.token("mac", "HS256", nil, nil)); !errors.Is(err, ErrSignature) {
		t.Errorf("HS256: %v", err)
	}
	none, _ := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": "https://id.example"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err := verify(none); err == nil {
		t.Error("alg none passed")
	}
	for _, garbage := range []string{"", "a", "a.b.c", strings.Repeat("x", 20_000)} {
		if err := verify(garbage); !errors.Is(err, ErrLogoutForm) {
			t.Errorf("%.20q: %v", garbage, err)
		}
	}
}

func TestKeysFollowAChangeAndStandFloods(t *testing.T) {
	s := newSigner(t)
	s.add("old", "ES256", false)
	keys, providers := s.verifier()
	verify := func(token string) error {
		_, err := VerifyLogoutToken(context.Background(), keys, providers, token)
		return err
	}
	if err := verify(s.token("old", "ES256", nil, nil)); err != nil {
		t.Fatal(err)
	}
	s.add("new", "ES256", true)
	s.now = s.now.Add(refetchWait)
	if err := verify(s.token("new", "ES256", nil, nil)); err != nil {
		t.Error("after a key change:", err)
	}
	fetches := s.fetches
	for range 50 { // a stranger's keys
		if err := verify(s.token("old", "ES256", nil, nil)); !errors.Is(err, ErrSignature) {
			t.Error(err)
		}
	}
	if s.fetches > fetches+1 {
		t.Errorf("%d fetches for a flood", s.fetches-fetches)
	}
	s.now = s.now.Add(time.Hour)
	s.down = true
	if err := verify(s.token("new", "ES256", nil, nil)); err != nil {
		t.Error("keys are kept while the upstream is down:", err)
	}
	fresh, _ := s.verifier()
	if _, err := VerifyLogoutToken(context.Background(), fresh, providers, s.token("new", "ES256", nil, nil)); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("no keys at all: %v", err)
	}
}

func TestVerifyHint(t *testing.T) {
	s := newSigner(t)
	s.add("rsa", "RS256", false)
	keys, providers := s.verifier()
	old := map[string]any{"exp": s.now.Add(-24 * time.Hour).Unix(), "events": nil}
	got, err := VerifyHint(context.Background(), keys, providers, s.token("rsa", "RS256", nil, old))
	if err != nil || got.Subject != "alice" || got.SID != "s1" {
		t.Errorf("an old ID token: %+v %v", got, err)
	}
	if _, err := VerifyHint(context.Background(), keys, providers, s.token("rsa", "RS256", nil, map[string]any{"iss": "https://evil.example"})); !errors.Is(err, ErrIssuer) {
		t.Errorf("another issuer: %v", err)
	}
	forged := newSigner(t)
	forged.add("rsa", "RS256", false)
	if _, err := VerifyHint(context.Background(), keys, providers, forged.token("rsa", "RS256", nil, old)); !errors.Is(err, ErrSignature) {
		t.Errorf("a forged one: %v", err)
	}
}

func TestParseKeyPassesOver(t *testing.T) {
	for name, raw := range map[string]string{
		"encryption": `{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"}`, "a short modulus": `{"kty":"RSA","n":"AQAB","e":"AQAB"}`,
		"a secret": `{"kty":"oct","k":"AAAA"}`, "off the curve": `{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}`,
		"an unknown curve": `{"kty":"EC","crv":"secp256k1","x":"AQ","y":"AQ"}`, "no object": `[]`, "a short point": `{"kty":"OKP","crv":"Ed25519","x":"AQ"}`,
	} {
		if _, ok := parseKey([]byte(raw)); ok {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzLogoutToken(f *testing.F) {
	s := newSigner(f)
	s.add("ec", "ES256", false)
	good := s.token("ec", "ES256", nil, nil)
	f.Add(good)
	f.Add("e30.e30.")
	keys, providers := s.verifier()
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := VerifyLogoutToken(context.Background(), keys, providers, token); err == nil && token != good {
			t.Errorf("taken: %q", token)
		}
	})
}
