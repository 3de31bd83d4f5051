package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/golang-jwt/jwt/v5"
)

// Bounds of RSA keys. The key is the client's choice: without an upper bound
// one request would cost as much work as the client likes.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// b64 is base64url as RFC 7515 §2 has it. Strict refuses spellings that decode
// to the same bytes; line breaks, which encoding/base64 skips, are refused by
// isBase64URL.
var b64 = base64.RawURLEncoding.Strict()

// algorithm is one JWS algorithm and the keys that fit it.
type algorithm struct {
	name   string
	method jwt.SigningMethod
	kty    string
	crv    string
	curve  elliptic.Curve // EC only
	size   int            // octets of a coordinate
}

// algorithms are all that can be allowed: signatures with a key pair. "none"
// and the HMAC family are not here and so cannot be configured either.
var algorithms = []algorithm{
	{name: "ES256", method: jwt.SigningMethodES256, kty: "EC", crv: "P-256", curve: elliptic.P256(), size: 32},
	{name: "ES384", method: jwt.SigningMethodES384, kty: "EC", crv: "P-384", curve: elliptic.P384(), size: 48},
	{name: "ES512", method: jwt.SigningMethodES512, kty: "EC", crv: "P-521", curve: elliptic.P521(), size: 66},
	{name: "EdDSA", method: jwt.SigningMethodEdDSA, kty: "OKP", crv: "Ed25519", size: ed25519.PublicKeySize},
	{name: "Ed25519", method: jwt.SigningMethodEdDSA, kty: "OKP", crv: "Ed25519", size: ed25519.PublicKeySize}, // RFC 9864
	{name: "PS256", method: strictPS256, kty: "RSA"},
	{name: "RS256", method: jwt.SigningMethodRS256, kty: "RSA"},
}

// strictPS256 asks for the salt length of RFC 7518 §3.5; the library's own
// takes any.
var strictPS256 = &jwt.SigningMethodRSAPSS{
	SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
	Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256},
}

func findAlgorithm(name string) *algorithm {
	for i := range algorithms {
		if algorithms[i].name == name {
			return &algorithms[i]
		}
	}
	return nil
}

// jwk holds the members of a JSON Web Key that make the key, as they stood.
type jwk struct {
	kty, crv, x, y, n, e string
	private              bool
}

// parse reads raw, which must be one JSON object. It returns false for
// anything else and for members given twice or of the wrong type.
func (k *jwk) parse(raw []byte) bool {
	var m members
	if !m.walk(raw) {
		return false
	}
	for {
		name, value, ok := m.next()
		if !ok {
			return !m.bad
		}
		var into *string
		switch string(name) {
		case "kty":
			into = &k.kty
		case "crv":
			into = &k.crv
		case "x":
			into = &k.x
		case "y":
			into = &k.y
		case "n":
			into = &k.n
		case "e":
			into = &k.e
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv":
			// RFC 7518 §6.2.2, §6.3.2, §6.4, RFC 8037 §2, and the "priv" of the AKP
			// keys: whatever kty says, nobody shows a secret to a stranger.
			k.private = true
			continue
		default:
			continue
		}
		if *into, ok = text(value); !ok {
			return false
		}
	}
}

// public returns the key for alg's SigningMethod.Verify, or nil where its
// values are no good key. The caller has compared kty and crv.
func (k *jwk) public(alg *algorithm) crypto.PublicKey {
	switch alg.kty {
	case "EC":
		// RFC 7518 §6.2.1.2: coordinates have the curve's full length.
		point := make([]byte, 1+2*alg.size)
		point[0] = 4
		if !decodeExactly(point[1:1+alg.size], k.x) || !decodeExactly(point[1+alg.size:], k.y) {
			return nil
		}
		// Off the curve, and at infinity, there is no key.
		if key, err := ecdsa.ParseUncompressedPublicKey(alg.curve, point); err == nil {
			return key
		}
	case "OKP":
		point := make([]byte, alg.size)
		if decodeExactly(point, k.x) {
			return ed25519.PublicKey(point)
		}
	case "RSA":
		if key := k.rsa(); key != nil {
			return key
		}
	}
	return nil
}

