// Package dpoptest makes DPoP keys and proofs (RFC 9449), good ones and ones
// with any fault, for tests and demonstrations. It shares no code with package
// dpop, so each checks the other. It is not for use in products: it panics
// where it cannot do what it is told.
package dpoptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
)

var b64 = base64.RawURLEncoding

// Key is a client's key pair.
type Key struct {
	alg    string
	signer crypto.Signer
	public map[string]string // the members that RFC 7638 hashes
}

// NewKey makes a key for one of ES256, ES384, ES512, EdDSA, Ed25519, PS256 and
// RS256. RSA keys have 2048 bits and take a moment.
func NewKey(alg string) *Key {
	var signer crypto.Signer
	var err error
	switch alg {
	case "ES256":
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case "PS256", "RS256":
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		panic("dpoptest: unknown algorithm " + alg)
	}
	if err != nil {
		panic(err)
	}
	return KeyOf(alg, signer)
}

// KeyOf makes a Key of an *ecdsa.PrivateKey, *rsa.PrivateKey or
// ed25519.PrivateKey. Nothing checks that alg fits it.
func KeyOf(alg string, signer crypto.Signer) *Key {
	k := &Key{alg: alg, signer: signer}
	switch pub := signer.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		k.public = map[string]string{
			"kty": "EC", "crv": pub.Curve.Params().Name,
			"x": b64.EncodeToString(point[1 : 1+half]), "y": b64.EncodeToString(point[1+half:]),
		}
	case ed25519.PublicKey:
		k.public = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": b64.EncodeToString(pub)}
	case *rsa.PublicKey:
		k.public = map[string]string{
			"kty": "RSA", "n": b64.EncodeToString(pub.N.Bytes()),
			"e": b64.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
		}
	default:
		panic(fmt.Sprintf("dpoptest: unknown key %T", signer))
	}
	return k
}

// Alg returns the algorithm the key signs with.
func (k *Key) Alg() string { return k.alg }

// Thumbprint returns the key's RFC 7638 thumbprint: jkt, dpop_jkt.
func (k *Key) Thumbprint() string {
	sum := sha256.Sum256(mustJSON(k.public)) // encoding/json sorts the names
	return b64.EncodeToString(sum[:])
}

// JWK returns the public key as a JSON Web Key. The map is the caller's.
func (k *Key) JWK() map[string]any {
	m := make(map[string]any, len(k.public))
	for name, value := range k.public {
		m[name] = value
	}
	return m
}

// sign returns the JWS signature of data.
func (k *Key) sign(data string) []byte {
	switch key := k.signer.(type) {
	case *ecdsa.PrivateKey:
		digest := hashFor(k.alg, data)
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			panic(err)
		}
		size := (key.Params().BitSize + 7) / 8
		sig := make([]byte, 2*size)
		r.FillBytes(sig[:size])
		s.FillBytes(sig[size:])
		return sig
	case ed25519.PrivateKey:
		return ed25519.Sign(key, []byte(data))
	case *rsa.PrivateKey:
		digest := sha256.Sum256([]byte(data))
		var sig []byte
		var err error
		if k.alg == "PS256" {
			sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		}
		if err != nil {
			panic(err)
		}
		return sig
	}
	panic("dpoptest: unknown key")
}

func hashFor(alg, data string) []byte {
	h := crypto.SHA256
	switch alg {
	case "ES384":
		h = crypto.SHA384
	case "ES512":
		h = crypto.SHA512
	}
	w := h.New()
	w.Write([]byte(data))
	return w.Sum(nil)
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
