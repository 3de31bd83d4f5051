package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
)

func TestForwardKeepsTarget(t *testing.T) {
	for _, target := range []string{
		"/", "/a", "/a/", "//", "//evil/token", "//evil/token?x=1", "///a", "/a//b", "/a/../b", "/./a", "/a/..",
		"/%2F", "/a%2Fb", "/a%2fb", "/%74oken", "/a;b=c/d", "/a|b", "/a\"b<c>d", "/{x}", "/`^", `/a\b`, "/a'b(c)*!$&+,=:@", "/a[b]",
		"/caf\xc3\xa9", "/\xff\xfe", "/a#b", "/a?b#c", "/%e4", "/~a-b_c.d",
		"/?", "/?a", "/?a=", "/?=", "/?&", "/?a=1&a=2&", "/?a=b;c=d", "/?a=%zz", "/?%", "/?a=%", "/?a=1?b=2", "/?a=b+c%20d", "/?a=\"|{}<>\\^`",
		"/?a=\xff", "/a??b", "//a?", "//a%2Fb?", "/?a=//b", "/a:b", "/http://x/y", "/*",
	} {
		t.Run(target, func(t *testing.T) {
			up := startWire(t, nil)
			g := startGate(t, up.Addr().String())
			if res := g.get(t, "GET "+target+" HTTP/1.1\r\nHost: login.example\r\n\r\n"); res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
			line, _, _ := strings.Cut(up.only(t), "\r\n")
			if want := "GET " + target + " HTTP/1.1"; line != want {
				t.Errorf("upstream saw %q, want %q", line, want)
			}
		})
	}
}

func TestForwardTwoSlashesAndRawByteInAbsoluteForm(t *testing.T) {
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String())
	g.get(t, "GET //evil/a|b?c|d HTTP/1.1\r\nHost: login.example\r\n\r\n")
	line, rest, _ := strings.Cut(up.only(t), "\r\n")
	if want := "GET http://login.example//evil/a|b?c|d HTTP/1.1"; line != want {
		t.Errorf("upstream saw %q, want %q", line, want)
	}
	if !strings.HasPrefix(rest, "Host: login.example\r\n") {
		t.Errorf("host changed: %q", rest)
	}
}

func TestForwardAbsoluteFormBecomesOriginForm(t *testing.T) {
	for target, want := range map[string]string{
		"http://other.example/a|b?c":  "/a|b?c",
		"https://other.example":       "/",
		"https://other.example?x=%zz": "/?x=%zz",
	} {
		up := startWire(t, nil)
		g := startGate(t, up.Addr().String())
		g.get(t, "GET "+target+" HTTP/1.1\r\nHost: login.example\r\n\r\n")
		got := up.only(t)
		if line, _, _ := strings.Cut(got, "\r\n"); line != "GET "+want+" HTTP/1.1" {
			t.Errorf("%s: upstream saw %q", target, line)
		}
		if host := fieldOf(got, "Host"); host != "other.example" { // RFC 9112 section 3.2.2
			t.Errorf("%s: Host %q", target, host)
		}
	}
}

func TestForwardMethods(t *testing.T) {
	for _, raw := range []string{"OPTIONS *", "OPTIONS /a", "PROPFIND /a", "DELETE /a", "get /a", "QUERY /a", "M-SEARCH /"} {
		up := startWire(t, nil)
		g := startGate(t, up.Addr().String())
		g.get(t, raw+" HTTP/1.1\r\nHost: login.example\r\n\r\n")
		if line, _, _ := strings.Cut(up.only(t), "\r\n"); line != raw+" HTTP/1.1" {
			t.Errorf("upstream saw %q, want %q", line, raw)
		}
	}
}

func TestForwardConnectAndTraceNotAllowed(t *testing.T) {
	for _, line := range []string{"CONNECT evil.example:443", "CONNECT /a", "TRACE /a"} {
		up := startWire(t, nil)
		g := startGate(t, up.Addr().String())
		if res := g.get(t, line+" HTTP/1.1\r\nHost: login.example\r\n\r\n"); res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d, want 405", line, res.StatusCode)
		}
		if seen := up.requests(); len(seen) != 0 {
			t.Errorf("%s: upstream saw %q", line, seen)
		}
	}
}

func TestForwardAddsNothing(t *testing.T) {
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String())
	head := g.dial(t).send("GET / HTTP/1.1\r\nHost: login.example:8443\r\n\r\n").head()
	want := "GET / HTTP/1.1\r\nHost: login.example:8443\r\nX-Forwarded-For: 127.0.0.1\r\n" +
		"X-Forwarded-Host: login.example\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\n\r\n"
	if got := up.only(t); got != want {
		t.Errorf("upstream saw\n%q, want\n%q", got, want)
	}
	if want := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"; head != want {
		t.Errorf("client saw\n%q, want\n%q", head, want)
	}
}

