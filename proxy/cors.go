package proxy

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// The header fields of CORS (Fetch standard section 3.2).
const (
	allowOrigin      = "Access-Control-Allow-Origin"
	allowCredentials = "Access-Control-Allow-Credentials"
	allowHeaders     = "Access-Control-Allow-Headers"
	allowMethods     = "Access-Control-Allow-Methods"
	exposeHeaders    = "Access-Control-Expose-Headers"
	maxAge           = "Access-Control-Max-Age"
	requestMethod    = "Access-Control-Request-Method"
	requestHeaders   = "Access-Control-Request-Headers"
)

// allowance is what the upstream said of an origin.
type allowance struct {
	origin      string // the value of Access-Control-Allow-Origin: the origin, or *
	credentials bool
}

// corsKey is the client and origin that an allowance is for. An empty client: any,
// for what comes without one (a preflight). asked: the upstream said so when it
// was asked, which names no client.
type corsKey struct {
	client, origin string
	asked          bool
}

const (
	corsLife = time.Hour
	maxCORS  = 10000
	maxName  = 512 // of a client or origin that is remembered, in bytes
)

// cors gives answers of the gateway's own the allowance that the upstream's have,
// and tells browsers of the fields that DPoP needs (RFC 9449 section 8).
type cors struct {
	g       *Gateway
	allowed *recent[corsKey, allowance] // a yes alone is remembered
	asking  *asking[string, allowance]  // by origin
}

func newCORS(g *Gateway) *cors {
	return &cors{g: g, allowed: newRecent[corsKey, allowance](maxCORS, g.Now), asking: newAsking[string, allowance](g.Now)}
}

// crossOrigin says whether browsers of other origins call an endpoint with DPoP.
func (l *location) crossOrigin() bool {
	switch l.kind {
	case endpointToken, endpointRevocation, endpointPAR, endpointOwn:
		return true
	}
	return false
}

// passed completes an answer of the upstream.
func (c *cors) passed(h http.Header, r *http.Request, at *location, client string) {
	origin := r.Header.Get("Origin")
	if origin == "" || !at.crossOrigin() {
		return
	}
	if c.g.CORSOrigins != nil {
		c.override(h, origin)
		return
	}
	a, ok := allowanceIn(h, origin)
	if !ok {
		return
	}
	c.remember(corsKey{client: client, origin: origin}, a)
	c.remember(corsKey{origin: origin}, a)
	addExposed(h)
}

// allowanceIn reads an allowance for an origin from an answer.
func allowanceIn(h http.Header, origin string) (allowance, bool) {
	got := h.Get(allowOrigin)
	if got == "" || got != "*" && got != origin {
		return allowance{}, false
	}
	return allowance{origin: got, credentials: h.Get(allowCredentials) == "true"}, true
}

func (c *cors) remember(k corsKey, a allowance) {
	if len(k.client) <= maxName && len(k.origin) <= maxName {
		c.allowed.add(k, a, corsLife)
	}
}

// override answers by ORT_CORS_ORIGINS in place of the upstream.
func (c *cors) override(h http.Header, origin string) {
	for _, name := range []string{allowOrigin, allowCredentials, allowHeaders, allowMethods, exposeHeaders, maxAge} {
		h.Del(name)
	}
	if slices.Contains(c.g.CORSOrigins, origin) {
		c.write(h, allowance{origin: origin})
	} else {
		addVary(h)
	}
}

// decorate gives an answer of the gateway's own the upstream's allowance for this
// client and origin; where none is known the upstream is asked.
func (c *cors) decorate(h http.Header, r *http.Request, at *location, client string) {
	origin := r.Header.Get("Origin")
	if origin == "" || !at.crossOrigin() {
		return
	}
	if c.g.CORSOrigins != nil {
		c.override(h, origin)
		return
	}
	if a, ok := c.of(r.Context(), at, client, origin); ok {
		c.write(h, a)
	}
}

func (c *cors) of(ctx context.Context, at *location, client, origin string) (allowance, bool) {
	keys := []corsKey{{client: client, origin: origin}, {origin: origin, asked: true}}
	for _, k := range keys {
		if a, ok := c.allowed.get(k); ok {
			return a, true
		}
	}
	if len(origin) > maxName {
		return allowance{}, false
	}
	got := c.asking.ask(ctx, origin, func(ctx context.Context) answer[allowance] { return c.ask(ctx, at, origin) })
	if got.yes {
		c.remember(keys[1], got.value)
	}
	a, ok := got.value, got.yes
	for i := 0; !got.there && !ok && i < len(keys); i++ { // a yes is good while the upstream is down
		a, ok = c.allowed.stale(keys[i])
	}
	return a, ok
}

func (c *cors) write(h http.Header, a allowance) {
	h.Set(allowOrigin, a.origin)
	if a.credentials {
		h.Set(allowCredentials, "true")
	}
	addVary(h)
	addExposed(h)
}

func addVary(h http.Header) { addToList(h, "Vary", "Origin") }

func addExposed(h http.Header) { addToList(h, exposeHeaders, "DPoP-Nonce", "WWW-Authenticate") }

// addToList adds elements to a list-valued field, where they are missing.
func addToList(h http.Header, name string, elements ...string) {
	for _, e := range elements {
		if !hasToken(h.Values(name), e) {
			if old := h.Get(name); old != "" {
				h.Set(name, strings.Join(h.Values(name), ", ")+", "+e)
			} else {
				h.Set(name, e)
			}
		}
	}
}

