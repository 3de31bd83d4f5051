package dpop

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

// attempt is one row: a proof that differs in one thing from a good one.
type attempt struct {
	name   string
	key    *dpoptest.Key // nil: testKey
	opts   []dpoptest.Option
	proofs func(good string) []string
	config func(*Config)
	req    func(*Request)
	want   Reason // empty: accepted
	code   string // empty: invalid_dpop_proof
}

func (a attempt) run(t *testing.T) error {
	t.Helper()
	now := func() time.Time { return testNow }
	v := newVerifier(t, func(c *Config) {
		c.Now, c.Replay = now, NewMemoryReplay(0, now, false)
		if a.config != nil {
			a.config(c)
		}
	})
	if a.key == nil {
		a.key = testKey
	}
	good := a.key.Proof("POST", testURL, append([]dpoptest.Option{dpoptest.IssuedAt(testNow), dpoptest.Nonce(v.Nonce())}, a.opts...)...)
	r := Request{Proofs: []string{good}, Method: "POST", URL: testURL}
	if a.proofs != nil {
		r.Proofs = a.proofs(good)
	}
	if a.req != nil {
		a.req(&r)
	}
	_, err := v.Verify(context.Background(), r)
	return err
}

func with(opts ...dpoptest.Option) []dpoptest.Option { return opts }

func noncesAt(now time.Time) func(*Config) {
	return func(c *Config) {
		c.Nonces = NewNonces(NoncesConfig{Keys: testKeys, Now: func() time.Time { return now }})
	}
}

func nonceOf(at time.Time) string {
	return NewNonces(NoncesConfig{Keys: testKeys}).issue(0, at)
}

func testKeys() [][]byte { return [][]byte{[]byte("0123456789abcdef0123456789abcdef")} }

func replaceDot(part int, f func(string) string) func(string) []string {
	return func(good string) []string {
		parts := strings.Split(good, ".")
		parts[part] = f(parts[part])
		return []string{strings.Join(parts, ".")}
	}
}

var attempts = []attempt{
	{name: "good"},
	{name: "good with nonce", config: noncesAt(testNow)},

	{name: "no header field", proofs: func(string) []string { return nil }, want: ReasonMissing},
	{name: "empty header field", proofs: func(string) []string { return []string{""} }, want: ReasonMissing},
	{name: "two header fields", proofs: func(p string) []string { return []string{p, p} }, want: ReasonSeveral},
	{name: "two proofs joined", proofs: func(p string) []string { return []string{p + ", " + p} }, want: ReasonSeveral},
	{name: "too long", opts: with(dpoptest.Claim("pad", strings.Repeat("x", MaxProofSize))), want: ReasonSize},

	{name: "no JWS", proofs: func(string) []string { return []string{"hello"} }, want: ReasonForm},
	{name: "two parts", proofs: func(p string) []string { return []string{p[:strings.LastIndexByte(p, '.')]} }, want: ReasonForm},
	{name: "five parts", proofs: func(p string) []string { return []string{p + ".a.b"} }, want: ReasonForm},
	{name: "empty signature", proofs: replaceDot(2, func(string) string { return "" }), want: ReasonForm},
	{name: "empty payload", proofs: replaceDot(1, func(string) string { return "" }), want: ReasonForm},
	{name: "padded base64", proofs: func(p string) []string { return []string{p + "=="} }, want: ReasonForm},
	{name: "line break in base64", proofs: replaceDot(2, func(s string) string { return s[:9] + "\n" + s[9:] }), want: ReasonForm},
	{name: "space", proofs: func(p string) []string { return []string{p + " "} }, want: ReasonForm},
	{name: "standard base64", proofs: replaceDot(2, func(s string) string { return s[:9] + "+/" + s[11:] }), want: ReasonForm},
	{name: "loose trailing bits", proofs: replaceDot(2, looseBits), want: ReasonForm},

	{name: "header no JSON", opts: with(dpoptest.RawHeader("{%s")), want: ReasonHeader},
	{name: "header an array", opts: with(dpoptest.RawHeader("[{%s}]")), want: ReasonHeader},
	{name: "header two objects", opts: with(dpoptest.RawHeader("{%s}{}")), want: ReasonHeader},
	{name: "header not UTF-8", opts: with(dpoptest.RawHeader("{%s,\"a\":\"\xff\"}")), want: ReasonHeader},
	{name: "header alg twice", opts: with(dpoptest.RawHeader(`{%s,"alg":"ES256"}`)), want: ReasonHeader},
	{name: "header jwk twice, escaped", opts: with(dpoptest.RawHeader(`{%s,"\u006awk":{}}`)), want: ReasonHeader},
	{name: "header too many members", opts: with(dpoptest.RawHeader(`{%s` + manyMembers(80) + `}`)), want: ReasonHeader},
	{name: "header nested deep", opts: with(dpoptest.RawHeader(`{%s,"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`)), want: ReasonHeader},
	{name: "header with space and more", opts: with(dpoptest.RawHeader(" {%s , \"kid\" : [1,{\"a\":\"]}\\\"\"}] ,\"z\":null}\n"))},

	{name: "no typ", opts: with(dpoptest.WithoutHeader("typ")), want: ReasonTyp},
	{name: "typ JWT", opts: with(dpoptest.Header("typ", "JWT")), want: ReasonTyp},
	{name: "typ a number", opts: with(dpoptest.Header("typ", 1)), want: ReasonTyp},
	{name: "typ with application/", opts: with(dpoptest.Header("typ", "application/dpop+jwt")), want: ReasonTyp},
	{name: "typ in capitals", opts: with(dpoptest.Header("typ", "DPoP+JWT"))},
	{name: "crit", opts: with(dpoptest.Header("crit", []string{"b64"}), dpoptest.Header("b64", false)), want: ReasonCrit},
	{name: "crit empty", opts: with(dpoptest.Header("crit", []string{})), want: ReasonCrit},

	{name: "no alg", opts: with(dpoptest.WithoutHeader("alg")), want: ReasonAlg},
	{name: "alg none", opts: with(dpoptest.Header("alg", "none")), want: ReasonAlg},
	{name: "alg HS256", opts: with(dpoptest.Header("alg", "HS256")), want: ReasonAlg},
	{name: "alg RS1", opts: with(dpoptest.Header("alg", "RS1")), want: ReasonAlg},
	{name: "alg es256", opts: with(dpoptest.Header("alg", "es256")), want: ReasonAlg},
	{name: "alg not allowed here", config: func(c *Config) { c.Algs = []string{"EdDSA"} }, want: ReasonAlg},

	{name: "no jwk", opts: with(dpoptest.WithoutHeader("jwk")), want: ReasonJWK},
	{name: "jwk a string", opts: with(dpoptest.Header("jwk", "key")), want: ReasonJWK},
	{name: "jwk null", opts: with(dpoptest.Header("jwk", nil)), want: ReasonJWK},
	{name: "jwk x a number", opts: with(dpoptest.JWK("x", 5)), want: ReasonJWK},
	{name: "jwk x twice", opts: with(dpoptest.Header("jwk", rawJSON(`{"kty":"EC","crv":"P-256","x":"AA","x":"BB","y":"CC"}`))), want: ReasonJWK},
	{name: "jwk with d", opts: with(dpoptest.JWK("d", "AAAA")), want: ReasonPrivateKey},
	{name: "jwk with d null", opts: with(dpoptest.JWK("d", nil)), want: ReasonPrivateKey},
	{name: "jwk with d escaped", opts: with(dpoptest.Header("jwk", rawJSON(`{"kty":"EC","crv":"P-256","\u0064":"AA"}`))), want: ReasonPrivateKey},
	{name: "jwk RSA with p", key: rsaKey, opts: with(dpoptest.JWK("p", "AAAA")), want: ReasonPrivateKey},
	{name: "jwk oct", opts: with(dpoptest.Header("jwk", map[string]any{"kty": "oct", "k": "AAAA"})), want: ReasonPrivateKey},
	{name: "kty for another alg", opts: with(dpoptest.Header("alg", "RS256")), want: ReasonKeyType},
	{name: "crv for another alg", key: ecKey384, opts: with(dpoptest.Header("alg", "ES256")), want: ReasonKeyType},
	{name: "crv secp256k1", opts: with(dpoptest.JWK("crv", "secp256k1")), want: ReasonKeyType},
	{name: "crv Ed448", key: edKey, opts: with(dpoptest.JWK("crv", "Ed448")), want: ReasonKeyType},
	{name: "crv X25519", key: edKey, opts: with(dpoptest.JWK("crv", "X25519")), want: ReasonKeyType},
	{name: "no kty", opts: with(dpoptest.JWK("kty", "")), want: ReasonKeyType},
	{name: "point off the curve", opts: with(dpoptest.JWK("y", otherKey.JWK()["y"])), want: ReasonKey},
	{name: "point at zero", opts: with(dpoptest.JWK("x", strings.Repeat("A", 43)), dpoptest.JWK("y", strings.Repeat("A", 43))), want: ReasonKey},
	{name: "coordinate shortened", opts: with(dpoptest.JWK("x", "AAAA")), want: ReasonKey},
	{name: "coordinate padded", opts: with(dpoptest.JWK("x", testKey.JWK()["x"].(string)+"=")), want: ReasonKey},
	{name: "no y", opts: with(dpoptest.JWK("y", "")), want: ReasonKey},
	{name: "Ed25519 key too long", key: edKey, opts: with(dpoptest.JWK("x", strings.Repeat("A", 44))), want: ReasonKey},
	{name: "RSA 1024", key: rsaKey, opts: with(dpoptest.JWK("n", bigOf(1024))), want: ReasonKey},
	{name: "RSA 8200", key: rsaKey, opts: with(dpoptest.JWK("n", bigOf(8200))), want: ReasonKey},
	{name: "RSA even modulus", key: rsaKey, opts: with(dpoptest.JWK("n", evenModulus())), want: ReasonKey},
	{name: "RSA leading zero", key: rsaKey, opts: with(dpoptest.JWK("e", "AAEAAQ")), want: ReasonKey},
	{name: "RSA e 1", key: rsaKey, opts: with(dpoptest.JWK("e", "AQ")), want: ReasonKey},
	{name: "RSA e even", key: rsaKey, opts: with(dpoptest.JWK("e", "AQAA")), want: ReasonKey},
	{name: "RSA e of 5 octets", key: rsaKey, opts: with(dpoptest.JWK("e", "AQAAAAE")), want: ReasonKey},
	{name: "RSA e of 32 bits", key: rsaKey, opts: with(dpoptest.JWK("e", "_____w")), want: ReasonKey},
	{name: "jwk with more members", opts: with(dpoptest.JWK("kid", "k"), dpoptest.JWK("ext", true), dpoptest.JWK("key_ops", []string{"verify"}), dpoptest.JWK("alg", "ES256"))},

	{name: "payload no JSON", opts: with(dpoptest.RawPayload("hello")), want: ReasonClaims},
	{name: "payload null", opts: with(dpoptest.RawPayload("null")), want: ReasonClaims},
	{name: "payload htu twice", opts: with(dpoptest.RawPayload(`{%s,"htu":"https://evil.example/"}`)), want: ReasonClaims},
	{name: "payload other claim twice", opts: with(dpoptest.RawPayload(`{%s,"a":1,"a":2}`)), want: ReasonClaims},

	{name: "no jti", opts: with(dpoptest.Without("jti")), want: ReasonID},
	{name: "empty jti", opts: with(dpoptest.ID("")), want: ReasonID},
	{name: "jti a number", opts: with(dpoptest.Claim("jti", 7)), want: ReasonID},
	{name: "long jti", opts: with(dpoptest.ID(strings.Repeat("j", MaxIDSize+1))), want: ReasonID},
	{name: "longest jti", opts: with(dpoptest.ID(strings.Repeat("j", MaxIDSize)))},
	{name: "no iat", opts: with(dpoptest.Without("iat")), want: ReasonIssuedAt},
	{name: "iat a string", opts: with(dpoptest.Claim("iat", "1767323045")), want: ReasonIssuedAt},
	{name: "iat null", opts: with(dpoptest.Claim("iat", nil)), want: ReasonIssuedAt},
	{name: "iat negative", opts: with(dpoptest.Claim("iat", -5)), want: ReasonIssuedAt},
	{name: "iat zero", opts: with(dpoptest.Claim("iat", 0)), want: ReasonIssuedAt},
	{name: "iat huge", opts: with(dpoptest.Claim("iat", rawJSON("1e400"))), want: ReasonIssuedAt},
	{name: "iat in milliseconds", opts: with(dpoptest.Claim("iat", testNow.UnixMilli())), want: ReasonIssuedAt},
	{name: "iat with a fraction", opts: with(dpoptest.Claim("iat", rawJSON("1767323044.75")))},
	{name: "no iat, with nonce", opts: with(dpoptest.Without("iat")), config: noncesAt(testNow), want: ReasonIssuedAt},

	{name: "no htm", opts: with(dpoptest.Without("htm")), want: ReasonMethod},
	{name: "other htm", opts: with(dpoptest.Claim("htm", "GET")), want: ReasonMethod},
	{name: "htm in lower case", opts: with(dpoptest.Claim("htm", "post")), want: ReasonMethod},
	{name: "no htm, no method", opts: with(dpoptest.Without("htm")), req: func(r *Request) { r.Method = "" }, want: ReasonMethod},
	{name: "no htu", opts: with(dpoptest.Without("htu")), want: ReasonURI},
	{name: "other htu", opts: with(dpoptest.Claim("htu", "https://as.example/tokens")), want: ReasonURI},
	{name: "htu of another host", opts: with(dpoptest.Claim("htu", "https://evil.example/token")), want: ReasonURI},
	{name: "htu http", opts: with(dpoptest.Claim("htu", "http://as.example/token")), want: ReasonURI},
	{name: "htu relative", opts: with(dpoptest.Claim("htu", "/token")), want: ReasonURI},
	{name: "htu with user", opts: with(dpoptest.Claim("htu", "https://as.example@evil.example/token")), want: ReasonURI},
	{name: "no URL", opts: with(dpoptest.Claim("htu", "")), req: func(r *Request) { r.URL = "" }, want: ReasonURI},
	{name: "htu with query and fragment", opts: with(dpoptest.Claim("htu", testURL+"?a=b#c"))},
	{name: "htu spelt otherwise", opts: with(dpoptest.Claim("htu", "HTTPS://AS.example:443/a/../%74oken"))},
	{name: "URL with query", req: func(r *Request) { r.URL += "?a=b" }},

	{name: "no ath", req: func(r *Request) { r.AccessToken = testToken }, want: ReasonAccessToken},
	{name: "ath of another token", opts: with(dpoptest.AccessToken("other")), req: func(r *Request) { r.AccessToken = testToken }, want: ReasonAccessToken},
	{name: "ath", opts: with(dpoptest.AccessToken(testToken)), req: func(r *Request) { r.AccessToken = testToken }},
	{name: "ath nobody asked for", opts: with(dpoptest.AccessToken(testToken))},

	{name: "no nonce", opts: with(dpoptest.Nonce("")), config: noncesAt(testNow), want: ReasonNoNonce, code: CodeUseNonce},
	{name: "nonce a number", opts: with(dpoptest.Claim("nonce", 4)), config: noncesAt(testNow), want: ReasonNoNonce, code: CodeUseNonce},
	{name: "stale nonce", opts: with(dpoptest.Nonce(nonceOf(testNow.Add(-10 * time.Minute)))), config: noncesAt(testNow), want: ReasonStaleNonce, code: CodeUseNonce},
	{name: "foreign nonce", opts: with(dpoptest.Nonce("eyJ7S_zG.eyJH0-Z.HX4w-7v")), config: noncesAt(testNow), want: ReasonWrongNonce, code: CodeUseNonce},
	{name: "forged nonce", opts: with(dpoptest.Nonce(strings.Repeat("A", 32))), config: noncesAt(testNow), want: ReasonWrongNonce, code: CodeUseNonce},
	{name: "nonce ignored, iat old", opts: with(dpoptest.IssuedAt(testNow.Add(-time.Hour))), config: noncesAt(testNow), req: func(r *Request) { r.IgnoreNonce = true }, want: ReasonTooOld},
	{name: "nonce ignored", opts: with(dpoptest.Nonce("theirs")), config: noncesAt(testNow), req: func(r *Request) { r.IgnoreNonce = true }},
	{name: "nonce of nobody", opts: with(dpoptest.Nonce("theirs"))},
	{name: "nonce, clock wrong by years", opts: with(dpoptest.IssuedAt(testNow.AddDate(-5, 0, 0))), config: noncesAt(testNow)},

	{name: "61 s old", opts: with(dpoptest.IssuedAt(testNow.Add(-61 * time.Second))), want: ReasonTooOld},
	{name: "60 s old", opts: with(dpoptest.IssuedAt(testNow.Add(-60 * time.Second)))},
	{name: "6 s ahead", opts: with(dpoptest.IssuedAt(testNow.Add(6 * time.Second))), want: ReasonTooEarly},
	{name: "5 s ahead", opts: with(dpoptest.IssuedAt(testNow.Add(5 * time.Second)))},
	{name: "before the start", opts: with(dpoptest.IssuedAt(testNow.Add(-3 * time.Second))), config: func(c *Config) { c.NotBefore = testNow.Add(-2 * time.Second) }, want: ReasonBeforeStart},

	{name: "signed by another key", opts: with(dpoptest.SignedBy(otherKey)), want: ReasonSignature},
	{name: "signature cut", opts: with(dpoptest.Signature(func(_ string, s []byte) []byte { return s[:len(s)-1] })), want: ReasonSignature},
	{name: "signature of zeros", opts: with(dpoptest.Signature(func(_ string, s []byte) []byte { return make([]byte, len(s)) })), want: ReasonSignature},
	{name: "signature in ASN.1 length", opts: with(dpoptest.Signature(func(_ string, s []byte) []byte { return append(s, 0, 0, 0, 0, 0, 0) })), want: ReasonSignature},
	{name: "PKCS1 signature under PS256", key: rsaKey, opts: with(dpoptest.Header("alg", "RS256")), want: ReasonSignature},

	{name: "by another key than bound", req: func(r *Request) { r.Thumbprint = otherKey.Thumbprint() }, want: ReasonOtherKey},
	{name: "by the key bound", req: func(r *Request) { r.Thumbprint = testKey.Thumbprint() }},

	{name: "repeated", config: func(c *Config) { c.Replay = answers(Repeated) }, want: ReasonRepeated},
	{name: "repeated, with nonces", config: func(c *Config) { noncesAt(testNow)(c); c.Replay = answers(Repeated) }, want: ReasonRepeated, code: CodeUseNonce},
	{name: "repeated, nonce ignored", config: func(c *Config) { noncesAt(testNow)(c); c.Replay = answers(Repeated) }, req: func(r *Request) { r.IgnoreNonce = true }, want: ReasonRepeated},
	{name: "generation over", config: func(c *Config) { noncesAt(testNow)(c); c.Replay = answers(StaleGeneration) }, want: ReasonStaleNonce, code: CodeUseNonce},
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"m` + string(rune('A'+i%26)) + string(rune('a'+i/26)) + `":0`)
	}
	return b.String()
}

// looseBits sets bits behind the last octet, which lenient decoders ignore: the
// signature of 64 octets leaves four.
func looseBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return s[:len(s)-1] + string(alphabet[strings.IndexByte(alphabet, s[len(s)-1])+1])
}

func bigOf(bits uint) string {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return base64.RawURLEncoding.EncodeToString(n.SetBit(n, 0, 1).Bytes())
}

func evenModulus() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(key.N.SetBit(key.N, 0, 0).Bytes())
}
