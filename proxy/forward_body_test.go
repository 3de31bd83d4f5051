package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestForwardKeepsLengthOfRequests(t *testing.T) {
	const ask, host = " /a HTTP/1.1\r\nHost: h\r\n", "Content-Type: x\r\n"
	for _, c := range []struct{ name, method, fields, body string }{
		{"known", "POST", "Content-Length: 3\r\n", "a=b"},
		{"known, of a GET", "GET", "Content-Length: 3\r\n", "a=b"},
		{"known, with leading zeros", "PUT", "Content-Length: 3\r\n", "a=b"},
		{"zero", "POST", "Content-Length: 0\r\n", ""},
		{"zero, of a GET", "GET", "Content-Length: 0\r\n", ""},
		{"zero, of a DELETE", "DELETE", "Content-Length: 0\r\n", ""},
		{"none, of a POST", "POST", "", ""},
		{"none, of a DELETE", "DELETE", "", ""},
		{"chunked", "POST", "Transfer-Encoding: chunked\r\n", "3\r\na=b\r\n0\r\n\r\n"},
		{"chunked, of a GET", "GET", "Transfer-Encoding: chunked\r\n", "3\r\na=b\r\n0\r\n\r\n"},
		{"chunked and empty", "POST", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"},
		{"with an idempotency key", "POST", "Idempotency-Key: x\r\n", ""},
		{"more than a packet", "POST", "Content-Length: 100000\r\n", strings.Repeat("0123456789", 10000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := startWire(t, nil)
			g := startGate(t, up.Addr().String())
			if res := g.get(t, c.method+ask+c.fields+host+"\r\n"+c.body); res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
			head, body, _ := strings.Cut(up.only(t), "\r\n\r\n")
			for _, name := range []string{"Content-Length", "Transfer-Encoding"} {
				want := fieldsOf("x\r\n"+c.fields+"\r\n", name)
				if got := fieldsOf(head+"\r\n\r\n", name); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if body != c.body {
				t.Errorf("body %.100q, want %.100q", body, c.body)
			}
		})
	}
}

func TestForwardRequestBodyStreams(t *testing.T) {
	for _, framing := range []string{"Content-Length: 4\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
		got := make(chan string)
		up := startWire(t, func(c *upstreamConn) {
			c.head()
			chunked := strings.HasPrefix(framing, "Transfer")
			for range 2 {
				if chunked {
					c.r.ReadString('\n')
				}
				b := make([]byte, 2)
				io.ReadFull(c.r, b)
				got <- string(b)
				if chunked {
					c.r.ReadString('\n')
				}
			}
			if chunked {
				io.ReadFull(c.r, make([]byte, len("0\r\n\r\n")))
			}
			io.WriteString(c, okAnswer)
		})
		g := startGate(t, up.Addr().String())
		c := g.dial(t).send("POST /a HTTP/1.1\r\nHost: h\r\n" + framing)
		for i, part := range []string{"ab", "cd"} {
			if strings.HasPrefix(framing, "Transfer") {
				part = "2\r\n" + part + "\r\n"
				if i == 1 {
					part += "0\r\n\r\n"
				}
			}
			c.send(part)
			if s := <-got; !strings.Contains(part, s) {
				t.Errorf("part %d: %q", i, s)
			}
		}
		if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 200") {
			t.Errorf("%q", head)
		}
	}
}

func TestForwardAnswerStreams(t *testing.T) {
	for _, c := range []struct{ name, header, one, two, end string }{
		{"events", "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n", "9\r\ndata: 1\n\n\r\n", "9\r\ndata: 2\n\n\r\n", "0\r\n\r\n"},
		{"events, known length", "Content-Type: text/event-stream\r\nContent-Length: 6\r\n", "abc", "def", ""},
		{"chunks", "Transfer-Encoding: chunked\r\n", "2\r\nab\r\n", "2\r\ncd\r\n", "0\r\n\r\n"},
		{"known length", "Content-Length: 4\r\n", "ab", "cd", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := make(chan struct{})
			up := startWire(t, func(uc *upstreamConn) {
				uc.request()
				for _, part := range []string{"HTTP/1.1 200 OK\r\n" + c.header + "\r\n", c.one, c.two, c.end} {
					io.WriteString(uc, part)
					<-next
				}
			})
			g := startGate(t, up.Addr().String())
			conn := g.dial(t).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			conn.head() // before any byte of the body
			for _, part := range []string{c.one, c.two, c.end} {
				next <- struct{}{}
				if got := conn.read(len(part)); got != part {
					t.Errorf("got %q, want %q", got, part)
				}
			}
			close(next)
		})
	}
}

