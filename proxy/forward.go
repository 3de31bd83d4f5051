package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// forwardConfig says where requests go and how the upstream sees their sender.
type forwardConfig struct {
	Upstream       *url.URL       // scheme and host alone count; a path in it is not used
	Public         *url.URL       // public origin: scheme, host and perhaps port
	TrustedProxies []netip.Prefix // peers whose address headers are kept
	Transport      http.RoundTripper
	CookieNames    []string     // the gateway's own cookies, cut out of every Cookie field
	Logger         *slog.Logger // nil: nothing is logged

	// Unavailable answers a request that got no answer from the upstream.
	// Nothing has been written to w when it is called.
	Unavailable func(w http.ResponseWriter, r *http.Request, err error)
}

// forwarder passes requests to the upstream and answers back, unchanged but
// for what RFC 9110 section 7.6 asks of an intermediary, the address fields
// and the gateway's own cookies.
//
// It works on the bytes of the request target, never on the decoded path, and
// sends a request that is not idempotent at most once.
type forwarder struct {
	transport    http.RoundTripper
	scheme, host string // of the upstream
	public       publicOrigin
	trusted      []netip.Prefix
	cookies      []string
	cookieMark   string // occurs in the name of every own cookie
	log          *slog.Logger
	unavailable  func(http.ResponseWriter, *http.Request, error)
}

func newForwarder(c forwardConfig) *forwarder {
	f := &forwarder{
		transport:   c.Transport,
		scheme:      c.Upstream.Scheme,
		host:        c.Upstream.Host,
		public:      newPublicOrigin(c.Public),
		trusted:     c.TrustedProxies,
		cookies:     c.CookieNames,
		cookieMark:  sharedMark(c.CookieNames),
		log:         c.Logger,
		unavailable: c.Unavailable,
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.unavailable == nil {
		f.unavailable = func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, http.StatusText(http.StatusBadGateway), http.StatusBadGateway)
		}
	}
	return f
}

// newTransport makes the connections to the upstream. It asks for nothing by
// itself: no compression, no proxy of the environment. HTTP/1.1 only, since
// WebSocket upgrades need it. There is no limit on the wait for an answer's
// header: a long poll may be silent for as long as it likes.
func newTransport(ca *x509.CertPool, connectTimeout time.Duration) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: ca, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: connectTimeout,
		Protocols:           protocols,
		DisableCompression:  true,
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     time.Minute,
		// An upstream that knows nothing of Expect waits for the body; so does
		// the client, for its 100 (RFC 9110 section 10.1.1).
		ExpectContinueTimeout:  expectTimeout,
		MaxResponseHeaderBytes: 1 << 20,
	}
}

// forward sends the client's request unchanged and streams the answer.
//
// observe, where not nil, sees the answer before its header leaves, without
// hop-by-hop fields, and may change its header. An error from it makes the
// answer the Unavailable one. It sees a 101 too.
//
// When the upstream fails in the middle of an answer, or the client has left,
// forward panics with http.ErrAbortHandler: the connection must end, a short
// answer must not look complete.
func (f *forwarder) forward(w http.ResponseWriter, r *http.Request, observe func(*http.Response) error) {
	if status := unforwardable(r); status != 0 {
		refuseRequest(w, r, status)
		return
	}
	x := &exchange{f: f, w: w, r: r, observe: observe}
	x.run(f.outgoing(x.traced(r.Context()), r, requestEdit{}))
}

// send streams the answer to out, a request made by outgoing, as forward does.
func (f *forwarder) send(w http.ResponseWriter, r, out *http.Request, observe func(*http.Response) error) {
	x := &exchange{f: f, w: w, r: r, observe: observe}
	x.run(out.WithContext(x.traced(out.Context())))
}

// exchange is one request on its way up and its answer on its way down.
type exchange struct {
	f       *forwarder
	w       http.ResponseWriter
	r       *http.Request
	observe func(*http.Response) error
	body    *requestBody // nil where the request has none
	trace   httptrace.ClientTrace

	mu   sync.Mutex
	done bool // the final answer is here, w belongs to the handler again
}

func (x *exchange) traced(ctx context.Context) context.Context {
	x.trace.Got1xxResponse = x.interim
	return httptrace.WithClientTrace(ctx, &x.trace)
}

func (x *exchange) run(out *http.Request) {
	if b, ok := out.Body.(*requestBody); ok {
		x.body = b
		// The transport may go on reading the body when the answer has come,
		// but not after the handler's end.
		defer x.endBody()
	}
	res, err := x.f.transport.RoundTrip(out)
	x.mu.Lock()
	x.done = true
	x.mu.Unlock()
	if err != nil {
		x.fail(err)
		return
	}
	if x.body != nil {
		x.body.answered()
	}
	x.answer(out, res)
}

