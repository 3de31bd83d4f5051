package proxy

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// ownRevocation is the gateway's own revocation endpoint.
const ownRevocation = "/_ort/revoke"

// revoke handles the revocation endpoint (RFC 7009): an ORT ends its session, any
// other token passes.
func (g *Gateway) revoke(w http.ResponseWriter, r *http.Request, at *location) error {
	return g.revocation(w, r, at, at.own())
}

// revokeOwn is the revocation endpoint where the upstream has none.
func (g *Gateway) revokeOwn(w http.ResponseWriter, r *http.Request, at *location) error {
	return g.revocation(w, r, at, true)
}

func (g *Gateway) revocation(w http.ResponseWriter, r *http.Request, at *location, own bool) error {
	if r.Method != http.MethodPost {
		return g.crossOrigin(w, r, at)
	}
	f, e := g.readForm(w, r, at)
	if e != nil {
		g.cors.decorate(w.Header(), r, at, "")
		return e
	}
	token := f.form.Get("token")
	switch {
	case ortengine.IsORT(token):
	case carriesORT(f.raw):
		g.cors.decorate(w.Header(), r, at, f.client)
		return invalidRequest("An online refresh token is revoked as token alone")
	case own:
		g.cors.decorate(w.Header(), r, at, f.client)
		return refusal(http.StatusBadRequest, ortengine.UnsupportedTokenType, "Only online refresh tokens are revoked here")
	default:
		return g.passToken(w, f, nil, false)
	}
	passed, err := g.revokeORT(r.Context(), f, token)
	if passed != nil {
		g.writeReply(w, f, passed)
		return nil
	}
	g.cors.decorate(w.Header(), r, at, f.client)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}

// revokeORT ends the session of an ORT. A reply is the upstream's refusal of the
// client's authentication, which passes.
func (g *Gateway) revokeORT(ctx context.Context, f *formRequest, token string) (*reply, error) {
	o, err := g.Engine.Open(token)
	if err != nil {
		return nil, nil // RFC 7009 section 2.2: an unknown token is no error
	}
	if !f.at.issues(o.Issuer) {
		return nil, nil
	}
	if err := g.Engine.CheckRevocation(&o, f.client); err != nil {
		return nil, err
	}
	if o.Thumbprint == "" || g.Engine.Policy.IsConfidential(f.client, g.authenticates(f)) {
		if refused, err := g.authenticated(ctx, f); refused != nil || err != nil {
			return refused, err
		}
	}
	return nil, g.Engine.Revoke(ctx, &o)
}

// authenticated has the upstream authenticate a confidential client: it is asked
// at its revocation endpoint, with a made-up token.
func (g *Gateway) authenticated(ctx context.Context, f *formRequest) (refused *reply, err error) {
	if f.at.kind != endpointRevocation || f.at.own() {
		return nil, refusal(http.StatusBadRequest, ortengine.UnsupportedTokenType, "The identity provider has no revocation endpoint to authenticate this client")
	}
	ctx, cancel := context.WithTimeout(ctx, g.UpstreamTimeout)
	defer cancel()
	f.form.Set("token", rand.Text())
	r, err := g.call(ctx, f, []byte(f.form.String()))
	if err != nil || r.Status >= 500 {
		return nil, upstreamDown(err)
	}
	code := ""
	if r.object != nil {
		code, _ = r.object.Text("error")
	}
	if r.Status == http.StatusUnauthorized || slices.Contains([]string{ortengine.InvalidClient, "unauthorized_client", ortengine.InvalidRequest}, code) {
		return r, nil
	}
	return nil, nil
}

// introspect handles token introspection (RFC 7662): an ORT is nobody's business
// but the gateway's.
func (g *Gateway) introspect(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method != http.MethodPost {
		return g.crossOrigin(w, r, at)
	}
	f, e := g.readForm(w, r, at)
	if e != nil {
		return e
	}
	if !carriesORT(f.raw) {
		return g.passToken(w, f, nil, false)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.Write([]byte(`{"active":false}`))
	return nil
}

// endSession handles the end-session endpoint (OIDC RP-Initiated Logout). An ORT
// that is posted to it as refresh_token is revoked, as the upstream does with a
// token of its own.
func (g *Gateway) endSession(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method != http.MethodPost || checkFormHeader(r.Header) != nil {
		return g.logOut(w, r, at, nil)
	}
	raw, e := readBody(w, r)
	if e != nil {
		return e
	}
	if !carriesORT(raw) {
		return g.logOut(w, r, at, raw)
	}
	f, e := g.parseForm(r, at, raw)
	if e != nil {
		writeError(w, e)
		return nil
	}
	if _, err := g.revokeORT(r.Context(), f, f.form.Get("refresh_token")); err != nil {
		writeError(w, ortengine.AsError(err))
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
