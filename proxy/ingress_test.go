package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// piecesConn gives each piece to one read, then EOF.
type piecesConn struct {
	net.Conn
	pieces []string
}

func (c *piecesConn) Read(b []byte) (int, error) {
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; c.pieces[0] == "" {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

// all reads to the end; an EOF is no error.
func (c *ingressConn) all() ([]byte, error) {
	b, err := io.ReadAll(struct{ io.Reader }{c})
	return b, err
}

func selfSigned(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"login.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// startTLSGate also returns what a client needs to reach it.
func startTLSGate(t *testing.T, addr string) (*gate, *tls.Config) {
	t.Helper()
	server, pool := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, addr)
	g.addr = l.Addr().String()
	g.serve(t, newIngress(l, server))
	return g, &tls.Config{RootCAs: pool, ServerName: "login.example"}
}

func h2Client(t *testing.T, g *gate, tc *tls.Config) *http.Client {
	tr := &http.Transport{
		TLSClientConfig: tc, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", g.addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: socketWait}
}

func TestIngressHTTP2(t *testing.T) {
	up := startWire(t, func(c *upstreamConn) {
		for head := c.request(); head != ""; head = c.request() {
			if strings.HasPrefix(head, "POST") {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
				continue
			}
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"+okAnswer)
		}
	})
	g, tc := startTLSGate(t, up.Addr().String())
	client := h2Client(t, g, tc)

	req, _ := http.NewRequest("POST", "https://login.example/a%2Fb//c?x=%20;y", struct{ io.Reader }{strings.NewReader("body")})
	req.Header = http.Header{"Cookie": {"a=1; ort=2", "b=3"}, "User-Agent": nil, "Te": {"trailers"}}
	req.Trailer = http.Header{"X-End": {"1"}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.ProtoMajor != 2 || string(body) != "ok" || res.Trailer.Get("X-Sum") != "1" {
		t.Errorf("HTTP/%d, body %q, trailer %v", res.ProtoMajor, body, res.Trailer)
	}
	if want := (http.Header{}); fmt.Sprint(res.Header) != fmt.Sprint(want) {
		t.Errorf("client saw header %v", res.Header)
	}
	want := "POST /a%2Fb//c?x=%20;y HTTP/1.1\r\nHost: login.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n" +
		"Connection: TE\r\nCookie: a=1; b=3\r\nTe: trailers\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: login.example\r\n" +
		"X-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\n\r\n4\r\nbody\r\n0\r\nX-End: 1\r\n\r\n"
	if got := up.only(t); got != want {
		t.Errorf("upstream saw\n%q, want\n%q", got, want)
	}

	res, err = client.Get("https://login.example/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := fmt.Sprint(res.Header); got != "map[Content-Length:[2]]" {
		t.Errorf("client saw header %s", got)
	}
}

// An HTTP/2 path may hold bytes that end an HTTP/1.1 request line.
func TestIngressHTTP2TargetOfTwo(t *testing.T) {
	for _, target := range []string{"/a HTTP/1.1", "/a b", "/a?b c"} {
		r := &http.Request{Method: "GET", RequestURI: target, ProtoMajor: 2, Host: "h", URL: &url.URL{Path: "/"}}
		if got := unforwardable(r); got != http.StatusBadRequest {
			t.Errorf("%q: %d, want 400", target, got)
		}
	}
}

// Both lengths are refused by whoever sees them first, behind a listener that does not
// look at the framing too (RFC 9112 section 6.1).
func TestBothLengths(t *testing.T) {
	r := &http.Request{
		Method: "POST", RequestURI: "/", ProtoMajor: 1, Host: "h", URL: &url.URL{Path: "/"},
		TransferEncoding: []string{"chunked"}, Header: http.Header{"Content-Length": {"1"}},
	}
	if got := unforwardable(r); got != http.StatusBadRequest {
		t.Errorf("%d, want 400", got)
	}
}

func TestIngressHTTP1OverTLS(t *testing.T) {
	up := startWire(t, nil)
	g, tc := startTLSGate(t, up.Addr().String())
	for raw, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n": "HTTP/1.1 200",
		"GET / HTTP/1.1\nHost: h\n\n":                            "HTTP/1.1 400",
	} {
		tc := tc.Clone()
		tc.NextProtos = []string{"http/1.1"}
		c, err := tls.Dial("tcp", g.addr, tc)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(socketWait))
		io.WriteString(c, raw)
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("%q: client saw %q, %v", raw, b, err)
		}
	}
}

func TestIngressPlainRequestToTLS(t *testing.T) {
	g, _ := startTLSGate(t, "127.0.0.1:1")
	if got := g.dial(t).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").rest(); !strings.HasPrefix(got, "HTTP/1.0 400") {
		t.Errorf("client saw %q", got)
	}
}

func TestIngressCloseEndsHandshakes(t *testing.T) {
	server, _ := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := newIngress(l, server)
	c, err := net.Dial("tcp", l.Addr().String()) // says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		in.Close()
	}
	if _, err := in.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

func TestServerLogKeepsNoRequestBytes(t *testing.T) {
	var b bytes.Buffer
	s := newPublicServer(http.NotFoundHandler(), slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s.ErrorLog.Printf("http: TLS handshake error from %s: %s", "192.0.2.1:1", "secret")
	s.ErrorLog.Printf("something else: %s", "secret")
	if got := b.String(); strings.Contains(got, "secret") || strings.Count(got, "level=DEBUG") != 2 {
		t.Errorf("logged %s", got)
	}
}
