package proxy

import (
	"net/http"
	"strconv"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// session tells how long a session lives, without extending it.
func (g *Gateway) session(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method == http.MethodOptions {
		return g.crossOrigin(w, r, at)
	}
	o, ok, err := g.presented(w, r, at)
	if err != nil || !ok {
		return err
	}
	s, err := g.Engine.Status(r.Context(), &o)
	if err != nil {
		return g.challengeToken(w, ortengine.AsError(err))
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	g.nextNonce(h)
	w.Write(g.deadlines(&s))
	return nil
}

// deadlines is the JSON of how long a session has, in seconds.
func (g *Gateway) deadlines(s *sessions.Session) []byte {
	idle, absolute := g.Engine.Left(s)
	b := append([]byte(nil), `{"session_idle_expires_in":`...)
	b = strconv.AppendInt(b, idle, 10)
	b = append(b, `,"session_expires_in":`...)
	b = strconv.AppendInt(b, absolute, 10)
	return append(b, '}')
}

func (g *Gateway) nextNonce(h http.Header) {
	if nonce := g.Verifier.Nonce(); nonce != "" {
		h.Set("DPoP-Nonce", nonce)
	}
}

// presented is the ORT that a request presents as a resource server's client
// does: bound, with a proof over it (RFC 9449 section 7.1); unbound, as Bearer.
// It is false where the refusal was written.
func (g *Gateway) presented(w http.ResponseWriter, r *http.Request, at *location) (o ortengine.ORT, ok bool, err error) {
	token, withProof := bearer(r.Header.Get("Authorization"), "DPoP")
	if !withProof {
		token, _ = bearer(r.Header.Get("Authorization"), "Bearer")
	}
	o, err = g.Engine.Open(token)
	known := err == nil && at.issues(o.Issuer) && len(r.Header.Values("Authorization")) == 1
	client := ""
	if known {
		client = o.Client
	}
	g.cors.decorate(w.Header(), r, at, client)
	switch {
	case token == "":
		g.challenge(w, "", "")
		return o, false, nil
	case !known || withProof != (o.Thumbprint != "") || !withProof && !g.Engine.Policy.IsConfidential(o.Client, true):
		g.challenge(w, dpop.CodeInvalidToken, "The token is none of this gateway, or its scheme is not the one it needs")
		return o, false, nil
	case !withProof:
		return o, true, nil
	}
	_, err = g.verify(r.Context(), r, dpop.Request{
		Proofs: r.Header.Values("DPoP"), Thumbprint: o.Thumbprint, AccessToken: token, IgnoreNonce: g.DPoPUpstream,
	})
	if err != nil {
		e := ortengine.AsError(err)
		if e.Status >= 500 {
			return o, false, e
		}
		if useNonce(e) {
			g.nextNonce(w.Header())
		}
		g.challenge(w, e.Code, e.Description)
		return o, false, nil
	}
	return o, true, nil
}

// challengeToken refuses a token whose session is over; what nobody can tell is
// an error.
func (g *Gateway) challengeToken(w http.ResponseWriter, e *ortengine.Error) error {
	if e.Status >= 500 {
		return e
	}
	g.nextNonce(w.Header())
	g.challenge(w, dpop.CodeInvalidToken, e.Description)
	return nil
}

// challenge is the 401 of RFC 9449 section 7.1.
func (g *Gateway) challenge(w http.ResponseWriter, code, description string) {
	h := w.Header()
	h.Set("WWW-Authenticate", g.Verifier.Challenge(code, description))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusUnauthorized)
}