// ask sends a preflight for an origin to the upstream's token endpoint, or to the
// one that the client called. It does not name DPoP, of which the upstream knows
// nothing. answered says that the upstream is there, whatever it said.
func (c *cors) ask(ctx context.Context, at *location, origin string) (a answer[allowance]) {
	path := withQuery(at.path, at.query)
	if at.own() {
		if len(at.providers) == 0 {
			return a
		}
		token, err := url.Parse(at.providers[0].Token)
		if err != nil {
			return a
		}
		path = token.RequestURI()
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodOptions, c.g.Upstream.Scheme+"://"+c.g.Upstream.Host+path, nil)
	if err != nil {
		return a
	}
	upstream.PublicName(out, c.g.Public)
	out.Header.Set("Origin", origin)
	out.Header.Set(requestMethod, http.MethodPost)
	resp, err := c.g.Transport.RoundTrip(out)
	if err != nil {
		return a
	}
	resp.Body.Close()
	a.value, a.yes = allowanceIn(resp.Header, origin)
	a.there = resp.StatusCode < 500
	return a
}

// auth0Client is a field that Auth0's SDKs send of themselves, and no other
// provider knows.
const auth0Client = "Auth0-Client"

// traceFields are the fields that a tracer in the page adds to its requests (W3C Trace
// Context, W3C Baggage).
const traceFields = "traceparent, tracestate, baggage"

// overridden says whether a request has a field by which some upstreams read
// another method than its own, in whatever spelling: behind CGI _ is -.
func overridden(r *http.Request) bool {
	for name, values := range r.Header {
		switch strings.ReplaceAll(strings.ToLower(name), "_", "-") {
		case "x-http-method-override", "x-http-method", "x-method-override":
			if slices.ContainsFunc(values, func(v string) bool { return v != "" && !strings.EqualFold(strings.TrimSpace(v), r.Method) }) {
				return true
			}
		}
	}
	return false
}

// checkMethod refuses what an upstream could read as a POST that the gateway has
// not looked into.
func checkMethod(r *http.Request, at *location) *ortengine.Error {
	if carriesORT(r.URL.RawQuery) {
		return invalidRequest("An online refresh token belongs in the body of a POST")
	}
	plain := r.Method == http.MethodOptions || (r.Method == http.MethodGet || r.Method == http.MethodHead) && !at.postOnly()
	if !plain || overridden(r) || r.ContentLength != 0 {
		return refusal(http.StatusMethodNotAllowed, ortengine.InvalidRequest, "This endpoint takes POST")
	}
	return nil
}

// postOnly says whether a GET is nothing at an endpoint (RFC 6749 section 3.2, RFC
// 8628 section 3.1, RFC 9126 section 2.1), though there are upstreams that take
// one.
func (l *location) postOnly() bool {
	return l.kind == endpointToken || l.kind == endpointDevice || l.kind == endpointBackchannel || l.kind == endpointPAR
}

// crossOrigin handles what is no POST at an endpoint for POSTs: preflights, and
// whatever else passes.
func (g *Gateway) crossOrigin(w http.ResponseWriter, r *http.Request, at *location) error {
	if e := checkMethod(r, at); e != nil {
		w.Header().Set("Allow", "POST, OPTIONS")
		return e
	}
	preflight := r.Method == http.MethodOptions && r.Header.Get(requestMethod) != ""
	switch {
	case !preflight && at.own():
		allow := http.MethodGet
		if at.path == ownRevocation {
			allow = http.MethodPost
		}
		w.Header().Set("Allow", allow)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	case !preflight || !at.crossOrigin():
		return g.passThrough(w, r, at)
	}
	if g.CORSOrigins != nil || at.own() {
		g.cors.preflight(w, r, at)
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.UpstreamTimeout)
	defer cancel()
	out := g.forwarder.outgoing(ctx, r, requestEdit{})
	g.withheld(out, r)
	if !g.DPoPUpstream {
		dropRequested(out.Header, "dpop")
	}
	if g.Auth0.Paths {
		dropRequested(out.Header, auth0Client)
	}
	g.forwarder.send(w, r, out, func(resp *http.Response) error {
		if resp.Header.Get(allowOrigin) != "" {
			addToList(resp.Header, allowHeaders, "DPoP")
			if g.Auth0.Paths {
				addToList(resp.Header, allowHeaders, auth0Client)
			}
		}
		return nil
	})
	return nil
}

// dropRequested takes a field name out of what a preflight asks for.
func dropRequested(h http.Header, name string) {
	asked := strings.Split(strings.Join(h.Values(requestHeaders), ","), ",")
	left := slices.DeleteFunc(asked, func(s string) bool { s = strings.TrimSpace(s); return s == "" || strings.EqualFold(s, name) })
	if len(left) == 0 {
		h.Del(requestHeaders)
		return
	}
	h.Set(requestHeaders, strings.Join(left, ","))
}

// preflight answers one that the upstream cannot: for the gateway's own paths,
// or where ORT_CORS_ORIGINS decides.
func (c *cors) preflight(w http.ResponseWriter, r *http.Request, at *location) {
	h := w.Header()
	c.decorate(h, r, at, "")
	if h.Get(allowOrigin) != "" {
		h.Del(exposeHeaders)
		h.Set(allowHeaders, "Authorization, Content-Type, DPoP, "+traceFields)
		if c.g.Auth0.Paths {
			addToList(h, allowHeaders, auth0Client)
		}
		h.Set(allowMethods, "GET, POST")
		h.Set(maxAge, "600")
	}
	w.WriteHeader(http.StatusNoContent)
}
