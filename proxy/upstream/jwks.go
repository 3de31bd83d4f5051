package upstream

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Errors of [Keys].
var (
	// ErrKeysUnavailable: the issuer's keys cannot be fetched now, so nobody can
	// tell.
	ErrKeysUnavailable = errors.New("the issuer's keys cannot be fetched")
	// ErrSignature: no key of the issuer made the signature.
	ErrSignature = errors.New("the signature is by no key of the issuer")
)

// signatures are the algorithms that an issuer's tokens may be signed with (RFC
// 7518 section 3.1, RFC 8037): never none, and never a secret that clients know.
var signatures = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

const (
	keysLife    = 10 * time.Minute // after that they are fetched again when next used
	refetchWait = 5 * time.Second  // between fetches that unknown keys ask for
	maxKeys     = 64
)

// Keys are the public keys that issuers sign with, fetched through the upstream's
// address when they are needed and kept while it is down. It is safe for
// concurrent use.
type Keys struct {
	Upstream *url.URL
	Client   http.RoundTripper
	Now      func() time.Time
	Logger   *slog.Logger

	mu   sync.Mutex
	sets map[string]*keySet // by jwks_uri
}

// keySet is one issuer's; its lock is held while it is fetched, so that one fetch
// serves all who wait.
type keySet struct {
	mu      sync.Mutex
	keys    []publicKey
	fetched time.Time // when keys are from
	tried   time.Time
}

type publicKey struct {
	id, alg string
	key     crypto.PublicKey
}

// Verify checks a token's signature by a provider's keys and reads its claims;
// no claim is checked. The error is ErrKeysUnavailable, or says what is wrong
// with the token.
func (k *Keys) Verify(ctx context.Context, p *Provider, token string, into jwt.Claims) error {
	parser := jwt.NewParser(jwt.WithValidMethods(signatures), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	for _, fresh := range []bool{false, true} {
		keys, err := k.of(ctx, p, fresh)
		if err != nil {
			return err
		}
		_, err = parser.ParseWithClaims(token, into, func(t *jwt.Token) (any, error) { return candidates(keys, t) })
		switch {
		case err == nil:
			return nil
		case errors.Is(err, jwt.ErrTokenMalformed):
			return jwt.ErrTokenMalformed
		case errors.Is(err, jwt.ErrTokenSignatureInvalid) && !fresh, errors.Is(err, jwt.ErrTokenUnverifiable) && !fresh:
			continue // the issuer may have changed its keys
		}
	}
	return ErrSignature
}

// candidates are the keys that may have signed a token.
func candidates(keys []publicKey, t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, c := range keys {
		if kid != "" && c.id != "" && c.id != kid || c.alg != "" && c.alg != t.Method.Alg() || !fits(c.key, t.Method) {
			continue
		}
		set.Keys = append(set.Keys, c.key)
	}
	if len(set.Keys) == 0 {
		return nil, ErrSignature
	}
	return set, nil
}

func fits(key crypto.PublicKey, m jwt.SigningMethod) bool {
	switch m := m.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		_, ok := key.(*rsa.PublicKey)
		return ok
	case *jwt.SigningMethodECDSA:
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k.Params().BitSize == m.CurveBits
	case *jwt.SigningMethodEd25519:
		_, ok := key.(ed25519.PublicKey)
		return ok
	}
	return false
}

// of are a provider's keys. Fresh ones are fetched, but not more often than
// strangers' tokens may make us.
func (k *Keys) of(ctx context.Context, p *Provider, fresh bool) ([]publicKey, error) {
	if p.JWKS == "" {
		return nil, fmt.Errorf("%w: its metadata have no jwks_uri", ErrKeysUnavailable)
	}
	set := k.set(p.JWKS)
	set.mu.Lock()
	defer set.mu.Unlock()
	now := k.Now()
	old := set.fetched.IsZero() || now.Sub(set.fetched) > keysLife
	if (old || fresh) && now.Sub(set.tried) >= refetchWait {
		set.tried = now
		keys, err := k.fetch(ctx, p.JWKS)
		if err == nil {
			set.keys, set.fetched = keys, now
		} else {
			k.Logger.LogAttrs(ctx, slog.LevelWarn, "fetching an issuer's keys", slog.String("issuer", p.Issuer), slog.Any("error", err))
		}
	}
	if set.fetched.IsZero() {
		return nil, ErrKeysUnavailable
	}
	return set.keys, nil
}

func (k *Keys) set(uri string) *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sets == nil {
		k.sets = map[string]*keySet{}
	}
	if k.sets[uri] == nil {
		k.sets[uri] = &keySet{}
	}
	return k.sets[uri]
}

func (k *Keys) fetch(ctx context.Context, uri string) ([]publicKey, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	body, err := get(ctx, k.Client, k.Upstream, u, u.EscapedPath()+query(u))
	if err != nil {
		return nil, err
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body.Body, &document); err != nil {
		return nil, fmt.Errorf("the key set is not JSON: %w", err)
	}
	var keys []publicKey
	for _, raw := range document.Keys[:min(len(document.Keys), maxKeys)] {
		if key, ok := parseKey(raw); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func query(u *url.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	return "?" + u.RawQuery
}

// jwk are the members of a public key that matter (RFC 7517, RFC 7518 section 6).
type jwk struct {
	Type  string `json:"kty"`
	Use   string `json:"use"`
	ID    string `json:"kid"`
	Alg   string `json:"alg"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
	N     string `json:"n"`
	E     string `json:"e"`
}

// parseKey reads one key; what is no signing key of a known kind is passed over.
func parseKey(raw []byte) (publicKey, bool) {
	var j jwk
	if json.Unmarshal(raw, &j) != nil || j.Use != "" && j.Use != "sig" {
		return publicKey{}, false
	}
	out := publicKey{id: j.ID, alg: j.Alg}
	switch j.Type {
	case "RSA":
		n, e := number(j.N), number(j.E)
		if n == nil || e == nil || n.BitLen() < 2048 || n.BitLen() > 8192 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
			return publicKey{}, false
		}
		out.key = &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		key, ok := ecKey(&j)
		if !ok {
			return publicKey{}, false
		}
		out.key = key
	case "OKP":
		x, err := base64.RawURLEncoding.DecodeString(j.X)
		if j.Curve != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			return publicKey{}, false
		}
		out.key = ed25519.PublicKey(x)
	default:
		return publicKey{}, false
	}
	return out, true
}

func ecKey(j *jwk) (*ecdsa.PublicKey, bool) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Curve]
	x, y := number(j.X), number(j.Y)
	if curve == nil || x == nil || y == nil {
		return nil, false
	}
	size := (curve.Params().BitSize + 7) / 8
	if x.BitLen() > 8*size || y.BitLen() > 8*size {
		return nil, false
	}
	point := append(x.FillBytes(make([]byte, size)), y.FillBytes(make([]byte, size))...)
	key, err := ecdsa.ParseUncompressedPublicKey(curve, append([]byte{4}, point...))
	return key, err == nil
}

func number(s string) *big.Int {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 || len(b) > 1024 {
		return nil
	}
	return new(big.Int).SetBytes(b)
}
