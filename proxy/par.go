package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"time"

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
		return g.passPushed(w, f, changed)
	}
	if f.form.Lookalike(decisive...) != "" {
		return invalidRequest("A parameter is named like another")
	}
	if query, _ := rewrite.ParseForm(r.URL.RawQuery); query == nil || slices.ContainsFunc(binding, func(name string) bool { return len(query.Loosely(name)) > 0 }) {
		return invalidRequest("Parameters belong in the body") // an upstream that merges both would read another request
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
		if err := g.tie(r.Context(), f, begun, reply); err != nil {
			return err
		}
	}
	g.writeReply(w, f, reply)
	return nil
}

// The bounds of what is remembered of pushed requests that ask for nothing.
const (
	maxPushed  = 2000
	pushedLife = 10 * time.Minute
)

// passPushed passes a pushed request that nothing is recorded of. Where an error
// of its use goes is remembered by this process alone.
func (g *Gateway) passPushed(w http.ResponseWriter, f *formRequest, changed bool) error {
	var body []byte
	if changed {
		body = []byte(f.form.String())
	}
	reply, err := g.callPlain(f, body)
	if err != nil {
		return silence(f.at, err)
	}
	if reply.object != nil && reply.Status < 300 {
		if uri, ok := reply.object.Text("request_uri"); ok && len(answerTo(f)) <= 4*maxName {
			g.pushed.add(sha256.Sum256([]byte(uri)), answerTo(f), pushedLife)
		}
	}
	g.writeReply(w, f, reply)
	return nil
}

// answerTo is what an error needs to reach the client of a pushed request.
func answerTo(f *formRequest) string {
	to := &rewrite.Form{}
	to.Add("client_id", f.client)
	for _, name := range []string{"redirect_uri", "state", "response_mode", "response_type"} {
		if f.form.Has(name) {
			to.Add(name, f.form.Get(name))
		}
	}
	return to.String()
}

// failPushed lets an error of a pushed request's use go to its client.
func (a *authorization) failPushed(form *rewrite.Form) {
	ctx, uri := a.from.Context(), form.Get("request_uri")
	if uri == "" {
		return
	}
	known, err := a.Engine.PushedTo(ctx, uri)
	if err != nil {
		return
	}
	if known == "" {
		known, _ = a.pushed.get(sha256.Sum256([]byte(uri)))
	}
	to, err := rewrite.ParseForm(known)
	if err != nil || to.Get("client_id") != form.Get("client_id") {
		return
	}
	a.failed = to
	if a.Auth0.Paths {
		waits, is, err := a.Engine.WebMessageTo(ctx, to.Get("state"))
		a.message = err == nil && is && waits == to.Get("redirect_uri")
	}
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
func (g *Gateway) tie(ctx context.Context, f *formRequest, begun *ortengine.Begun, r *reply) error {
	if r.Status == http.StatusCreated || r.Status == http.StatusOK {
		if r.object != nil {
			if uri, ok := r.object.Text("request_uri"); ok {
				if err := g.Engine.NotePushed(ctx, f.at.providers[0].Authorization, f.client, uri, answerTo(f), g.forwarder.clientAddr(f.Request)); err != nil {
					return err
				}
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
