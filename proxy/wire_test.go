package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// socketWait bounds every read of these tests; nothing waits for it in a run
// that passes.
const socketWait = time.Minute

// wireUpstream speaks HTTP/1.1 by hand, so that it sees each byte and can
// answer with any.
type wireUpstream struct {
	net.Listener
	mu       sync.Mutex
	seen     []string // requests, as they came
	accepted int
}

// upstreamConn is one connection to a wireUpstream.
type upstreamConn struct {
	net.Conn
	r *bufio.Reader
	u *wireUpstream
}

// startWire runs serve for each connection to a new upstream. nil answers every
// request with okAnswer.
func startWire(t testing.TB, serve func(*upstreamConn)) *wireUpstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if serve == nil {
		serve = func(c *upstreamConn) {
			for c.request() != "" {
				io.WriteString(c, okAnswer)
			}
		}
	}
	u := &wireUpstream{Listener: l}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.accepted++
			u.mu.Unlock()
			running.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(socketWait))
				serve(&upstreamConn{c, bufio.NewReader(c), u})
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return u
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// head reads a request up to its empty line and remembers it; "" at the end.
func (c *upstreamConn) head() string {
	var b strings.Builder
	for !strings.HasSuffix(b.String(), "\r\n\r\n") {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return ""
		}
	}
	c.u.record(b.String())
	return b.String()
}

// request reads a request with its body, framing and all.
func (c *upstreamConn) request() string {
	head := c.head()
	if head == "" {
		return ""
	}
	body := c.body(head)
	c.u.mu.Lock()
	defer c.u.mu.Unlock()
	c.u.seen[len(c.u.seen)-1] = head + body
	return head + body
}

func (c *upstreamConn) body(head string) string {
	if strings.Contains(strings.ToLower(head), "transfer-encoding: chunked") {
		var b strings.Builder
		for !strings.HasSuffix(b.String(), "0\r\n\r\n") && !trailerEnd(b.String()) {
			line, err := c.r.ReadString('\n')
			b.WriteString(line)
			if err != nil {
				break
			}
		}
		return b.String()
	}
	n, _ := strconv.Atoi(fieldOf(head, "Content-Length"))
	b := make([]byte, n)
	n, _ = io.ReadFull(c.r, b)
	return string(b[:n])
}

func trailerEnd(s string) bool {
	_, trailer, ok := strings.Cut(s, "\r\n0\r\n")
	return ok && strings.HasSuffix(trailer, "\r\n\r\n")
}

func (u *wireUpstream) record(request string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, request)
}

func (u *wireUpstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.seen...)
}

// last returns the only request that came, and fails where there is none or
// more.
func (u *wireUpstream) only(t *testing.T) string {
	t.Helper()
	seen := u.requests()
	if len(seen) != 1 {
		t.Fatalf("upstream saw %d requests, want 1: %q", len(seen), seen)
	}
	return seen[0]
}

func fieldOf(head, name string) string {
	values := fieldsOf(head, name)
	return strings.Join(values, "|")
}

// fieldsOf returns the values of a field, in any spelling of its name.
func fieldsOf(head, name string) []string {
	var values []string
	head, _, _ = strings.Cut(head, "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n")[1:] {
		k, v, _ := strings.Cut(line, ":")
		if strings.EqualFold(k, name) {
			values = append(values, strings.TrimPrefix(v, " "))
		}
	}
	return values
}

// gate is a forwarder behind the public server.
type gate struct {
	addr   string
	public *url.URL
	f      *forwarder
	server *http.Server

	mu     sync.Mutex
	failed []error // what Unavailable was told
}

type gateOption func(*forwardConfig)

func trusting(prefixes ...string) gateOption {
	return func(c *forwardConfig) {
		for _, p := range prefixes {
			c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
		}
	}
}

// startGate runs a forwarder to the upstream at addr.
func startGate(t testing.TB, addr string, options ...gateOption) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, addr, options...)
	g.addr = l.Addr().String()
	g.serve(t, newIngress(l, nil))
	return g
}

func newGate(t testing.TB, addr string, options ...gateOption) *gate {
	t.Helper()
	g := &gate{public: &url.URL{Scheme: "https", Host: "login.example"}}
	transport := newTransport(nil, socketWait)
	c := forwardConfig{
		Upstream: &url.URL{Scheme: "http", Host: addr}, Public: g.public, Transport: transport,
		CookieNames: []string{"__Host-ort", "ort"},
		Unavailable: func(w http.ResponseWriter, r *http.Request, err error) {
			g.mu.Lock()
			g.failed = append(g.failed, err)
			g.mu.Unlock()
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	for _, o := range options {
		o(&c)
	}
	g.f = newForwarder(c)
	g.server = newPublicServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.f.forward(w, r, nil) }), nil)
	t.Cleanup(transport.CloseIdleConnections)
	return g
}

func (g *gate) serve(t testing.TB, l net.Listener) {
	var running sync.WaitGroup
	running.Go(func() { g.server.Serve(l) })
	t.Cleanup(func() { g.server.Close(); running.Wait() })
}

// client is a TCP connection to a gate.
type client struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func (g *gate) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(socketWait))
	return &client{c, bufio.NewReader(c), t}
}

func (c *client) send(raw string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// head reads an answer up to its empty line.
func (c *client) head() string {
	c.t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), "\r\n\r\n") {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			c.t.Fatalf("reading the answer's header: %v, got %q", err, b.String())
		}
	}
	return b.String()
}

func (c *client) read(n int) string {
	c.t.Helper()
	b := make([]byte, n)
	if m, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatalf("reading %d bytes: %v, got %q", n, err, b[:m])
	}
	return string(b)
}

// rest reads all until the gateway closes.
func (c *client) rest() string {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatalf("connection stays open after %q", b)
	}
	return string(b)
}

// get sends one request and returns the answer.
func (g *gate) get(t *testing.T, raw string) *http.Response {
	t.Helper()
	c := g.dial(t).send(raw)
	method, _, _ := strings.Cut(raw, " ")
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the answer's body: %v", err)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res
}
