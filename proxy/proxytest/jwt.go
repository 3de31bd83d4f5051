package proxytest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
)

// idToken is a signed ID token of a login (OIDC Core section 2).
func (p *IdP) idToken(f *family, nonce string) string {
	now := p.Now().Unix()
	claims := map[string]any{
		"iss": p.Issuer, "aud": f.client.ID, "sub": f.login.user, "iat": now, "exp": now + 300, "auth_time": f.login.at.Unix(),
	}
	if !p.WithoutSID {
		claims["sid"] = f.login.sid
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return p.sign(claims)
}

// Sign makes a token of this provider's with any claims.
func (p *IdP) Sign(claims map[string]any) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sign(claims)
}

func (p *IdP) sign(claims map[string]any) string {
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := encode(map[string]any{"alg": "RS256", "kid": p.keyID, "typ": "JWT"}) + "." + encode(claims)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (p *IdP) jwks() map[string]any {
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": p.keyID,
		"n": encode(p.key.N.Bytes()), "e": encode(big.NewInt(int64(p.key.E)).Bytes()),
	}}}
}