// fail answers a request whose answer never came.
func (x *exchange) fail(err error) {
	if x.body != nil && (x.body.failed.Load() || framingBroken(x.r)) {
		// The client's body ended early or broke the rules of its framing:
		// what follows on the connection cannot be a request.
		refuseRequest(x.w, x.r, http.StatusBadRequest)
		return
	}
	if x.r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is listening any more
	}
	x.unavailable(err)
}

func (x *exchange) unavailable(err error) {
	x.closeIfUnread()
	x.f.unavailable(x.w, x.r, err)
}

// lingering bounds the wait for the rest of a request body after its answer.
// A client that is still sending gets to read the answer meanwhile.
const lingering = time.Second

// closeIfUnread makes an answer that comes before the end of the request's
// body the last of its connection. Otherwise the server would discard from the
// body before it writes a header: bytes that are still being forwarded, or
// that a client sends only after the answer. And it would look for the next
// request behind a body that it could not read to its end.
func (x *exchange) closeIfUnread() {
	if x.body != nil && x.r.ProtoMajor == 1 && !x.body.atEnd.Load() {
		x.w.Header().Set("Connection", "close")
	}
}

func (x *exchange) endBody() {
	x.body.end()
	if x.r.ProtoMajor == 1 && !x.body.atEnd.Load() {
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(lingering))
	}
}

// interim passes a 1xx answer on (RFC 9110 section 15.2). It runs on the
// transport's goroutine while the handler waits.
func (x *exchange) interim(code int, header textproto.MIMEHeader) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done {
		return nil
	}
	if code == http.StatusContinue && x.body != nil {
		x.body.wanted()
	}
	if !x.r.ProtoAtLeast(1, 1) {
		return nil
	}
	// What the handler has put into the final header waits aside.
	h := x.w.Header()
	kept := make(http.Header, len(h))
	for k, vv := range h {
		kept[k] = vv
	}
	clear(h)
	removeHopByHop(http.Header(header))
	for k, vv := range header {
		h[k] = vv
	}
	x.w.WriteHeader(code)
	clear(h)
	for k, vv := range kept {
		h[k] = vv
	}
	return nil
}

// answer streams res to the client.
func (x *exchange) answer(out *http.Request, res *http.Response) {
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.upgrade(out, res)
		return
	}
	cleanResponse(res)
	if x.observe != nil {
		if err := x.observe(res); err != nil {
			res.Body.Close()
			x.unavailable(err)
			return
		}
	}
	x.addHeader(res)
	x.closeIfUnread()
	x.w.WriteHeader(res.StatusCode)
	if err := copyBody(x.w, x.r, res); err != nil {
		res.Body.Close()
		if x.r.Context().Err() == nil {
			x.f.log.DebugContext(x.f.withIDs(x.r).Context(), "answer ended early", "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	res.Body.Close()
	writeTrailers(x.w.Header(), res.Trailer)
}

// unforwardable returns the status that answers a request which must not go
// up, or 0. It repeats nothing that Go's server checks; what it adds is what
// HTTP/2 lets through and an HTTP/1.1 request line cannot carry.
func unforwardable(r *http.Request) int {
	switch r.Method {
	case http.MethodConnect, http.MethodTrace:
		return http.StatusMethodNotAllowed
	}
	target := r.RequestURI
	switch {
	case target == "": // not from a server
		target = r.URL.RequestURI()
	case target == "*" && r.Method != http.MethodOptions, r.URL.Opaque != "":
		return http.StatusBadRequest
	}
	for i := range len(target) {
		// A space would end the target early: "/a HTTP/1.1" as an HTTP/2 path.
		if c := target[i]; c <= ' ' || c == 0x7f {
			return http.StatusBadRequest
		}
	}
	if !validHost(r.Host) {
		return http.StatusBadRequest
	}
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 && len(r.Header["Content-Length"]) > 0 {
		return http.StatusBadRequest // RFC 9112 section 6.1: both lengths
	}
	return 0
}

// validHost reports whether a Host field may be passed on as it is. The
// transport would send another value, or none, in place of one that it takes
// for invalid, and a non-ASCII one in punycode.
func validHost(host string) bool {
	for i := range len(host) {
		c := host[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"#/<>?@\\^`{|}", c) >= 0 {
			return false
		}
	}
	return true
}

// refuseRequest answers a request of which nothing goes up. Over HTTP/1.1 it
// is the last of its connection.
func refuseRequest(w http.ResponseWriter, r *http.Request, status int) {
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	http.Error(w, http.StatusText(status), status)
}

// sharedMark returns the shortest name that all others contain, or "".
func sharedMark(names []string) string {
	if len(names) == 0 {
		return ""
	}
	mark := slices.MinFunc(names, func(a, b string) int { return len(a) - len(b) })
	for _, n := range names {
		if !strings.Contains(n, mark) {
			return ""
		}
	}
	return mark
}
