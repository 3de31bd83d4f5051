package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	maxHeaderBytes    = 64 << 10         // more is 431
	readHeaderTimeout = 10 * time.Second // from the first byte of a request; also a TLS handshake
	idleTimeout       = 2 * time.Minute
	maxTrailerBytes   = 2 << 10 // the server fails at 4 KiB, and could go on behind it
)

// newPublicServer is the server of the public listener. Serve it on a listener
// of newIngress: what HTTP/1.1 forbids but Go's server lets pass is refused
// there.
//
// There is no limit on the time of a request's body or answer: uploads and
// event streams may last. Handlers that read a body themselves set a read
// deadline.
func newPublicServer(handler http.Handler, logger *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:           publicHandler(handler, &memory{limit: maxHeads}),
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// "OPTIONS *" is a question to the upstream.
		DisableGeneralOptionsHandler: true,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250,
			SendPingTimeout:      30 * time.Second, // a peer that is gone holds no streams
			PingTimeout:          15 * time.Second,
		},
		ErrorLog:    log.New(serverLog{logger}, "", 0),
		ConnContext: knowIngress,
	}
}

type ingressKey struct{}

func knowIngress(ctx context.Context, c net.Conn) context.Context {
	if c := ingressOf(c); c != nil {
		return context.WithValue(ctx, ingressKey{}, c)
	}
	return ctx
}

// framingBroken reports whether the connection of r ended because a body was
// not framed as HTTP/1.1 asks. The server cancels r's context then, as if the
// client had left.
func framingBroken(r *http.Request) bool {
	c, ok := r.Context().Value(ingressKey{}).(*ingressConn)
	return ok && c.broken.Load()
}

func ingressOf(c net.Conn) *ingressConn {
	switch c := c.(type) {
	case *ingressConn:
		return c
	case *ingressTLSConn:
		return &c.ingressConn
	}
	return nil
}

// requestIsHere reports whether the server has got the whole of r, with its
// body.
func requestIsHere(r *http.Request) bool {
	c, ok := r.Context().Value(ingressKey{}).(*ingressConn)
	return ok && c.between.Load()
}

// publicHandler refuses what no handler must see, and makes room for request
// trailers that are not announced. heads bounds what the headers of all requests
// at work take together.
func publicHandler(next http.Handler, heads *memory) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held := account{all: heads}
		defer held.close()
		if !held.hold(headerSize(r)) {
			refuseRequest(w, r, http.StatusRequestHeaderFieldsTooLarge)
			return
		}
		if status := unforwardable(r); status != 0 {
			refuseRequest(w, r, status)
			return
		}
		if r.ContentLength < 0 && r.Trailer == nil {
			r.Trailer = make(http.Header) // the server merges into it; copies of r share it
		}
		next.ServeHTTP(w, r)
	})
}

// headerSize is about how much the header of a request takes, in bytes.
func headerSize(r *http.Request) int {
	n := len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// serverLog takes the server's own messages. They can hold bytes of a request,
// so of each only the part before the first colon pair is kept.
type serverLog struct{ logger *slog.Logger }

func (l serverLog) Write(p []byte) (int, error) {
	if l.logger != nil {
		l.logger.Debug("public listener", "event", serverEvent(string(p)))
	}
	return len(p), nil
}

var serverEvents = []string{"TLS handshake error", "panic serving", "superfluous response.WriteHeader", "Accept error", "http2"}

func serverEvent(msg string) string {
	for _, e := range serverEvents {
		if strings.Contains(msg, e) {
			return e
		}
	}
	return "other"
}

// newIngress makes the listener of the public server: l, with TLS where tc is
// not nil, and a check of the framing of every HTTP/1.1 request. Handshakes
// are done before Accept returns a connection, each in its own goroutine,
// because only then it is known which protocol follows.
func newIngress(l net.Listener, tc *tls.Config) net.Listener {
	heads := &memory{limit: maxHeads}
	if tc == nil {
		return &plainIngress{l, heads}
	}
	tc = tc.Clone()
	tc.NextProtos = []string{"h2", "http/1.1"}
	ctx, cancel := context.WithCancel(context.Background())
	t := &tlsIngress{Listener: l, heads: heads, config: tc, ctx: ctx, cancel: cancel, ready: make(chan net.Conn), failed: make(chan error, 1)}
	t.running.Go(t.accept)
	return t
}

type plainIngress struct {
	net.Listener
	heads *memory
}

func (l *plainIngress) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &ingressConn{Conn: c, held: &account{all: l.heads}}, nil
}

type tlsIngress struct {
	net.Listener
	heads   *memory
	config  *tls.Config
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	ready   chan net.Conn
	failed  chan error
	running sync.WaitGroup
}

func (l *tlsIngress) accept() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.failed <- err:
			case <-l.ctx.Done():
				return
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				continue // the server waits a while before it accepts again
			}
			return
		}
		l.running.Go(func() { l.handshake(c) })
	}
}

func (l *tlsIngress) handshake(c net.Conn) {
	ctx, cancel := context.WithTimeout(l.ctx, readHeaderTimeout)
	defer cancel()
	tc := tls.Server(c, l.config)
	if err := tc.HandshakeContext(ctx); err != nil {
		var re tls.RecordHeaderError
		if errors.As(err, &re) && re.Conn != nil {
			_ = re.Conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(re.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis port speaks HTTPS.\n")
		}
		_ = c.Close()
		return
	}
	var ready net.Conn = tc // HTTP/2: the server wants the *tls.Conn itself
	if tc.ConnectionState().NegotiatedProtocol != "h2" {
		ready = &ingressTLSConn{ingressConn{Conn: tc, held: &account{all: l.heads}}, tc}
	}
	select {
	case l.ready <- ready:
	case <-l.ctx.Done():
		_ = tc.Close()
	}
}

func (l *tlsIngress) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l *tlsIngress) Close() error {
	l.cancel()
	err := l.Listener.Close()
	l.running.Wait()
	return err
}

// ingressTLSConn lets the server see the TLS state.
type ingressTLSConn struct {
	ingressConn
	tls *tls.Conn
}

func (c *ingressTLSConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }
