package proxy

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// pass passes a request to another endpoint whose body was read, with another body
// where one is given.
func (g *Gateway) pass(w http.ResponseWriter, f *formRequest, body []byte) error {
	reply, err := g.callPlain(f, body)
	if err != nil {
		return silence(f.at, err)
	}
	g.writeReply(w, f, reply)
	return nil
}

// silence is the answer where the upstream gives none.
func silence(at *location, cause error) *ortengine.Error {
	switch at.kind {
	case endpointToken, endpointRevocation, endpointPAR:
		return upstreamDown(cause)
	}
	e := refusal(http.StatusBadGateway, ortengine.ServerError, "The identity provider does not answer")
	e.Cause = cause
	return e
}

// reply is an answer of the upstream that was read whole.
type reply struct {
	*fetched
	object *rewrite.Object // nil where the body is not one JSON object
	own    bool            // concerns an ORT: the gateway is its author
	dpop   bool            // its DPoP nonce is the upstream's all the same
}

// maxReply bounds an answer of the upstream's token-like endpoints, in bytes.
const maxReply = 4 << 20

// call sends a request that was read, with another body where one is given, and
// reads the answer.
func (g *Gateway) call(ctx context.Context, f *formRequest, body []byte, drop ...string) (*reply, error) {
	if body == nil {
		body = f.raw
	}
	out := g.forwarder.outgoing(ctx, f.Request, requestEdit{Body: body, Drop: drop, AcceptEncodingIdentity: true})
	sent := g.withheld(out, f.Request)
	got, err := g.forwarder.fetch(ctx, out, maxReply)
	if err != nil {
		return nil, err
	}
	if _, err := g.follow(f.WithContext(ctx), &http.Response{Header: got.Header}, sent, false); err != nil {
		g.Logger.LogAttrs(ctx, slog.LevelWarn, "following a login cookie", slog.Any("error", err))
	}
	r := &reply{fetched: got}
	if object, err := rewrite.ParseObject(got.Body); err == nil {
		r.object = object
	}
	return r, nil
}

// callPlain is call within the upstream time-out, ended when the client leaves.
func (g *Gateway) callPlain(f *formRequest, body []byte) (*reply, error) {
	ctx, cancel := context.WithTimeout(f.Context(), g.UpstreamTimeout)
	defer cancel()
	return g.call(ctx, f, body)
}

// callFor says what a token request is for.
type callFor struct {
	login bool // an ORT may come of it: its ID token is read
	dpop  bool // no ORT may: DPoP is between client and upstream
}

// callToken sends a request whose transaction or token is the gateway's, and reads
// from the answer what the rules need.
func (g *Gateway) callToken(ctx context.Context, f *formRequest, p *upstream.Provider, to callFor) (ortengine.Answer, error) {
	var drop []string
	if !g.DPoPUpstream && !to.dpop {
		drop = []string{"DPoP"}
	}
	r, err := g.call(ctx, f, []byte(f.form.String()), drop...)
	if err != nil {
		return ortengine.Answer{}, err
	}
	r.own, r.dpop = true, to.dpop
	a := ortengine.Answer{Status: r.Status, Reply: r}
	switch {
	case r.object == nil && r.Status == http.StatusOK:
		a.Malformed = true
		a.Credential, _ = rewrite.Salvage(r.Body, "refresh_token")
	case r.Status == http.StatusOK:
		a.Credential, _ = r.object.Text("refresh_token")
		if to.login {
			a.Login = g.login(ctx, r.object, f.at.sharing(p), f.client)
		}
	case r.object != nil:
		a.Error, _ = r.object.Text("error")
	}
	return a, nil
}
