package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// The bare forwarder is the yardstick: httputil.ReverseProxy with a pool of
// buffers and X-Forwarded fields, on the same kind of server and transport.
// Compare the sub-benchmarks of one run, by -count and benchstat -col /proxy.

func bareProxy(u *url.URL) http.Handler {
	pool := &barePool{}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		},
		BufferPool: pool,
	}
}

type barePool struct{ pool sync.Pool }

func (p *barePool) Get() []byte {
	if b, ok := p.pool.Get().(*[32 << 10]byte); ok {
		return b[:]
	}
	return new([32 << 10]byte)[:]
}

func (p *barePool) Put(b []byte) { p.pool.Put((*[32 << 10]byte)(b)) }

func startBare(b *testing.B, u *url.URL) string {
	s := httptest.NewUnstartedServer(bareProxy(u))
	s.Config.ReadHeaderTimeout = 10 * time.Second
	s.Config.IdleTimeout = 2 * time.Minute
	s.Start()
	b.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func benchUpstream(b *testing.B) *url.URL {
	page := strings.Repeat("x", 1024)
	block := make([]byte, 256<<10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/blob" {
			w.Header().Set("Content-Length", fmt.Sprint(64<<20))
			for range 64 << 20 / len(block) {
				w.Write(block)
			}
			return
		}
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "no-store")
		io.WriteString(w, page)
	}))
	b.Cleanup(s.Close)
	u, _ := url.Parse(s.URL)
	return u
}

var browserHeader = strings.ReplaceAll(`Host: login.example
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Accept-Encoding: gzip, deflate, br
Accept-Language: en-GB,en;q=0.9
Cookie: __Host-ort=AbCdEfGhIjKlMnOpQrStUvWxYz0123456789; AUTH_SESSION_ID=0123456789abcdef
`, "\n", "\r\n")

func BenchmarkForward(b *testing.B) {
	form := "a=" + strings.Repeat("0123456789", 50)[:498]
	for _, c := range []struct {
		name, request string
		size          int64
	}{
		{"GET", "GET /page HTTP/1.1\r\n" + browserHeader + "\r\n", 0},
		{"POST", "POST /form HTTP/1.1\r\n" + browserHeader + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 500\r\n\r\n" + form, 0},
		{"64MiB", "GET /blob HTTP/1.1\r\n" + browserHeader + "\r\n", 64 << 20},
	} {
		u := benchUpstream(b)
		for _, p := range []struct{ name, addr string }{
			{"bare", startBare(b, u)},
			{"ours", startGate(b, u.Host).addr},
		} {
			b.Run(c.name+"/proxy="+p.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(c.size)
				conn, err := net.Dial("tcp", p.addr)
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				r := bufio.NewReaderSize(conn, 256<<10)
				for b.Loop() {
					io.WriteString(conn, c.request)
					res, err := http.ReadResponse(r, nil)
					if err != nil || res.StatusCode != 200 {
						b.Fatal(res, err)
					}
					io.Copy(io.Discard, res.Body)
				}
			})
		}
	}
}
