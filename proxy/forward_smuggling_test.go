package proxy

import (
	"fmt"
	"strings"
	"testing"
)

// What one party takes for the end of a request and another does not is how
// requests are smuggled. Each of these is refused, 400 and the connection
// closed, or reaches the upstream as the one request that it is.

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

func TestForwardRefusesLooseFraming(t *testing.T) {
	for name, raw := range map[string]string{
		"bare LF everywhere":             "GET / HTTP/1.1\nHost: h\n\n",
		"bare LF after the request line": "GET / HTTP/1.1\nHost: h\r\n\r\n",
		"bare LF after a field":          "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
		"bare LF at the end":             "GET / HTTP/1.1\r\nHost: h\r\n\n",
		"bare LF hides a field":          "GET / HTTP/1.1\r\nHost: h\r\nX: y\nContent-Length: 38\r\n\r\n",
		"bare CR in a field":             "GET / HTTP/1.1\r\nHost: h\r\nX: y\rZ: 1\r\n\r\n",
		"bare CR ends a line":            "GET / HTTP/1.1\rHost: h\r\n\r\n",
		"NUL in a field":                 "GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
		"DEL in a field":                 "GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n",
		"both lengths":                   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"both lengths, other order":      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"both lengths, zero":             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":                    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 38\r\n\r\n",
		"one length twice":               "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"list of lengths":                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 38\r\n\r\n",
		"length with a sign":             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
		"negative length":                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
		"length in hex":                  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\nx",
		"empty length":                   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
		"huge length":                    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nx",
		"unknown coding":                 "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"identity":                       "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
		"empty coding":                   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n",
		"two codings":                    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"coding twice":                   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"coding with a tab":              "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
		"coding in quotes":               "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
		"coding in HTTP/1.0":             "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"coding folded":                  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"space before colon":             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 38\r\n\r\n",
		"tab before colon":               "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding\t: chunked\r\n\r\n",
		"space before name":              "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
		"folded line":                    "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
		"line without colon":             "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
		"empty name":                     "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
		"name in brackets":               "GET / HTTP/1.1\r\nHost: h\r\n(X): y\r\n\r\n",
		"two hosts":                      "GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
		"no host":                        "GET / HTTP/1.1\r\n\r\n",
		"bad host":                       "GET / HTTP/1.1\r\nHost: h/x@y\r\n\r\n",
		"no version":                     "GET /\r\nHost: h\r\n\r\n",
		"odd version":                    "GET / HTTP/1.1x\r\nHost: h\r\n\r\n",
		"two spaces":                     "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
		"space in target":                "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
		"tab in target":                  "GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n",
		"NUL in target":                  "GET /a\x00b HTTP/1.1\r\nHost: h\r\n\r\n",
		"CR in target":                   "GET /a\rb HTTP/1.1\r\nHost: h\r\n\r\n",
		"DEL in query":                   "GET /a?\x7f HTTP/1.1\r\nHost: h\r\n\r\n",
		"bad escape in path":             "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
		"target without slash":           "GET a HTTP/1.1\r\nHost: h\r\n\r\n",
		"opaque target":                  "GET http:a HTTP/1.1\r\nHost: h\r\n\r\n",
		"asterisk of a GET":              "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
		"method with a colon":            "GE:T / HTTP/1.1\r\nHost: h\r\n\r\n",
		"preface of HTTP/2":              "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"chunk size in bare LF":          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
		"chunk in bare LF":               "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n",
		"chunk too long":                 "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
		"huge chunk size":                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\nx\r\n0\r\n\r\n",
		"negative chunk size":            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
		"chunk size with 0x":             "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
		"no chunk size":                  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
		"CR in an extension":             "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;a\rb\r\nx\r\n0\r\n\r\n",
		"trailer in bare LF":             "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
		"end in bare LF":                 "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
		"long trailer":                   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 5) + "\r\n",
		"request line as a trailer":      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET http://h/ HTTP/1.1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := startWire(t, nil)
			g := startGate(t, up.Addr().String())
			got := g.dial(t).send(raw + smuggled).rest()
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
				t.Errorf("client saw %q", got)
			}
			if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
				t.Errorf("client saw %d answers", n)
			}
			for _, r := range up.requests() {
				// The beginning of one whose body breaks off may have gone up.
				if !strings.HasPrefix(raw, "POST / ") || !strings.HasPrefix(r, "POST / ") || strings.HasSuffix(r, "0\r\n\r\n") {
					t.Errorf("upstream saw %q", r)
				}
			}
		})
	}
}

// Every cut of the bytes into reads gives the same.
func TestForwardRefusesLooseFramingInPieces(t *testing.T) {
	for _, raw := range []string{
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nX: y\nZ: 1\r\n\r\n",
	} {
		up := startWire(t, nil)
		g := startGate(t, up.Addr().String())
		for cut := 1; cut < len(raw); cut++ {
			c := &ingressConn{Conn: &piecesConn{pieces: []string{raw[:cut], raw[cut:]}}}
			b := make([]byte, len(raw))
			var err error
			for n := 0; err == nil; {
				n, err = c.Read(b)
				if strings.Contains(string(b[:n]), "\n\r\n") {
					t.Errorf("cut at %d: the header's end passes", cut)
				}
			}
			if err != errFraming {
				t.Errorf("cut at %d: %v", cut, err)
			}
		}
		c := g.dial(t)
		for _, b := range []byte(raw) {
			if _, err := c.Write([]byte{b}); err != nil {
				break // refused already
			}
		}
		if got := c.rest(); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("client saw %q", got)
		}
	}
}

func TestForwardPipelinedRequests(t *testing.T) {
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String())
	requests := []string{
		"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n\n\n\n\n",
		"\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\n\nx\r\r\n000a\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
		"GET /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"GET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
	}
	got := g.dial(t).send(strings.Join(requests, "")).rest()
	if n := strings.Count(got, "HTTP/1.1 200 OK"); n != 4 {
		t.Errorf("client saw %q", got)
	}
	seen := up.requests()
	if len(seen) != 4 || !strings.HasSuffix(seen[0], "\r\n\r\n\n\n\n\n") {
		t.Errorf("upstream saw %q", seen)
	}
}

func TestForwardHeaderTooLargeIs431(t *testing.T) {
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String())
	got := g.dial(t).send("GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n").rest()
	if !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("client saw %.100q", got)
	}
	if seen := up.requests(); len(seen) != 0 {
		t.Errorf("upstream saw %d requests", len(seen))
	}
	if res := g.get(t, "GET / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 60<<10)+"\r\n\r\n"); res.StatusCode != 200 {
		t.Errorf("60 KiB: status %d", res.StatusCode)
	}
}

// FuzzIngress: however the bytes come in pieces, the same of them pass.
func FuzzIngress(f *testing.F) {
	f.Add("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", uint8(7))
	f.Add("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\nHost: h\r\n\r\n", uint8(3))
	f.Fuzz(func(t *testing.T, raw string, size uint8) {
		read := func(pieces []string) string {
			c := &ingressConn{Conn: &piecesConn{pieces: pieces}}
			b, err := c.all()
			return fmt.Sprintf("%q %v %v", b, err, c.state)
		}
		var pieces []string
		for n := int(size) + 1; len(raw) > n; raw = raw[n:] {
			pieces = append(pieces, raw[:n])
		}
		pieces = append(pieces, raw)
		whole := []string{strings.Join(pieces, "")}
		if a, b := read(whole), read(pieces); a != b {
			t.Errorf("whole: %s, in pieces: %s", a, b)
		}
	})
}