func TestForwardTrailers(t *testing.T) {
	up := startWire(t, func(c *upstreamConn) {
		c.request()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Not\r\nX-Not: field\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n")
	})
	g := startGate(t, up.Addr().String())
	res := g.get(t, "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Cookie, Authorization, DPoP\r\n\r\n2\r\nok\r\n0\r\n"+
		"X-Sum: 1\r\nX-More: 2\r\nCookie: ort=1\r\nAuthorization: Basic x\r\nDPoP: x\r\nProxy-Authorization: x\r\nHost: x\r\nX_Forwarded_For: 1.1.1.1\r\nContent-Length: 3\r\n\r\n")
	head, body, _ := strings.Cut(up.only(t), "\r\n\r\n")
	if got := fieldOf(head+"\r\n\r\n", "Trailer"); got != "X-Sum" {
		t.Errorf("upstream saw Trailer: %q", got)
	}
	if te, c := fieldOf(head+"\r\n\r\n", "TE"), fieldOf(head+"\r\n\r\n", "Connection"); te != "trailers" || c != "TE" {
		t.Errorf("upstream saw TE %q, Connection %q", te, c)
	}
	if want := "2\r\nok\r\n0\r\nX-More: 2\r\nX-Sum: 1\r\n\r\n"; body != want {
		t.Errorf("upstream saw %q, want %q", body, want)
	}
	if want := (http.Header{"X-Sum": {"1"}, "X-More": {"2"}, "X-Not": nil}); fmt.Sprint(res.Trailer) != fmt.Sprint(want) {
		t.Errorf("client saw trailer %v, want %v", res.Trailer, want)
	}
	if res.Header.Get("X-Not") != "field" {
		t.Errorf("client saw header %v", res.Header)
	}
}

func TestForwardInterimAnswers(t *testing.T) {
	up := startWire(t, func(c *upstreamConn) {
		c.request()
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\nLink: <b>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+okAnswer)
	})
	g := startGate(t, up.Addr().String())
	g.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Own", "1") // for the final answer
		g.f.forward(w, r, nil)
	})
	c := g.dial(t).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	for _, want := range []string{
		"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\nLink: <b>\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Own: 1\r\n\r\n",
	} {
		if got := c.head(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

const expecting = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"

func TestForwardContinueEndToEnd(t *testing.T) {
	asked, may := make(chan string), make(chan struct{})
	up := startWire(t, func(c *upstreamConn) {
		head := c.head()
		asked <- head
		<-may
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		c.body(head)
		io.WriteString(c, okAnswer)
	})
	g := startGate(t, up.Addr().String())
	c := g.dial(t).send(expecting)
	if head := <-asked; fieldOf(head, "Expect") != "100-continue" {
		t.Errorf("upstream saw %q", head)
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if b, err := c.r.ReadByte(); err == nil {
		t.Fatalf("client saw %q before the upstream answered", b)
	}
	c.SetReadDeadline(time.Now().Add(socketWait))
	close(may)
	if head := c.head(); head != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Errorf("got %q", head)
	}
	c.send("body")
	if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 200") {
		t.Errorf("got %q", head)
	}
}

func TestForwardNoContinueAfterFinalAnswer(t *testing.T) {
	up := startWire(t, func(c *upstreamConn) {
		c.head()
		io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
	})
	g := startGate(t, up.Addr().String())
	got := g.dial(t).send(expecting).rest()
	if strings.Contains(got, "100 Continue") || !strings.HasPrefix(got, "HTTP/1.1 401") || !strings.HasSuffix(got, "\r\n\r\nno") {
		t.Errorf("client saw %q", got)
	}
}

func TestForwardContinueUnknownUpstream(t *testing.T) {
	up := startWire(t, nil) // waits for the body, says no 100
	g := startGate(t, up.Addr().String())
	c := g.dial(t).send(expecting)
	if head := c.head(); head != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Errorf("got %q", head)
	}
	c.send("body")
	if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 200") {
		t.Errorf("got %q", head)
	}
	if !strings.HasSuffix(up.only(t), "\r\n\r\nbody") {
		t.Errorf("upstream saw %q", up.only(t))
	}
}

