package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
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
	case ortengine.IsORT(token) && !f.carriesORTBeside("token"):
	case carriesORT(string(f.raw)):
		g.cors.decorate(w.Header(), r, at, f.client)
		return invalidRequest("An online refresh token is revoked as token alone")
	case own:
		g.cors.decorate(w.Header(), r, at, f.client)
		return refusal(http.StatusBadRequest, ortengine.UnsupportedTokenType, "Only online refresh tokens are revoked here")
	default:
		err := g.pass(w, f, nil)
		if err != nil {
			g.cors.decorate(w.Header(), r, at, f.client)
		}
		return err
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
	provider := f.at.of(o.Issuer)
	if provider == nil {
		return nil, nil
	}
	if err := g.Engine.CheckRevocation(&o, f.client); err != nil {
		return nil, err
	}
	if o.Thumbprint == "" || g.Engine.Policy.IsConfidential(f.client, g.authenticates(f)) {
		if refused, err := g.authenticated(ctx, f, provider); refused != nil || err != nil {
			return refused, err
		}
	}
	return nil, g.Engine.Revoke(ctx, &o)
}

// authenticated has the upstream authenticate a confidential client: it is asked
// at its revocation endpoint, with a made-up token.
func (g *Gateway) authenticated(ctx context.Context, f *formRequest, p *upstream.Provider) (refused *reply, err error) {
	path, ok := g.pathOf(endpointRevocation, p.Revocation)
	if !ok {
		return nil, refusal(http.StatusBadRequest, ortengine.UnsupportedTokenType, "The identity provider has no revocation endpoint to authenticate this client")
	}
	ctx, cancel := context.WithTimeout(ctx, g.UpstreamTimeout)
	defer cancel()
	ask := *f
	if f.at.path != path { // an ORT that came to the end-session endpoint, or to the gateway's own
		ask.Request = f.WithContext(ctx)
		query := queryOf(p.Revocation)
		ask.URL, ask.RequestURI = &url.URL{Path: path, RawQuery: query}, withQuery(path, query)
		ask.form.Del("refresh_token")
	}
	ask.form.Set("token", rand.Text())
	var drop []string
	if !g.DPoPUpstream {
		drop = []string{"DPoP"}
	}
	r, err := g.call(ctx, &ask, []byte(ask.form.String()), drop...)
	if err != nil || r.Status >= 500 {
		return nil, upstreamDown(err)
	}
	code := ""
	if r.object != nil {
		code, _ = r.object.Text("error")
	}
	// What is no revocation must not look like one: clients read the status alone.
	switch {
	case r.Status >= 400:
		return r, nil
	case code == ortengine.InvalidClient || code == "unauthorized_client":
		return nil, refusal(http.StatusUnauthorized, ortengine.InvalidClient, "The identity provider did not authenticate the client")
	case r.Status != http.StatusOK && r.Status != http.StatusNoContent:
		return nil, upstreamDown(nil)
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
	if !carriesORT(string(f.raw)) {
		return g.pass(w, f, nil)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.Write([]byte(`{"active":false}`))
	return nil
}

// endSession handles the end-session endpoint (OIDC RP-Initiated Logout). An ORT
// that is posted to it as refresh_token is revoked, as the upstream does with a
// token of its own. One that comes in any other way goes nowhere.
func (g *Gateway) endSession(w http.ResponseWriter, r *http.Request, at *location) error {
	if carriesORT(r.URL.RawQuery) {
		return invalidRequest("An online refresh token belongs in the body of a POST")
	}
	if r.ContentLength == 0 {
		return g.logOut(w, r, at, nil)
	}
	raw, e := readBody(w, r)
	if e != nil {
		return e
	}
	isForm := r.Method == http.MethodPost && checkFormHeader(r.Header) == nil
	switch {
	case !carriesORT(string(raw)) && isForm:
		return g.logOut(w, r, at, raw)
	case !carriesORT(string(raw)):
		r.Body = io.NopCloser(bytes.NewReader(raw))
		return g.logOut(w, r, at, nil)
	case !isForm:
		return invalidRequest("An online refresh token is posted in a form")
	}
	if err := g.revokePosted(w, r, at, raw); err != nil {
		writeError(w, ortengine.AsError(err))
	}
	return nil
}

// revokePosted revokes an ORT that was posted to the end-session endpoint.
func (g *Gateway) revokePosted(w http.ResponseWriter, r *http.Request, at *location, raw []byte) error {
	f, e := g.parseForm(r, at, raw)
	if e != nil {
		return e
	}
	token := f.form.Get("refresh_token")
	if !ortengine.IsORT(token) || f.carriesORTBeside("refresh_token") {
		return invalidRequest("An online refresh token is posted as refresh_token alone")
	}
	passed, err := g.revokeORT(r.Context(), f, token)
	switch {
	case err != nil:
		return err
	case passed != nil:
		g.writeReply(w, f, passed)
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