func (k *jwk) rsa() *rsa.PublicKey {
	// More bits than maxRSABits are longer than that in text, too: they are not decoded.
	if !isBase64URL(k.n) || !isBase64URL(k.e) || len(k.n) > b64.EncodedLen(maxRSABits/8) || len(k.e) > b64.EncodedLen(4) {
		return nil
	}
	n, errN := b64.DecodeString(k.n)
	e, errE := b64.DecodeString(k.e)
	// RFC 7518 §2, Base64urlUInt: no zero octets in front. With them one key
	// would have many thumbprints.
	if errN != nil || errE != nil || len(n) == 0 || len(e) == 0 || n[0] == 0 || e[0] == 0 {
		return nil
	}
	modulus := new(big.Int).SetBytes(n)
	exponent := new(big.Int).SetBytes(e).Int64()
	if modulus.BitLen() < minRSABits || modulus.Bit(0) == 0 {
		return nil
	}
	if exponent < 3 || exponent > 1<<31-1 || exponent&1 == 0 {
		return nil
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent)}
}

// canonical returns the JSON that RFC 7638 §3 hashes: the required members in
// the order of their names. The values are base64url or fixed words, so they
// need no escaping.
func (k *jwk) canonical() []byte {
	buf := make([]byte, 0, 256)
	member := func(name, value string) {
		if len(buf) == 0 {
			buf = append(buf, '{')
		} else {
			buf = append(buf, ',')
		}
		buf = append(append(append(append(buf, '"'), name...), `":"`...), value...)
		buf = append(buf, '"')
	}
	switch k.kty {
	case "EC":
		member("crv", k.crv)
		member("kty", k.kty)
		member("x", k.x)
		member("y", k.y)
	case "OKP":
		member("crv", k.crv)
		member("kty", k.kty)
		member("x", k.x)
	case "RSA":
		member("e", k.e)
		member("kty", k.kty)
		member("n", k.n)
	}
	return append(buf, '}')
}

func (k *jwk) thumbprint() string {
	sum := sha256.Sum256(k.canonical())
	return b64.EncodeToString(sum[:])
}

// Thumbprint returns the SHA-256 thumbprint (RFC 7638) of a public key given
// as a JSON Web Key, as cnf.jkt and dpop_jkt hold it. It takes the keys that
// Verify takes: EC on P-256, P-384 and P-521, OKP Ed25519, and RSA of 2048 to
// 8192 bits. A private key is an error.
func Thumbprint(key []byte) (string, error) {
	var k jwk
	switch {
	case len(key) > MaxProofSize:
		return "", errors.New("reading JWK: too long")
	case !k.parse(key):
		return "", errors.New("reading JWK: not one JSON object with string members")
	case k.private:
		return "", errors.New("reading JWK: holds a private key")
	}
	for i := range algorithms {
		if a := &algorithms[i]; a.kty == k.kty && a.crv == k.curve() {
			if k.public(a) == nil {
				return "", fmt.Errorf("reading JWK: not a valid %s key", a.kty)
			}
			return k.thumbprint(), nil
		}
	}
	return "", errors.New("reading JWK: unknown kty or crv")
}

// curve returns crv where the key type has one.
func (k *jwk) curve() string {
	if k.kty == "RSA" {
		return ""
	}
	return k.crv
}

// ValidThumbprint reports whether s is written as a SHA-256 thumbprint: 32
// bytes in base64url. Use it on dpop_jkt (RFC 9449 §10) before keeping it.
func ValidThumbprint(s string) bool {
	var sum [sha256.Size]byte
	return decodeExactly(sum[:], s)
}

// decodeExactly decodes strict base64url that must fill dst.
func decodeExactly(dst []byte, s string) bool {
	if len(s) != b64.EncodedLen(len(dst)) || !isBase64URL(s) {
		return false
	}
	n, err := b64.Decode(dst, []byte(s))
	return err == nil && n == len(dst)
}

// isBase64URL reports whether s has only characters of base64url.
func isBase64URL(s string) bool {
	for i := 0; i < len(s); i++ {
		if !base64URLChars[s[i]] {
			return false
		}
	}
	return true
}

var base64URLChars = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		t[c] = true
	}
	return t
}()
