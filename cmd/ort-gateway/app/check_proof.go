package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// clockByProof compares clocks where no Date field tells: DPoP proofs of different ages (RFC 9449 section 4.3, 11) go along
// with a refresh token that nobody has, and the upstream says whether each looks too old or too new. How far off a proof
// may be is the upstream's choice (Keycloak: about half a minute), so this is rough. False: it could not be found out.
func (c *checker) clockByProof(ctx context.Context, t *target) bool {
	client := ""
	for _, id := range c.knownClients() {
		if a := t.clients[id]; a.passed(t.idp) || a.wantsProof() {
			client = id
			break
		}
	}
	if client == "" || !slices.Contains(t.doc.DPoPAlgs, "ES256") {
		return false
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return false
	}
	taken := func(age time.Duration) bool { return c.takesProof(ctx, t, client, key, c.now().Add(age)) }
	if taken(-24*time.Hour) || ctx.Err() != nil { // it does not look at proofs here, or not at their age
		return false
	}
	if taken(0) {
		t.ok("clock", "the upstream sends no Date field, but takes a DPoP proof made now: the clocks agree, to about half a minute")
		return true
	}
	for _, off := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour} {
		for _, age := range []time.Duration{off, -off} {
			if taken(age) {
				where := "ahead of"
				if age < 0 {
					where = "behind"
				}
				t.note(levelFail, "clock", fmt.Sprintf("the upstream's is about %s %s this machine's: it takes a DPoP proof of that time alone", span(off), where), "set both clocks by NTP")
				return true
			}
		}
	}
	return false
}

// takesProof: the upstream gets past the proof to the token.
func (c *checker) takesProof(ctx context.Context, t *target, client string, key *ecdsa.PrivateKey, iat time.Time) bool {
	proof, err := makeProof(key, t.doc.Token, iat)
	if err != nil {
		return false
	}
	a, err := c.ask(ctx, probe{method: http.MethodPost, path: pathOf(t.doc.Token), header: http.Header{"Dpop": {proof}},
		form: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {madeUp()}, "client_id": {client}}})
	if err != nil {
		return false
	}
	code, _ := a.oauthError()
	return code == "invalid_grant"
}

// makeProof signs a DPoP proof for a POST (RFC 9449 section 4.2) with ES256.
func makeProof(key *ecdsa.PrivateKey, endpoint string, iat time.Time) (string, error) {
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	header, err := json.Marshal(map[string]any{"typ": "dpop+jwt", "alg": "ES256",
		"jwk": map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{"jti": madeUp(), "htm": http.MethodPost, "htu": endpoint, "iat": iat.Unix()})
	if err != nil {
		return "", err
	}
	signed := b64(header) + "." + b64(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}
