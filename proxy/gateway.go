package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/metrics"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// Config is what a Gateway needs.
type Config struct {
	Public         *url.URL // the public origin: scheme and host
	Issuers        []string
	Upstream       *url.URL // where the identity provider listens
	Transport      http.RoundTripper
	TrustedProxies []netip.Prefix

	Engine   *ortengine.Engine
	Metadata *upstream.Metadata
	Keys     *upstream.Keys // of the issuers, for logout tokens and id_token_hint
	Cookies  *seal.Box      // for the browser cookie
	// LoginCookies are the names of the upstream's own cookies that carry its login.
	LoginCookies []string
	Verifier     *dpop.Verifier
	// DPoPUpstream says that the upstream is the authority: proofs are forwarded.
	DPoPUpstream bool
	DPoPAlgs     []string // for the discovery document

	Absolute        time.Duration // the sessions' absolute timeout
	UpstreamTimeout time.Duration // for an answer of the upstream's token-like endpoints
	// UpstreamScope is what online_access becomes upstream; nil: as the upstream is
	// known to want it.
	UpstreamScope   []string
	UpstreamConsent bool     // add prompt=consent where offline_access is added
	CORSOrigins     []string // nil: the upstream decides
	MaxStreams      int      // bound on open event streams; 0: none are served
	Auth0           Auth0

	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger
	Metrics *metrics.Metrics
}

// Gateway is the public face of the identity provider.
type Gateway struct {
	Config
	forwarder *forwarder
	browsers  *browsers
	cors      *cors
	logins    *loginCookies
	owners    *redirectOwners
	blind     *recent[[sha256.Size]byte, string] // redirect_uris, by the state, of requests whose browser could not be told
	pushed    *recent[[sha256.Size]byte, string] // where errors of pushed requests go that nothing is recorded of
	rewritten *recent[string, struct{}]          // code challenges that the gateway put into requests of online-only clients
	streams   *streams
	held      memory       // of request bodies
	own       http.Handler // below /_ort/
	routes    atomic.Pointer[routes]
	handlers  [endpointCount]handler
}

// handler answers an intercepted request; its error is written by the gateway.
type handler func(w http.ResponseWriter, r *http.Request, at *location) error

// New checks the configuration. Nothing is served before [Gateway.Learn] was
// told of the upstream's endpoints.
func New(c Config) (*Gateway, error) {
	switch {
	case c.Public == nil || c.Upstream == nil || c.Transport == nil:
		return nil, errors.New("proxy: Public, Upstream and Transport must be set")
	case c.Engine == nil || c.Metadata == nil || c.Cookies == nil || c.Verifier == nil:
		return nil, errors.New("proxy: Engine, Metadata, Cookies and Verifier must be set")
	case c.UpstreamTimeout <= 0 || c.Absolute <= 0:
		return nil, errors.New("proxy: UpstreamTimeout and Absolute must be positive")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = ortengine.BoundLog(c.Logger, c.Now)
	g := &Gateway{Config: c, browsers: newBrowsers(c.Cookies, c.Public.Scheme == "https", c.Absolute), streams: newStreams(c.MaxStreams)}
	g.forwarder = newForwarder(forwardConfig{
		Upstream: c.Upstream, Public: c.Public, TrustedProxies: c.TrustedProxies, Transport: c.Metrics.Timed(c.Transport, endpointOf),
		CookieNames: []string{secureCookie, plainCookie}, Logger: c.Logger, Unavailable: g.badGateway,
	})
	g.held.limit = maxHeld
	g.cors = newCORS(g)
	g.logins = &loginCookies{names: c.LoginCookies, now: c.Now}
	g.owners = newRedirectOwners(g)
	g.rewritten = newRecent[string, struct{}](maxRewritten, c.Now)
	g.pushed = newRecent[[sha256.Size]byte, string](maxPushed, c.Now)
	g.blind = newRecent[[sha256.Size]byte, string](maxBlind, c.Now)
	g.handlers = [endpointCount]handler{
		endpointAuthorization: g.authorize,   // RFC 6749 section 3.1
		endpointPAR:           g.push,        // RFC 9126
		endpointToken:         g.token,       // RFC 6749 section 3.2
		endpointRevocation:    g.revoke,      // RFC 7009
		endpointIntrospection: g.introspect,  // RFC 7662
		endpointDevice:        g.device,      // RFC 8628
		endpointBackchannel:   g.device,      // OpenID Connect CIBA
		endpointEndSession:    g.endSession,  // OIDC RP-Initiated Logout
		endpointDiscovery:     g.discover,    // OIDC Discovery, RFC 8414
		endpointUserinfo:      g.passThrough, // OIDC Core section 5.3
		endpointJWKS:          g.passThrough, // RFC 7517
	}
	g.own = g.ownRoutes()
	return g, nil
}

// ownRoutes are the gateway's own paths, all below /_ort/.
func (g *Gateway) ownRoutes() http.Handler {
	r := mux.NewRouter().SkipClean(true)
	at := func(path string, h handler, methods ...string) {
		r.Path(path).Methods(append(methods, http.MethodOptions)...).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.answer(w, r, h, &location{kind: endpointOwn, path: path, providers: g.providers()})
		})
	}
	at("/_ort/session", g.session, http.MethodGet)
	at("/_ort/session/events", g.events, http.MethodGet)
	at(ownRevocation, g.revokeOwn, http.MethodPost)
	at("/_ort/backchannel-logout", g.backchannelLogout, http.MethodPost)
	return r
}

