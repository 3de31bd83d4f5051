package proxy

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestForwardUpstreamDownIs502(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // really refuses
	g := startGate(t, addr)
	for _, raw := range []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nok"} {
		if res := g.get(t, raw); res.StatusCode != 502 {
			t.Errorf("status %d, want 502", res.StatusCode)
		}
	}
	if len(g.failed) != 3 || !errors.Is(g.failed[0], syscall.ECONNREFUSED) {
		t.Errorf("Unavailable was told %v", g.failed)
	}
}

func TestForwardUpstreamBreaksBeforeHeaderIs502(t *testing.T) {
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Le", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"} {
		up := startWire(t, func(c *upstreamConn) { c.request(); io.WriteString(c, answer) })
		g := startGate(t, up.Addr().String())
		if res := g.get(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok"); res.StatusCode != 502 {
			t.Errorf("%q: status %d, want 502", answer, res.StatusCode)
		}
		up.only(t)
	}
}

// A short answer must never look complete.
func TestForwardUpstreamBreaksInBody(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
	} {
		up := startWire(t, func(c *upstreamConn) { c.request(); io.WriteString(c, answer) })
		g := startGate(t, up.Addr().String())
		got := g.dial(t).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").rest()
		if strings.HasSuffix(got, "0\r\n\r\n") || strings.Contains(answer, "Content-Length") && len(got) > len(answer) {
			t.Errorf("%q: client saw %q", answer, got)
		}
		if !strings.Contains(got, "half") {
			t.Errorf("%q: client saw %q, without what had come", answer, got)
		}
	}
}

func TestForwardClientGoneEndsUpstreamRequest(t *testing.T) {
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"} {
		started, ended := make(chan struct{}), make(chan error, 1)
		up := startWire(t, func(c *upstreamConn) {
			c.request()
			io.WriteString(c, answer)
			close(started)
			_, err := c.r.ReadByte()
			ended <- err
		})
		g := startGate(t, up.Addr().String())
		c := g.dial(t).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		<-started
		if answer != "" {
			c.head()
		}
		c.Close()
		if err := <-ended; err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("upstream connection: %v", err)
		}
	}
}

func TestForwardClientBreaksBody(t *testing.T) {
	for _, raw := range []string{
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
	} {
		ended := make(chan error, 1)
		up := startWire(t, func(c *upstreamConn) {
			c.head()
			_, err := io.ReadAll(c.r)
			ended <- err
		})
		g := startGate(t, up.Addr().String())
		got := g.dial(t).send(raw).rest()
		if !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("client saw %q", got)
		}
		<-ended // without the last chunk: request() would have waited
	}
}

// staleUpstream answers the first request of a connection and closes it at the
// second.
func staleUpstream(t *testing.T) *wireUpstream {
	return startWire(t, func(c *upstreamConn) {
		c.request()
		io.WriteString(c, okAnswer)
		c.request()
	})
}

func TestForwardNeverSendsTwice(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		want      int
	}{
		{"POST with body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok", 502},
		{"POST without body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 502},
		{"POST with an idempotency key", "POST / HTTP/1.1\r\nHost: h\r\nIdempotency-Key: x\r\nContent-Length: 0\r\n\r\n", 502},
		{"POST, key and body", "POST / HTTP/1.1\r\nHost: h\r\nX-Idempotency-Key: x\r\nContent-Length: 2\r\n\r\nok", 502},
		{"DELETE", "DELETE / HTTP/1.1\r\nHost: h\r\nIdempotency-Key: x\r\n\r\n", 502},
		{"GET with body", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok", 502},
		{"GET", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := staleUpstream(t)
			g := startGate(t, up.Addr().String())
			g.get(t, "GET /first HTTP/1.1\r\nHost: h\r\n\r\n")
			if res := g.get(t, c.raw); res.StatusCode != c.want {
				t.Errorf("status %d, want %d", res.StatusCode, c.want)
			}
			want := 2
			if c.want == 200 {
				want = 3 // the transport may repeat what is safe
			}
			if seen := up.requests(); len(seen) != want {
				t.Errorf("upstream saw %q", seen)
			}
		})
	}
}
