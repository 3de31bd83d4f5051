package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// appClient is what a browser app has: a client id, a key and, after a login,
// an ORT. It signs its proofs itself, so that the walkthrough does not lean on
// the code that it tries.
type appClient struct {
	id       string
	redirect string
	key      *ecdsa.PrivateKey
	nonce    string // the newest DPoP nonce that the gateway gave
	verifier string
	ort      string
}

func newAppClient(id, redirect string) (*appClient, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return &appClient{id: id, redirect: redirect, key: key}, nil
}

// newChallenge makes a PKCE verifier and returns its challenge (RFC 7636).
func (c *appClient) newChallenge() string {
	c.verifier = rand.Text() + rand.Text()
	return hashed(c.verifier)
}

// proof makes a DPoP proof (RFC 9449 section 4.2). ath is for requests that
// carry a token in their Authorization header.
func (c *appClient) proof(method, url, nonce, token string) string {
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if token != "" {
		claims["ath"] = hashed(token)
	}
	signed := encoded(map[string]any{
		"typ": "dpop+jwt", "alg": "ES256",
		"jwk": c.jwk(),
	}) + "." + encoded(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, c.key, digest[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64url(signature)
}

// jwk is the public key. Its members are marshalled in the order of their
// names, as the thumbprint wants them.
func (c *appClient) jwk() map[string]string {
	public, err := c.key.PublicKey.Bytes() // 4, then both coordinates
	if err != nil {
		panic(err) // the key was made here
	}
	return map[string]string{"crv": "P-256", "kty": "EC", "x": base64url(public[1:33]), "y": base64url(public[33:])}
}

// thumbprint is the name of the key (RFC 7638).
func (c *appClient) thumbprint() string {
	b, err := json.Marshal(c.jwk())
	if err != nil {
		panic(err)
	}
	return hashed(string(b))
}

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64url(sum[:])
}

func encoded(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return base64url(b)
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