// ServeHTTP finds out which endpoint a request is for.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer g.fault(r)
	known := g.routes.Load()
	if known == nil {
		ctx, cancel := context.WithTimeout(r.Context(), g.UpstreamTimeout)
		g.Metadata.Retry(ctx)
		cancel()
		if known = g.routes.Load(); known == nil {
			g.notReady(w, r)
			return
		}
	}
	r = withoutHopFields(r)
	at := known.find(r)
	switch {
	case at == nil:
		g.plain(w, r)
	case at.kind == endpointAmbiguous:
		g.answer(w, r, ambiguous, at)
	case at.kind == endpointOwn:
		g.own.ServeHTTP(w, r)
	default:
		g.answer(w, r, g.handlers[at.kind], at)
	}
}

// ambiguous refuses a path that is one endpoint or another, by who reads it: what
// was checked might not be what the upstream does.
func ambiguous(http.ResponseWriter, *http.Request, *location) error {
	return invalidRequest("The path can be read in more than one way")
}

// fault logs where a request panicked, and ends its connection. The server would log
// what it panicked with, too, which may hold a secret, and is kept from logging any of
// it (serverLog).
func (g *Gateway) fault(r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler {
		g.Logger.LogAttrs(g.forwarder.withIDs(r).Context(), slog.LevelError, "a request panicked",
			slog.String("panic", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
	}
	panic(http.ErrAbortHandler)
}

// plain forwards a request that the gateway has nothing to do with.
func (g *Gateway) plain(w http.ResponseWriter, r *http.Request) {
	if len(g.logins.in(r.Header)) == 0 {
		g.forwarder.forward(w, r, func(resp *http.Response) error {
			g.Metrics.Request("forward", resp.StatusCode)
			return g.seen(r, resp, "", nil)
		})
		return
	}
	r = g.forwarder.withIDs(r)
	out := g.forwarder.outgoing(r.Context(), r, requestEdit{})
	sent := g.withheld(out, r)
	g.forwarder.send(w, r, out, func(resp *http.Response) error {
		g.Metrics.Request("forward", resp.StatusCode)
		return g.seen(r, resp, "", sent)
	})
}

// passThrough forwards a request to an endpoint that is known, and no more.
func (g *Gateway) passThrough(w http.ResponseWriter, r *http.Request, _ *location) error {
	return g.sendTimed(w, r, requestEdit{}, false, func(resp *http.Response, sent []sessions.CookieHash) error {
		return g.seen(r, resp, "", sent)
	})
}

// sendTimed sends a request to an endpoint that is known, without dead login
// cookies; the answer has to begin within the upstream time-out. strict says that
// nothing goes up where the store cannot tell which are dead. observe is told
// which login cookies went up.
func (g *Gateway) sendTimed(w http.ResponseWriter, r *http.Request, edit requestEdit, strict bool, observe func(*http.Response, []sessions.CookieHash) error) error {
	out := g.forwarder.outgoing(r.Context(), r, edit)
	sent, err := g.withhold(out, g.logins.in(r.Header))
	if err != nil && strict {
		return err
	}
	g.notLookedUp(r.Context(), err)
	g.sendInTime(w, r, out, func(resp *http.Response) error { return observe(resp, sent) })
	return nil
}

// sendInTime sends a request whose answer has to begin within the upstream time-out.
func (g *Gateway) sendInTime(w http.ResponseWriter, r, out *http.Request, observe func(*http.Response) error) {
	ctx, cancel := context.WithCancelCause(out.Context())
	defer cancel(nil)
	patience := time.AfterFunc(g.UpstreamTimeout, func() { cancel(errSilent) })
	defer patience.Stop()
	g.forwarder.send(w, r, out.WithContext(ctx), func(resp *http.Response) error {
		patience.Stop()
		return observe(resp)
	})
}

// errSilent: the upstream did not begin to answer in time.
var errSilent = errors.New("the upstream is silent")

// answer runs a handler, writes its error, and counts.
func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, h handler, at *location) {
	r, release := g.holding(g.forwarder.withIDs(r))
	defer release()
	r = r.WithContext(context.WithValue(r.Context(), endpointKey, at))
	counted := &statusWriter{ResponseWriter: w}
	err := g.handle(counted, r, h, at)
	if err != nil {
		endUnread(counted, r)
		g.refuse(counted, r, at, ortengine.AsError(err))
	}
	g.Metrics.Request(at.name(), counted.status())
}

// endUnread keeps a refusal from waiting for the rest of a body that nobody reads:
// the server would, before it writes the answer.
func endUnread(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
	}
}

