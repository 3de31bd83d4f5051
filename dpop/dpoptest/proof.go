package dpoptest

import (
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"
)

// Option changes one thing of a proof that would be good without it.
type Option func(*draft)

type draft struct {
	key                   *Key
	header, claims        map[string]any
	rawHeader, rawPayload string
	signature             func(signed string, good []byte) []byte
}

// Proof returns a value for the DPoP header field of a request: a proof made
// now, with a jti of its own, and with what the options say.
func (k *Key) Proof(method, url string, opts ...Option) string {
	d := draft{
		key:    k,
		header: map[string]any{"typ": "dpop+jwt", "alg": k.alg, "jwk": k.JWK()},
		claims: map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix()},
	}
	for _, o := range opts {
		o(&d)
	}
	header, payload := d.rawHeader, d.rawPayload
	if header == "" {
		header = string(mustJSON(d.header))
	}
	if payload == "" {
		payload = string(mustJSON(d.claims))
	}
	signed := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	sig := d.key.sign(signed)
	if d.signature != nil {
		sig = d.signature(signed, sig)
	}
	return signed + "." + b64.EncodeToString(sig)
}

// Nonce puts in a DPoP nonce; the empty one leaves it out.
func Nonce(nonce string) Option {
	if nonce == "" {
		return Without("nonce")
	}
	return Claim("nonce", nonce)
}

// AccessToken puts in the hash of an access token (ath).
func AccessToken(token string) Option {
	sum := sha256.Sum256([]byte(token))
	return Claim("ath", b64.EncodeToString(sum[:]))
}

// IssuedAt sets iat, in whole seconds.
func IssuedAt(t time.Time) Option { return Claim("iat", t.Unix()) }

// ID sets jti.
func ID(jti string) Option { return Claim("jti", jti) }

// Claim sets any claim to any value.
func Claim(name string, value any) Option {
	return func(d *draft) { d.claims[name] = value }
}

// Without leaves a claim out.
func Without(claim string) Option {
	return func(d *draft) { delete(d.claims, claim) }
}

// Header sets any member of the JOSE header.
func Header(name string, value any) Option {
	return func(d *draft) { d.header[name] = value }
}

// WithoutHeader leaves a member of the JOSE header out.
func WithoutHeader(name string) Option {
	return func(d *draft) { delete(d.header, name) }
}

// JWK sets a member of the public key in the header.
func JWK(name string, value any) Option {
	return func(d *draft) { d.header["jwk"].(map[string]any)[name] = value }
}

// SignedBy signs with another key than the one that the header shows.
func SignedBy(other *Key) Option { return func(d *draft) { d.key = other } }

// RawHeader puts this text in place of the JOSE header's JSON. The %s in it, if
// any, becomes the JSON that would have stood there, without its braces.
func RawHeader(text string) Option {
	return func(d *draft) { d.rawHeader = strings.Replace(text, "%s", members(d.header), 1) }
}

// RawPayload does for the payload what RawHeader does for the header.
func RawPayload(text string) Option {
	return func(d *draft) { d.rawPayload = strings.Replace(text, "%s", members(d.claims), 1) }
}

// Signature replaces the signature.
func Signature(f func(signed string, good []byte) []byte) Option {
	return func(d *draft) { d.signature = f }
}

func members(m map[string]any) string {
	return strings.TrimSuffix(strings.TrimPrefix(string(mustJSON(m)), "{"), "}")
}
