package proxy

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Headers that come in drops from many strangers take a bounded memory together,
// and keep no usual request out.
func TestHeadersThatAreComingAreBounded(t *testing.T) {
	up := startWire(t, nil)
	g := newGate(t, up.Addr().String())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heads := &memory{limit: 100 << 10}
	g.addr, g.server.ReadHeaderTimeout = l.Addr().String(), time.Hour
	g.serve(t, &plainIngress{l, heads})
	held := func(want func(int64) bool) {
		t.Helper()
		for end := time.Now().Add(socketWait); !want(heads.bytes.Load()); {
			if time.Now().After(end) {
				t.Fatalf("%d bytes are held", heads.bytes.Load())
			}
			time.Sleep(time.Millisecond)
		}
	}
	const long = "GET / HTTP/1.1\r\nHost: h\r\nX: "
	var strangers []*client
	for n := range 2 {
		c := g.dial(t)
		strangers = append(strangers, c)
		c.send(long + strings.Repeat("x", 60<<10-len(long)))
		held(func(b int64) bool { return b == int64(n+1)*(60<<10-smallHeld) })
	}
	more := g.dial(t)
	_, _ = io.WriteString(more, long+strings.Repeat("x", 60<<10)) // it may be closed meanwhile
	if got := more.rest(); got != "" && !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("one more: %q", got)
	}
	if got := g.get(t, "GET / HTTP/1.1\r\nHost: h\r\nCookie: "+strings.Repeat("x", 8<<10)+"\r\n\r\n"); got.StatusCode != 200 {
		t.Errorf("a usual request meanwhile: %d", got.StatusCode)
	}
	if got := strangers[0].send("\r\nConnection: close\r\n\r\n").rest(); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("a header that was completed: %.80q", got)
	}
	strangers[1].Close()
	held(func(b int64) bool { return b == 0 })
}

// So do those of requests that are at work.
func TestHeadersOfRequestsAtWorkAreBounded(t *testing.T) {
	heads := &memory{limit: 100 << 10}
	inside, leave := make(chan struct{}), make(chan struct{})
	h := publicHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			inside <- struct{}{}
			<-leave
		}
	}), heads)
	ask := func(path string, size int) int {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("X", strings.Repeat("x", size))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		io.Copy(io.Discard, w.Result().Body)
		return w.Code
	}
	answers := make(chan int, 2)
	for range 2 {
		go func() { answers <- ask("/wait", 60<<10) }()
		<-inside
	}
	if got := ask("/", 60<<10); got != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("one more: %d", got)
	}
	if got := ask("/", 8<<10); got != 200 {
		t.Errorf("a usual one meanwhile: %d", got)
	}
	close(leave)
	for range 2 {
		if got := <-answers; got != 200 {
			t.Errorf("the first ones: %d", got)
		}
	}
	if got := ask("/", 60<<10); got != 200 || heads.bytes.Load() != 0 {
		t.Errorf("afterwards: %d, %d bytes are held", got, heads.bytes.Load())
	}
}

// What decides about framing may stand at the end of a long line, and not hide
// behind what is kept of it.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("a", 2*keptLine)
	for raw, good := range map[string]bool{
		"POST /" + long + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                    true,
		"POST /" + long + " HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                    false,
		"GET / HTTP/1.1\r\nHost: h\r\nX: " + long + "\r\n\r\n":                                                     true,
		"GET / HTTP/1.1\r\nHost: h\r\nX: " + long + "\n\r\n":                                                       false,
		"GET / HTTP/1.1\r\nHost: h\r\nX" + long + ": y\r\n\r\n":                                                    false,
		"GET / HTTP/1.1\r\nHost: h\r\n" + long + "\r\n\r\n":                                                        false,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + strings.Repeat("0", 2*keptLine) + "3\r\n\r\nabc":        false,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked" + strings.Repeat(" ", 2*keptLine) + "x\r\n\r\n": false,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0;" + long + "\r\n\r\n":                   false,
	} {
		for _, pieces := range [][]string{{raw}, {raw[:keptLine], raw[keptLine:]}, strings.SplitAfter(raw, "a"), {raw[:len(raw)-9], raw[len(raw)-9:]}} {
			c := &ingressConn{Conn: &piecesConn{pieces: append([]string(nil), pieces...)}}
			got, err := c.all()
			if passed := err == nil && string(got) == raw; passed != good {
				t.Errorf("%.60q… in %d pieces: passed %v, %v", raw, len(pieces), passed, err)
			}
		}
	}
}
