package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-Websocket-Accept: x\r\nUpgrade: websocket\r\n\r\n"

const askSwitch = "GET /ws?a=b HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nCookie: ort=1; a=b\r\n\r\n"

func TestForwardUpgrade(t *testing.T) {
	up := startWire(t, func(c *upstreamConn) {
		c.request()
		io.WriteString(c, switching+"hello")
		io.Copy(c, c.r) // echoes bytes that are no HTTP
	})
	g := startGate(t, up.Addr().String())
	c := g.dial(t).send(askSwitch)
	if head := c.head(); head != switching {
		t.Errorf("client saw %q", head)
	}
	if got := c.read(5); got != "hello" {
		t.Errorf("client saw %q", got)
	}
	for _, frame := range []string{"\x81\x05\n\n\r\nx", "GET / HTTP/1.1\nContent-Length: 1\nTransfer-Encoding: chunked\n\n", "\x00"} {
		c.send(frame)
		if got := c.read(len(frame)); got != frame {
			t.Errorf("got %q back, want %q", got, frame)
		}
	}
	head := up.only(t)
	for name, want := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "k", "Cookie": "a=b"} {
		if got := fieldOf(head, name); got != want {
			t.Errorf("upstream saw %s: %q, want %q", name, got, want)
		}
	}
}

func TestForwardUpgradeEnds(t *testing.T) {
	t.Run("by the upstream", func(t *testing.T) {
		up := startWire(t, func(c *upstreamConn) { c.request(); io.WriteString(c, switching+"bye") })
		g := startGate(t, up.Addr().String())
		if got := g.dial(t).send(askSwitch).rest(); got != switching+"bye" {
			t.Errorf("client saw %q", got)
		}
	})
	t.Run("by the client", func(t *testing.T) {
		got := make(chan string, 1)
		up := startWire(t, func(c *upstreamConn) {
			c.request()
			io.WriteString(c, switching)
			b, _ := io.ReadAll(c.r)
			got <- string(b)
		})
		g := startGate(t, up.Addr().String())
		c := g.dial(t).send(askSwitch)
		c.head()
		c.send("bye")
		c.Close()
		if s := <-got; s != "bye" {
			t.Errorf("upstream saw %q", s)
		}
	})
}

func TestForwardUpgradeRefusedKeepsConnection(t *testing.T) {
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String())
	c := g.dial(t)
	for range 2 {
		c.send(askSwitch)
		if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 200") {
			t.Errorf("client saw %q", head)
		}
		c.read(2)
	}
	if c.send("GET / HTTP/1.1\nHost: h\n\n"); !strings.HasPrefix(c.rest(), "HTTP/1.1 400") {
		t.Error("framing is not checked any more")
	}
}

func TestForwardUpgradeUnasked(t *testing.T) {
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", // not named in Connection
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
	} {
		up := startWire(t, func(c *upstreamConn) { c.request(); io.WriteString(c, switching) })
		g := startGate(t, up.Addr().String())
		if res := g.get(t, raw); res.StatusCode != http.StatusBadGateway {
			t.Errorf("status %d, want 502", res.StatusCode)
		}
	}
}

func TestForwardNoUpgradeToH2C(t *testing.T) {
	for sent, want := range map[string]string{"h2c": "", "H2C": "", "h2c, websocket": "websocket", "websocket": "websocket"} {
		up := startWire(t, nil)
		g := startGate(t, up.Addr().String())
		g.get(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "+sent+"\r\nHTTP2-Settings: AAA\r\n\r\n")
		head := up.only(t)
		if got := fieldOf(head, "Upgrade"); got != want {
			t.Errorf("%s: upstream saw Upgrade: %q, want %q", sent, got, want)
		}
		if got := fieldOf(head, "HTTP2-Settings"); got != "" {
			t.Errorf("%s: upstream saw HTTP2-Settings: %q", sent, got)
		}
	}
}
