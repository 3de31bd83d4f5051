package proxy

import (
	"context"
	"errors"
	"net/http"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
)

// push handles pushed authorization requests (RFC 9126).
func (g *Gateway) push(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method != http.MethodPost {
		return g.crossOrigin(w, r, at)
	}
	f, e := g.readForm(w, r, at)
	if e != nil {
		g.cors.decorate(w.Header(), r, at, "")
		return e
	}
	err := g.pushForm(w, r, f)
	if err != nil {
		g.cors.decorate(w.Header(), r, at, f.client)
	}
	return err
}

func (g *Gateway) pushForm(w http.ResponseWriter, r *http.Request, f *formRequest) error {
	changed, err := (&authorization{Gateway: g, at: f.at, from: r}).asksForMessage(f.form)
	if err != nil {
		return err
	}
	dropped, e := g.dropOfflineOf(f)
	if e != nil {
		return e
	}
	changed = changed || dropped
	asked, _ := asks(f.form)
	if !asked || f.form.Get("request") != "" {
		var body []byte
		if changed {
			body = []byte(f.form.String())
		}
		return g.pass(w, f, body)
	}
	if f.form.Lookalike(decisive...) != "" {
		return invalidRequest("A parameter is named like another")
	}
	begun, err := g.beginPushed(r.Context(), f)
	if err != nil {
		return err
	}
	reply, err := g.callPushed(f, begun != nil && !begun.None)
	if err != nil {
		return err
	}
	if begun != nil {
		if err := g.tie(r.Context(), begun, reply); err != nil {
			return err
		}
	}
	g.writeReply(w, f, reply)
	return nil
}

// beginPushed records a pushed request. Its code is bound to a key by dpop_jkt,
// or by a proof that came with it, which must be of the same key (RFC 9449
// section 10.1).
func (g *Gateway) beginPushed(ctx context.Context, f *formRequest) (*ortengine.Begun, error) {
	a := &authorization{Gateway: g, at: f.at, from: f.Request}
	thumbprint := f.form.Get("dpop_jkt")
	if proofs := f.Header.Values("DPoP"); len(proofs) > 0 && g.mayRecord(f) {
		p, err := g.verify(ctx, f.Request, dpop.Request{Proofs: proofs, Thumbprint: thumbprint})
		if err != nil {
			return nil, err
		}
		thumbprint = p.Thumbprint
	}
	return a.begin(ctx, f.form, f.client, thumbprint, false)
}

// mayRecord says whether a pushed request is one that an ORT may come of: a proof
// with any other is the upstream's.
func (g *Gateway) mayRecord(f *formRequest) bool {
	return returnsCode(f.form.Get("response_type")) && f.form.Get("code_challenge") != "" && f.at.providers[0].S256() &&
		!rewrite.HasScope(f.form.Get("scope"), offlineAccess) && g.mayIssue(f.client, audiences(f.form))
}

// callPushed sends a pushed request; where it was recorded, its proof ends here.
func (g *Gateway) callPushed(f *formRequest, recorded bool) (*reply, error) {
	ctx, cancel := context.WithTimeout(f.Context(), g.UpstreamTimeout)
	defer cancel()
	var drop []string
	if recorded && !g.DPoPUpstream {
		drop = []string{"DPoP"}
	}
	reply, err := g.call(ctx, f, []byte(f.form.String()), drop...)
	if err != nil {
		return nil, upstreamDown(err)
	}
	reply.own = recorded
	return reply, nil
}

// tie lets the transaction be found by the request_uri that the upstream gave, or
// forgets it where it gave none.
func (g *Gateway) tie(ctx context.Context, begun *ortengine.Begun, r *reply) error {
	if r.Status == http.StatusCreated || r.Status == http.StatusOK {
		if r.object != nil {
			if uri, ok := r.object.Text("request_uri"); ok {
				return g.Engine.Pushed(ctx, uri, begun.Key)
			}
		}
	}
	if begun.Added {
		g.Engine.Failed(ctx, begun.Key)
	}
	return nil
}

func errorAs[T error](err error) (T, bool) {
	var e T
	ok := errors.As(err, &e)
	return e, ok
}