// An upstream that answers while it is still being sent to must not make the
// gateway swallow the rest of the request.
func TestForwardAnswerBeforeEndOfRequest(t *testing.T) {
	up := startWire(t, func(c *upstreamConn) {
		head := c.head()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
		body := c.body(head)
		fmt.Fprintf(c, "%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	})
	g := startGate(t, up.Addr().String())
	c := g.dial(t).send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
	c.head()
	if got := c.read(len("5\r\nfirst\r\n")); got != "5\r\nfirst\r\n" {
		t.Fatalf("got %q", got)
	}
	c.send("cd")
	if got, want := c.read(len("4\r\nabcd\r\n0\r\n\r\n")), "4\r\nabcd\r\n0\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestForwardLargeBodiesAtConstantMemory(t *testing.T) {
	size := int64(256 << 20)
	if testing.Short() {
		size = 16 << 20
	}
	up := startWire(t, func(c *upstreamConn) {
		c.SetDeadline(time.Now().Add(5 * time.Minute))
		for head := c.head(); head != ""; head = c.head() {
			sum := sha256.New()
			io.CopyN(sum, c.r, size)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Sum: %x\r\n\r\n", size, sum.Sum(nil))
			io.Copy(c, &pattern{left: size})
		}
	})
	g := startGate(t, up.Addr().String())
	c := g.dial(t).send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	want := sha256.New()
	io.Copy(want, &pattern{left: size})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if _, err := io.Copy(c, &pattern{left: size}); err != nil {
		t.Fatal(err)
	}
	head := c.head()
	sum := sha256.New()
	if n, err := io.CopyN(sum, c.r, size); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if got := fieldOf(head, "X-Sum"); got != fmt.Sprintf("%x", want.Sum(nil)) {
		t.Error("request body changed on its way")
	}
	if fmt.Sprintf("%x", sum.Sum(nil)) != fmt.Sprintf("%x", want.Sum(nil)) {
		t.Error("answer changed on its way")
	}
	if grown := int64(after.TotalAlloc) - int64(before.TotalAlloc); grown > 4<<20 {
		t.Errorf("%d bytes allocated for %d forwarded", grown, 2*size)
	}
}

// pattern reads bytes that do not repeat at any size of a buffer.
type pattern struct{ at, left int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.left))
	for i := range n {
		b[i] = byte((p.at + int64(i)) % 251)
	}
	p.at += int64(n)
	p.left -= int64(n)
	return n, nil
}

func TestForwardEditedRequest(t *testing.T) {
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String())
	g.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := "scope=openid&x=%zz"
		out := g.f.outgoing(r.Context(), r, requestEdit{RawQuery: &query, Body: []byte("new=1"), Drop: []string{"Dpop"}, AcceptEncodingIdentity: true})
		g.f.send(w, r, out, nil)
	})
	g.get(t, "POST //a%2Fb?scope=x HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nDPoP: x\r\nAccept-Encoding: gzip\r\nContent-Length: 3\r\n\r\na=b")
	head, body, _ := strings.Cut(up.only(t), "\r\n\r\n")
	head += "\r\n\r\n"
	if line, _, _ := strings.Cut(head, "\r\n"); line != "POST //a%2Fb?scope=openid&x=%zz HTTP/1.1" {
		t.Errorf("upstream saw %q", line)
	}
	for name, want := range map[string]string{"Content-Length": "5", "Dpop": "", "Accept-Encoding": "identity", "Content-Type": "application/x-www-form-urlencoded"} {
		if got := fieldOf(head, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if body != "new=1" {
		t.Errorf("body %q", body)
	}
}

func TestFetch(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	up := startWire(t, func(c *upstreamConn) {
		for head := c.request(); head != ""; head = c.request() {
			switch {
			case strings.Contains(head, "/silent"):
				<-release
				return
			case strings.Contains(head, "/half"):
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
				<-release
				return
			case strings.Contains(head, "/short"):
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
				return
			case strings.Contains(head, "/large"):
				io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n"+strings.Repeat("x", 64)+"\r\n0\r\n\r\n")
			default:
				io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
			}
		}
	})
	g := startGate(t, up.Addr().String())
	g.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if r.URL.Path == "/silent" || r.URL.Path == "/half" {
			late, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
			defer cancel()
			ctx = late
		}
		a, err := g.f.fetch(ctx, g.f.outgoing(ctx, r, requestEdit{}), 32)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			w.WriteHeader(504)
		case errors.Is(err, errAnswerTooLarge):
			w.WriteHeader(507)
		case err != nil:
			w.WriteHeader(502)
		default:
			a.writeTo(w, append(a.Body, '!'))
		}
	})
	for path, want := range map[string]int{"/": 400, "/silent": 504, "/half": 504, "/short": 502, "/large": 507} {
		res := g.get(t, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
		if res.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, res.StatusCode, want)
		}
		if path != "/" {
			continue
		}
		body, _ := io.ReadAll(res.Body)
		if string(body) != "ok!" || res.Header.Get("X-Hop") != "" || res.Header.Get("X-End") != "2" || res.ContentLength != 3 {
			t.Errorf("body %q, header %v", body, res.Header)
		}
	}
}