func (g *Gateway) handle(w http.ResponseWriter, r *http.Request, h handler, at *location) error {
	if at.alias == "" && !g.Auth0.Paths {
		return h(w, r, at)
	}
	if at.alias != "" && (at.kind == endpointAuthorization || at.kind == endpointEndSession) {
		g.leadToOwn(w, r, at)
		return nil
	}
	translated, e := g.translate(w, r, at)
	if e != nil {
		g.cors.decorate(w.Header(), r, at, "")
		return e
	}
	return h(w, translated, at)
}

// refuse writes an error in the form that its endpoint's users read.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, at *location, e *ortengine.Error) {
	level := slog.LevelDebug
	if e.Status >= 500 {
		level = slog.LevelWarn
	}
	g.Logger.LogAttrs(r.Context(), level, "request refused", slog.String("endpoint", at.name()), slog.Int("status", e.Status),
		slog.String("code", e.Code), slog.String("why", e.Description), slog.Any("error", e.Cause))
	if at.kind == endpointAuthorization || at.kind == endpointEndSession {
		writePage(w, e)
		return
	}
	if nonce := g.Verifier.Nonce(); nonce != "" && useNonce(e) {
		w.Header().Set("DPoP-Nonce", nonce)
	}
	writeError(w, e)
}

// badGateway answers for an upstream that cannot be reached. Of the path the log
// gets no ";…": servlet containers keep a session's cookie there.
func (g *Gateway) badGateway(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil { // the client left: nobody reads this
		panic(http.ErrAbortHandler)
	}
	g.Logger.LogAttrs(g.forwarder.withIDs(r).Context(), slog.LevelWarn, "the upstream does not answer", slog.String("path", string(cutParameters([]byte(r.URL.Path)))), slog.Any("error", err))
	var e *ortengine.Error
	if !errors.As(err, &e) {
		g.Metrics.Request("forward", http.StatusBadGateway)
		e = refusal(http.StatusBadGateway, ortengine.ServerError, "The identity provider does not answer")
	}
	writePage(w, e)
}

// notReady answers while the upstream's endpoints are not known.
func (g *Gateway) notReady(w http.ResponseWriter, r *http.Request) {
	g.Metrics.Request("other", http.StatusServiceUnavailable)
	e := ortengine.Unavailable("upstream_unavailable", "The identity provider is not known yet", nil)
	if r.Method == http.MethodPost {
		writeError(w, e)
		return
	}
	writePage(w, e)
}

// Close ends what is open: event streams are told to come back.
func (g *Gateway) Close() { g.streams.close() }

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