func TestForwardKeepsRequestFields(t *testing.T) {
	fields := []string{
		"Accept: a, b", "Accept: c", "Accept:", "Authorization: Bearer x", "Cookie: a=1;b=2; c=\"3\"", "Cookie: d=4",
		"User-Agent: x (y)", "X-Custom: \x80\xff", "X-Empty:", "Dpop: a", "Dpop: b", "Via: 1.0 a", "Max-Forwards: 3", "Range: bytes=0-1",
		"Origin: null", "Accept-Encoding: gzip;q=0", "Cache-Control: no-cache", "Date: x", "X-Request-Id: y", "X_under: z",
	}
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String())
	g.get(t, "GET / HTTP/1.1\r\nHost: h\r\n"+strings.Join(fields, "\r\n")+"\r\n\r\n")
	head := up.only(t)
	want := map[string][]string{}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, ":")
		want[k] = append(want[k], strings.TrimPrefix(v, " "))
	}
	for k, v := range want {
		if got := fieldsOf(head, k); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", v) {
			t.Errorf("%s: got %q, want %q", k, got, v)
		}
	}
}

func TestForwardKeepsOddUserAgents(t *testing.T) {
	for _, agents := range [][]string{{""}, {"a", "b"}, {"", "b"}} {
		up := startWire(t, nil)
		g := startGate(t, up.Addr().String())
		raw := "GET / HTTP/1.1\r\nHost: h\r\n"
		for _, a := range agents {
			raw += "User-Agent: " + a + "\r\n"
		}
		g.get(t, raw+"\r\n")
		if got := fieldsOf(up.only(t), "User-Agent"); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", agents) {
			t.Errorf("got %q, want %q", got, agents)
		}
	}
}

func TestForwardEmptyHostIsThePublicOne(t *testing.T) {
	for _, raw := range []string{"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"} {
		up := startWire(t, nil)
		g := startGate(t, up.Addr().String())
		g.get(t, raw)
		if host := fieldOf(up.only(t), "Host"); host != "login.example" {
			t.Errorf("Host %q", host)
		}
	}
}

func TestForwardRemovesHopByHopFields(t *testing.T) {
	up := startWire(t, func(c *upstreamConn) {
		c.request()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"+
			"Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-End: 2\r\n\r\nok")
	})
	g := startGate(t, up.Addr().String())
	head := g.dial(t).send("GET / HTTP/1.1\r\nHost: h\r\nConnection: x-hop , keep-alive\r\nConnection: X-Forwarded-For, Close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n" +
		"Proxy-Connection: x\r\nProxy-Authorization: x\r\nTE: gzip, trailers;q=0.5\r\nUpgrade: h2c\r\nX-End: 2\r\n\r\n").head()
	up1 := up.only(t)
	for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Upgrade", "Connection"} {
		if v := fieldsOf(up1, name); v != nil {
			t.Errorf("upstream saw %s: %q", name, v)
		}
		if v := fieldsOf(head, name); v != nil && name != "Connection" {
			t.Errorf("client saw %s: %q", name, v)
		}
	}
	if got := fieldOf(up1, "TE"); got != "trailers" {
		t.Errorf("TE %q, want trailers", got)
	}
	if got := fieldOf(up1, "X-Forwarded-For"); got != "127.0.0.1" {
		t.Errorf("a client removed X-Forwarded-For: %q", got)
	}
	if fieldOf(up1, "X-End") != "2" || fieldOf(head, "X-End") != "2" {
		t.Error("an end-to-end field is gone")
	}
}

