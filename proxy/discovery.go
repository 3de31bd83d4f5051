package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// discover serves the discovery documents: the upstream's, with what the gateway
// adds. While the upstream is down they come from memory.
func (g *Gateway) discover(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return g.passThrough(w, r, at)
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.UpstreamTimeout)
	defer cancel()
	out := g.forwarder.outgoing(ctx, r, requestEdit{AcceptEncodingIdentity: true,
		Drop: []string{"If-None-Match", "If-Modified-Since", "Range", "If-Range"}})
	out.Method = http.MethodGet
	g.withheld(out, r)
	got, err := g.forwarder.fetch(ctx, out, maxReply)
	if err != nil || got.Status >= 500 {
		switch kept, ok := at.kept(); {
		case ok:
			got = kept
		case err != nil:
			return silence(at, err)
		}
	}
	provider, object := at.describes(got)
	if object == nil { // none of our issuers': as it is
		got.writeTo(w, got.Body)
		return nil
	}
	g.describe(object, provider)
	for _, name := range []string{"Last-Modified", "Digest", "Repr-Digest", "Content-Digest", "Content-Md5", "Accept-Ranges"} { // of the upstream's bytes
		got.Header.Del(name)
	}
	body := object.Bytes()
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	got.Header.Set("ETag", tag)
	if slices.ContainsFunc(strings.Split(r.Header.Get("If-None-Match"), ","), func(s string) bool { return strings.TrimPrefix(strings.TrimSpace(s), "W/") == tag }) {
		got.Status = http.StatusNotModified
		got.writeTo(w, nil)
		return nil
	}
	got.writeTo(w, body)
	return nil
}

// kept is the document that was fetched last.
func (l *location) kept() (*fetched, bool) {
	for _, p := range l.providers {
		for path, d := range p.Documents {
			if canonicalPath(path) != canonicalPath(l.path) {
				continue
			}
			h := http.Header{}
			for _, name := range []string{"Content-Type", "Cache-Control", allowOrigin} {
				if v := d.Header.Values(name); len(v) > 0 {
					h[name] = v
				}
			}
			return &fetched{Status: http.StatusOK, Header: h, Body: d.Body}, true
		}
	}
	return nil, false
}

// describes is the issuer that a document is of, and the document.
func (l *location) describes(got *fetched) (*upstream.Provider, *rewrite.Object) {
	if got.Status != http.StatusOK {
		return nil, nil
	}
	o, err := rewrite.ParseObject(got.Body)
	if err != nil {
		return nil, nil
	}
	issuer, _ := o.Text("issuer")
	if p := l.of(issuer); p != nil {
		return p, o
	}
	return nil, nil
}

// describe adds to a document what clients need to know of the gateway.
func (g *Gateway) describe(o *rewrite.Object, p *upstream.Provider) {
	origin := g.Public.Scheme + "://" + g.Public.Host
	o.AddToList("scopes_supported", []string{"openid"}, onlineAccess)
	o.AddToList("grant_types_supported", []string{grantCode, "implicit"}, grantRefresh) // RFC 8414 section 2: the default
	o.SetText("ort_session_endpoint", origin+"/_ort/session")
	if !g.DPoPUpstream {
		o.SetList("dpop_signing_alg_values_supported", g.DPoPAlgs...)
	}
	if p.Revocation == "" {
		o.SetText("revocation_endpoint", origin+"/_ort/revoke")
	}
}
