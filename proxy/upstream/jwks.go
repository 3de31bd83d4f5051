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
	"slices"
	"strings"
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
	// ErrToken: there is no signature to check.
	ErrToken = errors.New("the token is not a signed JWT that can be read")
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

	mu      sync.Mutex
	sets    map[string]*keySet // by jwks_uri
	fetches sync.WaitGroup
}

// keySet is one issuer's. Its lock is never held over a fetch: a stranger's
// unknown key must not hold up tokens whose key is here.
type keySet struct {
	mu      sync.Mutex
	known   snapshot
	tried   time.Time     // when the last fetch ended
	running chan struct{} // closed when the fetch under way ends; nil: none is
}

// snapshot is what is known of a key set at one moment.
type snapshot struct {
	keys    []publicKey
	fetched time.Time // when keys are from; zero: there never were any
	failed  bool      // the last fetch brought nothing
}

type publicKey struct {
	id, alg string
	key     crypto.PublicKey
}

// Wait waits for the fetches under way, each bounded by its timeout.
func (k *Keys) Wait() { k.fetches.Wait() }

// Verify checks a token's signature by a provider's keys and reads its claims;
// no claim is checked. The error is ErrToken, ErrSignature or ErrKeysUnavailable:
// the latter too where no key that is known made the signature and newer ones
// cannot be fetched.
func (k *Keys) Verify(ctx context.Context, p *Provider, token string, into jwt.Claims) error {
	// Go's base64 passes over line breaks: one token would have many spellings.
	if strings.ContainsAny(token, "\r\n") {
		return ErrToken
	}
	t, parts, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(token, into)
	if err != nil {
		return ErrToken
	}
	// RFC 7515 section 4.1.11: we understand no extension.
	if _, critical := t.Header["crit"]; critical {
		return ErrToken
	}
	if !slices.Contains(signatures, t.Method.Alg()) { // before anything is fetched
		return ErrSignature
	}
	signed := parts[0] + "." + parts[1]
	known, err := k.of(ctx, p, false)
	if err != nil {
		return err
	}
	if signedBy(known.keys, t, signed) {
		return nil
	}
	fresh, err := k.of(ctx, p, true) // the issuer may have changed its keys
	switch {
	case err != nil:
		return err
	case !fresh.fetched.Equal(known.fetched) && signedBy(fresh.keys, t, signed):
		return nil
	case fresh.failed:
		return ErrKeysUnavailable
	}
	return ErrSignature
}

// signedBy says whether one of the keys that may sign such a token has.
func signedBy(keys []publicKey, t *jwt.Token, signed string) bool {
	kid, _ := t.Header["kid"].(string)
	for _, c := range keys {
		if kid != "" && c.id != "" && c.id != kid || !c.signs(t.Method.Alg()) || !fits(c.key, t.Method) {
			continue
		}
		if t.Method.Verify(signed, t.Signature, c.key) == nil {
			return true
		}
	}
	return false
}

// signs says whether a key is for an algorithm. EdDSA with such a key is what
// RFC 9864 calls Ed25519.
func (k *publicKey) signs(alg string) bool {
	return k.alg == "" || k.alg == alg || k.alg == "Ed25519" && alg == "EdDSA"
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

// of is what is known of a provider's keys. Where fresh ones are asked for they are
// fetched, but not more often than strangers' tokens may make us; one fetch serves
// all who wait.
func (k *Keys) of(ctx context.Context, p *Provider, fresh bool) (snapshot, error) {
	if p.JWKS == "" {
		return snapshot{}, fmt.Errorf("%w: its metadata have no jwks_uri", ErrKeysUnavailable)
	}
	set := k.set(p.JWKS)
	set.mu.Lock()
	now := k.Now()
	known := set.known
	none := known.fetched.IsZero()
	old := none || now.Sub(known.fetched) > keysLife
	if (old || fresh) && set.running == nil && (set.tried.IsZero() || now.Sub(set.tried) >= refetchWait) {
		set.running = make(chan struct{})
		// Whoever asked may hang up: the fetch is for the others too.
		k.fetches.Go(func() { k.refresh(context.WithoutCancel(ctx), p, set) })
	}
	running := set.running
	set.mu.Unlock()
	// Keys that are only old do not wait while the upstream is known to be down.
	if running != nil && (none || fresh || old && !known.failed) {
		select {
		case <-running:
		case <-ctx.Done():
			return snapshot{}, fmt.Errorf("%w: %w", ErrKeysUnavailable, ctx.Err())
		}
		set.mu.Lock()
		known = set.known
		set.mu.Unlock()
	}
	if known.fetched.IsZero() {
		return snapshot{}, ErrKeysUnavailable
	}
	return known, nil
}

// refresh fetches a key set; what was known stays where that brings nothing.
func (k *Keys) refresh(ctx context.Context, p *Provider, set *keySet) {
	keys, err := k.fetch(ctx, p.JWKS)
	if err != nil {
		k.Logger.LogAttrs(ctx, slog.LevelWarn, "fetching an issuer's keys", slog.String("issuer", p.Issuer), slog.Any("error", err))
	}
	set.mu.Lock()
	defer set.mu.Unlock()
	// When it ended, not when it began: a fetch may take longer than the wait.
	set.tried = k.Now()
	if set.known.failed = err != nil; err == nil {
		set.known.keys, set.known.fetched = keys, set.tried
	}
	close(set.running)
	set.running = nil
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
	for _, raw := range document.Keys {
		if key, ok := parseKey(raw); ok && len(keys) < maxKeys {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 { // a 200 of something else must not take the known ones away
		return nil, errors.New("the key set has no key that can be used")
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
		if n == nil || e == nil || n.BitLen() < 2048 || n.BitLen() > 8192 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || n.Bit(0) == 0 || e.Bit(0) == 0 {
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