func TestForwardCutsOwnCookies(t *testing.T) {
	for _, c := range []struct{ name, sent, want string }{
		{"none", "a=1; b=2", "a=1; b=2"},
		{"like ours", "sort=1; ort2=2; ORT=3; x=ort; xort=1", "sort=1; ort2=2; ORT=3; x=ort; xort=1"},
		{"alone", "ort=x", ""},
		{"alone, secure", "__Host-ort=x", ""},
		{"both", "__Host-ort=x; ort=y", ""},
		{"first", "ort=x; a=1", "a=1"},
		{"last", "a=1; ort=x", "a=1"},
		{"middle", "a=1; __Host-ort=x=y; b=2", "a=1; b=2"},
		{"twice", "ort=1; a=1; ort=2; b=\"2\";c;  d=", "a=1; b=\"2\";c;  d="},
		{"no spaces", "a=1;ort=x;b=2", "a=1;b=2"},
		{"more spaces", "a=1;  ort = x;\tb=2;", "a=1;\tb=2;"},
		{"no value", "a=1; ort; b=2", "a=1; b=2"},
		{"empty value", "ort=; a=1", "a=1"},
		{"rest is empty", "; ort=x; ", ""},
		{"same names kept", "a=1; a=2; ort=x; a=1", "a=1; a=2; a=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := startWire(t, nil)
			g := startGate(t, up.Addr().String())
			g.get(t, "GET / HTTP/1.1\r\nHost: h\r\nCookie: "+c.sent+"\r\nCookie: z=9\r\nCookie: ort=q\r\n\r\n")
			want := []string{c.want, "z=9"}
			if c.want == "" {
				want = want[1:]
			}
			if got := fieldsOf(up.only(t), "Cookie"); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	t.Run("empty field removed", func(t *testing.T) {
		up := startWire(t, nil)
		g := startGate(t, up.Addr().String())
		g.get(t, "GET / HTTP/1.1\r\nHost: h\r\nCookie: ort=q\r\n\r\n")
		if got := fieldsOf(up.only(t), "Cookie"); got != nil {
			t.Errorf("got %q", got)
		}
	})
}

func TestForwardAnswers(t *testing.T) {
	const ask = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, c := range []struct{ name, ask, answer, want string }{
		{"known length", ask, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
		{"zero length", ask, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ""},
		{"chunked", ask, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""},
		{"chunked and empty", ask, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		{"no guessed type", ask, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", ""},
		{"type without value", ask, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: \r\n\r\n<html>", ""},
		{"values in order", ask, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: b=1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=1\r\n\r\n", ""},
		{"date kept", ask, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n", ""},
		{"encoded stays", ask, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", ""},
		{"HEAD with length", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", ""},
		{"HEAD without", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nEtag: \"x\"\r\n\r\n", ""},
		{"204", ask, "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", ""},
		{"304", ask, "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n", ""},
		{"304 with the GET's fields", ask, "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n",
			"HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\n"},
		{"redirect", ask, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.1/x?a=%zz|\r\n\r\n", ""},
		{"length overridden by chunks", ask, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		{"ends with the connection", ask, "HTTP/1.0 200 OK\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		{"status of its own", ask, "HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 299 status code 299\r\nContent-Length: 0\r\n\r\n"},
		{"426", ask, "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nContent-Length: 0\r\nUpgrade: websocket\r\n\r\n",
			"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nUpgrade: websocket\r\n\r\n"}, // the client asked to close
	} {
		t.Run(c.name, func(t *testing.T) {
			up := startWire(t, func(uc *upstreamConn) { uc.request(); io.WriteString(uc, c.answer) })
			g := startGate(t, up.Addr().String())
			conn := g.dial(t).send(strings.Replace(c.ask, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
			want := c.want
			if want == "" {
				want = c.answer
			}
			// That it ends is of our connection; the test asked for it.
			got := strings.Replace(conn.rest(), "Connection: close\r\n", "", 1)
			if sorted(got) != sorted(want) {
				t.Errorf("client saw\n%q, want\n%q", got, want)
			}
		})
	}
}

// sorted brings the fields of an answer into an order of their own; values of
// one field stay in theirs.
func sorted(answer string) string {
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	h := http.Header{}
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ":")
		h[textproto.CanonicalMIMEHeaderKey(k)] = append(h[textproto.CanonicalMIMEHeaderKey(k)], strings.TrimSpace(v))
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, lines[0])
	h.Write(&b)
	return b.String() + "\r\n" + body
}

func TestForwardOldClientGetsNoChunks(t *testing.T) {
	up := startWire(t, func(c *upstreamConn) {
		c.request()
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
	})
	g := startGate(t, up.Addr().String())
	got := g.dial(t).send("GET / HTTP/1.0\r\nHost: h\r\n\r\n").rest()
	if !strings.HasPrefix(got, "HTTP/1.0 200 OK\r\n") || !strings.HasSuffix(got, "\r\n\r\nok") || strings.Contains(got, "103") {
		t.Errorf("client saw %q", got)
	}
}

func TestForwardObserve(t *testing.T) {
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String())
	g.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.f.forward(w, r, func(res *http.Response) error {
			if r.URL.Path == "/no" {
				return errors.New("not this one")
			}
			res.Header.Set("X-Seen", strconv.Itoa(res.StatusCode))
			return nil
		})
	})
	if res := g.get(t, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); res.Header.Get("X-Seen") != "200" {
		t.Errorf("header %v", res.Header)
	}
	if res := g.get(t, "GET /no HTTP/1.1\r\nHost: h\r\n\r\n"); res.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d, want 502", res.StatusCode)
	}
}
