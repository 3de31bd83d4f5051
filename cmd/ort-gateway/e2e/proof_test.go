package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

// proofKey is an app's DPoP key.
type proofKey struct{ *dpoptest.Key }

func newProofKey() *proofKey { return &proofKey{dpoptest.NewKey("ES256")} }

// proof makes a proof for one request. Empty nonce and accessToken are left out.
func (k *proofKey) proof(method, url, nonce, accessToken string) string {
	options := []dpoptest.Option{dpoptest.Nonce(nonce)}
	if accessToken != "" {
		options = append(options, dpoptest.AccessToken(accessToken))
	}
	return k.Proof(method, url, options...)
}

func hash64(s string) string {
	h := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// random returns n random bytes as text.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
