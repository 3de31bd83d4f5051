package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// pipes is a listener without a network, for synctest.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A body that comes in drops holds no handler for ever, and goes nowhere.
func TestBodiesInDrops(t *testing.T) {
	for _, path := range []string{"/token", "/revoke", "/introspect", "/par", "/device", "/authorize", "/logout", ownRevocation, "/_ort/backchannel-logout"} {
		t.Run(path, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				listener := make(pipes, 1)
				server := &http.Server{Handler: r}
				go server.Serve(listener)
				ours, theirs := net.Pipe()
				listener <- theirs
				var answer strings.Builder
				read := make(chan struct{})
				go func() {
					defer close(read)
					io.Copy(&answer, ours)
				}()
				io.WriteString(ours, "POST "+path+" HTTP/1.1\r\nHost: id.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n")
				for range 6 {
					time.Sleep(9 * time.Second) // each drop is in time
					if _, err := io.WriteString(ours, "a"); err != nil {
						break
					}
				}
				time.Sleep(time.Second)
				synctest.Wait()
				ours.Close()
				<-read
				server.Close()
				if !strings.HasPrefix(answer.String(), "HTTP/1.1 400 ") || r.count() != 0 {
					t.Errorf("answered with %q, %d requests went up", answer.String(), r.count())
				}
			})
		})
	}
}

// leaving is a POST whose client leaves as soon as the upstream has the request.
func (r *rig) leaving(target, body string, header ...string) {
	r.t.Helper()
	ctx, leave := context.WithCancel(r.t.Context())
	well := r.answer
	var once sync.Once
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		once.Do(leave)
		well(w, q, body)
	})
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, public+target, strings.NewReader(body))
	req.RequestURI = target
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	func() {
		defer func() { recover() }() // http.ErrAbortHandler
		r.ServeHTTP(httptest.NewRecorder(), req)
	}()
	if ctx.Err() == nil {
		r.t.Fatal("nothing reached the upstream")
	}
	r.does(well)
}

// What went upstream is seen through although its client left.
func TestClientsThatLeave(t *testing.T) {
	r, idp := idpRig(t, nil)
	a := r.app()
	code := a.code()
	r.leaving("/token", a.codeForm(code).Encode(), "DPoP", a.proof("/token"))
	r.is("the code again", a.redeem(code), 400, "invalid_grant")
	if n := len(idp.At("/token")); n != 1 {
		t.Errorf("the code went up %d times", n)
	}
	a.login()
	for range 3 { // each rotates, and a credential that was lost would end all
		r.leaving("/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"))
		r.is("the next exchange", a.exchange(), 200)
	}
}

// A code that comes again while its exchange is under way waits for it, and goes
// up once.
func TestOneCodeAtOnce(t *testing.T) {
	r, idp := idpRig(t, nil)
	a := r.app()
	code := a.code()
	arrived, release := make(chan struct{}), make(chan struct{})
	idp.Next("/token", func(w http.ResponseWriter, q *http.Request, well http.Handler) {
		close(arrived)
		proxytest.Held(release)(w, q, well)
	})
	const many = 8
	answers := make(chan int, many)
	for range many {
		proof := a.proof("/token")
		go func() {
			answers <- r.do(http.MethodPost, "/token", a.codeForm(code).Encode(), "DPoP", proof).StatusCode
		}()
	}
	select {
	case status := <-answers:
		t.Fatalf("answered %d before the first was", status)
	case <-arrived:
	}
	close(release)
	got := map[int]int{}
	for range many {
		got[<-answers]++
	}
	if got[200] != 1 || got[400] != many-1 || len(idp.At("/token")) != 1 {
		t.Errorf("answers %v, the code went up %d times", got, len(idp.At("/token")))
	}
}
