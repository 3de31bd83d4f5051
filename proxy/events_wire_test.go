package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
	"github.com/ort-gateway/ort-gateway/ortengine"
)

// listening serves the rig as the public listener does, and returns its address.
func (r *rig) listening() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	server := Server(r, r.Logger)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(Listener(l, nil))
	}()
	r.t.Cleanup(func() {
		server.Close()
		<-done
		r.Close()
	})
	return l.Addr().String()
}

// openEvents asks for an app's events on a connection of its own.
func (a *app) openEvents(address, version, more string) (net.Conn, *http.Response) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(socketWait))
	proof := a.key.Proof(http.MethodGet, public+"/_ort/session/events", dpoptest.Nonce(a.Verifier.Nonce()), dpoptest.AccessToken(a.ort))
	fmt.Fprintf(c, "GET /_ort/session/events HTTP/%s\r\nHost: id.example\r\nAuthorization: DPoP %s\r\nDPoP: %s\r\n\r\n%s", version, a.ort, proof, more)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return c, resp
}

func (r *rig) awaitStreams(want int) {
	r.t.Helper()
	for deadline := time.Now().Add(socketWait); r.Streams() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d streams are open, want %d", r.Streams(), want)
		}
	}
}

// A stream on a connection that was taken from the server is a whole answer of HTTP/1.1: its head, its events, its end.
func TestEventsOnAConnectionOfTheirOwn(t *testing.T) {
	r := newRig(t)
	address := r.listening()
	a := r.app().login()
	_, resp := a.openEvents(address, "1.1", "GET /next HTTP/1.1\r\nHost: id.example\r\n\r\n")
	h := resp.Header
	if resp.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" || h.Get("Date") == "" || h.Get("DPoP-Nonce") == "" || !resp.Close {
		t.Errorf("%s %v", resp.Status, h)
	}
	first := make([]byte, len("event: session\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "event: session\n" {
		t.Fatalf("%q %v", first, err)
	}
	r.do(http.MethodPost, "/revoke", "client_id="+a.client+"&token="+a.ort)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(string(rest), "event: ended\ndata: {\"reason\":\"revoked\"}\n\n") {
		t.Errorf("the rest of the answer is %q %v", rest, err)
	}
	r.awaitStreams(0)
	if strings.Contains(r.log.String(), "/next") {
		t.Error("what came behind the request was taken for another")
	}
}

// A page that leaves makes room at once, and the gateway's end ends every stream in good order.
func TestEventsOfPagesThatLeaveAndStay(t *testing.T) {
	r := newRig(t)
	address := r.listening()
	a := r.app().login()
	for _, version := range []string{"1.1", "1.0"} {
		left, _ := a.openEvents(address, version, "")
		r.awaitStreams(1)
		left.Close()
		r.awaitStreams(0)
	}
	_, resp := a.openEvents(address, "1.1", "")
	r.awaitStreams(1)
	r.Close()
	if r.Streams() != 0 {
		t.Error("a stream is open behind the end")
	}
	if got, err := io.ReadAll(resp.Body); err != nil || strings.Contains(string(got), "ended") {
		t.Errorf("the answer ended with %q %v", got, err)
	}
}

// A fault in a stream on a connection of its own, which net/http does not look after,
// ends that stream alone: its page sees the connection break, and comes back.
func TestEventsPanic(t *testing.T) {
	r, broken := newBreakableRig(t)
	address := r.listening()
	a := r.app().login()
	o, err := r.Engine.Open(a.ort)
	if err != nil {
		t.Fatal(err)
	}
	_, resp := a.openEvents(address, "1.1", "")
	if _, err := io.ReadFull(resp.Body, make([]byte, len("event: session\n"))); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	_, err = r.Engine.Exchange(t.Context(), ortengine.Exchange{ORT: o, Send: func(context.Context, string) (ortengine.Answer, error) {
		return ortengine.Answer{Status: 200}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the answer ended with %q %v, as if it were whole", rest, err)
	}
	r.awaitStreams(0)
	broken.Store(false)
	if _, resp := a.openEvents(address, "1.1", ""); resp.StatusCode != 200 {
		t.Errorf("the next stream: %s", resp.Status)
	}
	if log := r.log.String(); !strings.Contains(log, "an event stream panicked") || strings.Contains(log, "planted-secret") {
		t.Error(log)
	}
}
