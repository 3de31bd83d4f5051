package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// proofKey makes DPoP proofs (RFC 9449 §4.2), by code that shares nothing with the gateway's verifier.
type proofKey struct {
	private *ecdsa.PrivateKey
	x, y    string
}

func newProofKey() *proofKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return &proofKey{private: private, x: b64(point[1:33]), y: b64(point[33:65])}
}

// thumbprint is the key's RFC 7638 thumbprint.
func (k *proofKey) thumbprint() string {
	return hash64(`{"crv":"P-256","kty":"EC","x":"` + k.x + `","y":"` + k.y + `"}`)
}

// proof makes a proof for one request. Empty nonce and accessToken are left out.
func (k *proofKey) proof(method, url, nonce, accessToken string) string {
	claims := map[string]any{"jti": random(16), "htm": method, "htu": url, "iat": time.Now().Unix()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if accessToken != "" {
		claims["ath"] = hash64(accessToken)
	}
	header := map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": map[string]string{"kty": "EC", "crv": "P-256", "x": k.x, "y": k.y}}
	signed := b64json(header) + "." + b64json(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + b64(signature)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func b64json(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b64(b)
}

func hash64(s string) string {
	h := sha256.Sum256([]byte(s))
	return b64(h[:])
}

// random returns n random bytes as text.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b64(b)
}
