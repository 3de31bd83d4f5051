package upstream

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keyServer answers the fetches of a Keys, and counts them.
type keyServer struct {
	mu      sync.Mutex
	body    string
	fetches int
	hangs   bool
	last    *http.Request
}

func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.fetches, s.last = s.fetches+1, r
	body, hangs := s.body, s.hangs
	s.mu.Unlock()
	if hangs {
		<-r.Context().Done()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (s *keyServer) publish(keys ...map[string]any) {
	b, _ := json.Marshal(map[string]any{"keys": keys})
	s.say(string(b), false)
}

func (s *keyServer) say(body string, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body, s.hangs = body, hangs
}

func (s *keyServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

func (s *keyServer) keys() (*Keys, *Provider) {
	at, _ := url.Parse("http://127.0.0.1:1")
	return &Keys{Upstream: at, Client: s, Now: time.Now, Logger: slog.New(slog.DiscardHandler)},
		&Provider{Issuer: "https://id.example", JWKS: "https://id.example/jwks?v=1"}
}

func published(kid string, key crypto.PublicKey) map[string]any {
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := key.(type) {
	case *rsa.PublicKey:
		return map[string]any{"kid": kid, "kty": "RSA", "n": b64(k.N.Bytes()), "e": "AQAB"}
	case *ecdsa.PublicKey:
		point, _ := k.Bytes()
		size := (len(point) - 1) / 2
		return map[string]any{"kid": kid, "kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+size]), "y": b64(point[1+size:])}
	case ed25519.PublicKey:
		return map[string]any{"kid": kid, "kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	return nil
}

func with(key map[string]any, name string, value any) map[string]any {
	key[name] = value
	return key
}

func sign(t *testing.T, kid, alg string, key crypto.PrivateKey) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims{"iss": "https://id.example"})
	token.Header["kid"] = kid
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ecKeyPair() (*ecdsa.PrivateKey, map[string]any) {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return k, published("ec", &k.PublicKey)
}

func TestEveryKeyType(t *testing.T) {
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	edPublic, ed, _ := ed25519.GenerateKey(rand.Reader)
	for _, row := range []struct {
		name, alg string
		key       crypto.PrivateKey
		published map[string]any
		want      error
	}{
		{"RS256", "RS256", r, published("k", &r.PublicKey), nil},
		{"PS512", "PS512", r, published("k", &r.PublicKey), nil},
		{"ES256", "ES256", p256, published("k", &p256.PublicKey), nil},
		{"ES384", "ES384", p384, published("k", &p384.PublicKey), nil},
		{"ES512", "ES512", p521, published("k", &p521.PublicKey), nil},
		{"EdDSA", "EdDSA", ed, published("k", edPublic), nil},
		{"EdDSA by a key of RFC 9864's name", "EdDSA", ed, with(published("k", edPublic), "alg", "Ed25519"), nil},
		{"use sig", "RS256", r, with(published("k", &r.PublicKey), "use", "sig"), nil},
		{"a key without kid", "RS256", r, with(published("k", &r.PublicKey), "kid", ""), nil},
		{"alg of another family", "RS256", r, with(published("k", &r.PublicKey), "alg", "PS256"), ErrSignature},
		{"another kid", "RS256", r, published("other", &r.PublicKey), ErrSignature},
		{"use enc: no key at all", "RS256", r, with(published("k", &r.PublicKey), "use", "enc"), ErrKeysUnavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			var s keyServer
			s.publish(row.published, map[string]any{"kty": "AKP", "kid": "from the future"})
			keys, p := s.keys()
			if err := keys.Verify(t.Context(), p, sign(t, "k", row.alg, row.key), &logoutClaims{}); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func TestKeysAreFetchedUnderThePublicName(t *testing.T) {
	k, public := ecKeyPair()
	var s keyServer
	s.publish(public)
	keys, p := s.keys()
	if err := keys.Verify(t.Context(), p, sign(t, "ec", "ES256", k), &logoutClaims{}); err != nil {
		t.Fatal(err)
	}
	if got := s.last; got.Host != "id.example" || got.URL.String() != "http://127.0.0.1:1/jwks?v=1" || got.Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("fetched %s as %s, %v", got.URL, got.Host, got.Header)
	}
}

// An upstream that hangs: one fetch for all who wait, and their wait is one
// timeout, not one each.
func TestOneFetchForManyWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := ecKeyPair()
		token := sign(t, "ec", "ES256", k)
		s := keyServer{hangs: true}
		keys, p := s.keys()
		start := time.Now()
		var waiters sync.WaitGroup
		for range 20 {
			waiters.Go(func() {
				if err := keys.Verify(t.Context(), p, token, &logoutClaims{}); !errors.Is(err, ErrKeysUnavailable) {
					t.Errorf("got %v", err)
				}
			})
		}
		waiters.Wait()
		if s.count() != 1 || time.Since(start) != fetchTimeout {
			t.Errorf("%d fetches in %v", s.count(), time.Since(start))
		}
	})
}

// Who hangs up must not take the keys from the others: a stranger could do so
// once in each interval.
func TestACallerThatHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, public := ecKeyPair()
		token := sign(t, "ec", "ES256", k)
		var s keyServer
		s.publish(public)
		keys, p := s.keys()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		keys.Verify(gone, p, token, &logoutClaims{})
		keys.Wait()
		if err := keys.Verify(t.Context(), p, token, &logoutClaims{}); err != nil || s.count() != 1 {
			t.Errorf("got %v after %d fetches", err, s.count())
		}
	})
}

func TestAKnownKeyWaitsForNoStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, public := ecKeyPair()
		var s keyServer
		s.publish(public)
		keys, p := s.keys()
		token := sign(t, "ec", "ES256", k)
		if err := keys.Verify(t.Context(), p, token, &logoutClaims{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(refetchWait)
		s.say("", true)
		go keys.Verify(t.Context(), p, sign(t, "unknown", "ES256", k), &logoutClaims{})
		synctest.Wait()
		start := time.Now()
		if err := keys.Verify(t.Context(), p, token, &logoutClaims{}); err != nil || time.Since(start) != 0 {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		keys.Wait()
	})
}

// Without newer keys nobody can tell a changed key from a forged token.
func TestNewKeyWhileTheUpstreamIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, public := ecKeyPair()
		next, nextPublic := ecKeyPair()
		var s keyServer
		s.publish(public)
		keys, p := s.keys()
		check := func(step string, kid string, key crypto.PrivateKey, want error) {
			t.Helper()
			if err := keys.Verify(t.Context(), p, sign(t, kid, "ES256", key), &logoutClaims{}); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", step, err, want)
			}
		}
		check("up", "ec", old, nil)
		time.Sleep(time.Hour)
		s.say("", true)
		check("down, an old key", "ec", old, nil)
		start := time.Now()
		check("known to be down, an old key", "ec", old, nil)
		if time.Since(start) != 0 {
			t.Errorf("an old key waited %v for an upstream known to be down", time.Since(start))
		}
		check("down, a new key", "next", next, ErrKeysUnavailable)
		time.Sleep(refetchWait)
		nextPublic["kid"] = "next"
		s.publish(nextPublic)
		check("up again", "next", next, nil)
		check("the key that went", "ec", old, ErrSignature)
		keys.Wait()
	})
}

func TestAnEmptyKeySetTakesNothingAway(t *testing.T) {
	for _, body := range []string{`{"keys":[]}`, `{}`, `null`, `<html>`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`} {
		synctest.Test(t, func(t *testing.T) {
			k, public := ecKeyPair()
			token := sign(t, "ec", "ES256", k)
			var s keyServer
			s.publish(public)
			keys, p := s.keys()
			keys.Verify(t.Context(), p, token, &logoutClaims{})
			time.Sleep(time.Hour)
			s.say(body, false)
			if err := keys.Verify(t.Context(), p, token, &logoutClaims{}); err != nil {
				t.Errorf("%s: %v", body, err)
			}
		})
	}
}

func TestAFloodOfUnknownKeysFetchesOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, public := ecKeyPair()
		var s keyServer
		s.publish(public)
		keys, p := s.keys()
		token := sign(t, "unknown", "ES256", k)
		for range 10 {
			var flood sync.WaitGroup
			for range 50 {
				flood.Go(func() { keys.Verify(t.Context(), p, token, &logoutClaims{}) })
			}
			flood.Wait()
			time.Sleep(refetchWait)
		}
		if s.count() != 10 {
			t.Errorf("%d fetches in ten intervals", s.count())
		}
		before := s.count()
		mac := sign(t, "ec", "HS256", []byte("a secret that every client has"))
		if err := keys.Verify(t.Context(), p, mac, &logoutClaims{}); !errors.Is(err, ErrSignature) || s.count() != before {
			t.Errorf("HS256: %v, %d fetches", err, s.count()-before)
		}
	})
}

func TestLogoutTokenStrictness(t *testing.T) {
	s := newSigner(t)
	s.add("ec", "ES256", false)
	keys, providers := s.verifier()
	for _, row := range []struct {
		name  string
		token string
		want  error
	}{
		{"a line break behind the signature", s.token("ec", "ES256", nil, nil) + "\n", ErrLogoutForm},
		{"padding", s.token("ec", "ES256", nil, nil) + "==", ErrLogoutForm},
		{"crit", s.token("ec", "ES256", map[string]any{"crit": []string{"x"}, "x": 1}, nil), ErrLogoutForm},
		{"no aud", s.token("ec", "ES256", nil, map[string]any{"aud": nil}), ErrLogoutAudience},
		{"an empty aud", s.token("ec", "ES256", nil, map[string]any{"aud": []string{"spa", ""}}), ErrLogoutAudience},
		{"a list of aud", s.token("ec", "ES256", nil, map[string]any{"aud": []string{"spa", "spa2"}}), nil},
		{"SUB is not sub", s.token("ec", "ES256", nil, map[string]any{"sub": nil, "sid": nil, "SUB": "bob"}), ErrLogoutSubject},
		{"Events is not events", s.token("ec", "ES256", nil, map[string]any{"events": nil, "Events": map[string]any{logoutEvent: map[string]any{}}}), ErrLogoutEvents},
		{"events that is no object", s.token("ec", "ES256", nil, map[string]any{"events": "yes"}), ErrLogoutEvents},
		{"a null event", s.token("ec", "ES256", nil, map[string]any{"events": map[string]any{logoutEvent: json.RawMessage("null")}}), ErrLogoutEvents},
		{"a null nonce", s.token("ec", "ES256", nil, map[string]any{"nonce": json.RawMessage("null")}), ErrLogoutNonce},
		{"a token of long ago that never expires", s.token("ec", "ES256", nil, map[string]any{"iat": s.now.Add(-25 * time.Hour).Unix(), "exp": int64(1) << 39}), ErrLogoutTime},
	} {
		if _, err := VerifyLogoutToken(t.Context(), keys, providers, row.token); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
	got, err := VerifyLogoutToken(t.Context(), keys, providers, s.token("ec", "ES256", nil, map[string]any{"exp": int64(1) << 39}))
	if limit := s.now.Add(maxLogoutLife + logoutSkew); err != nil || got.Expires.After(limit) {
		t.Errorf("a jti is remembered until %v, %v", got.Expires, err)
	}
}
