package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// emptyBody is not http.NoBody, which would allow to send the request twice.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

var errBodyEnded = errors.New("request body is not read after the answer's end")

// requestBody is the client's body as the transport reads it. Closing it does
// not close the client's: the server does, when the answer has been sent.
type requestBody struct {
	src     io.ReadCloser
	ended   atomic.Bool // not to be read any more
	atEnd   atomic.Bool // read to its end
	failed  atomic.Bool // ended by an error
	trailer http.Header // filled by src at its end
	expect  *expectGate // nil: the client does not wait for a 100
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.expect != nil {
		if err := b.expect.wait(); err != nil {
			return 0, err
		}
	}
	if b.ended.Load() {
		return 0, errBodyEnded
	}
	n, err := b.src.Read(p)
	switch {
	case err == io.EOF:
		cleanTrailer(b.trailer)
		b.atEnd.Store(true)
	case err != nil:
		b.failed.Store(true)
	}
	return n, err
}

func (b *requestBody) Close() error {
	b.end()
	return nil
}

func (b *requestBody) end() {
	b.ended.Store(true)
	if b.expect != nil {
		b.expect.end()
	}
}

func (b *requestBody) wanted() {
	if b.expect != nil {
		b.expect.open()
	}
}

func (b *requestBody) answered() {
	if b.expect != nil {
		b.expect.answer()
	}
}

// cleanTrailer removes from a request trailer what an upstream that merges it
// into the header must not learn from there (RFC 9110 section 6.5.1): framing,
// routing, credentials, and every field that says who the client is.
func cleanTrailer(h http.Header) {
	for k := range h {
		switch k {
		case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Transfer-Encoding", "Upgrade", "Trailer",
			"Content-Length", "Content-Type", "Content-Encoding", "Content-Range", "Host", "Expect",
			"Authorization", "Proxy-Authorization", "Cookie", "Dpop":
			delete(h, k)
		default:
			if isNeighbourField(k) {
				delete(h, k)
			}
		}
	}
}

const (
	expectTimeout = time.Second            // the transport sends the body after this without a 100
	expectGrace   = 100 * time.Millisecond // for a final answer to reach us before its body is asked for
)

// expectGate keeps the body of a request with Expect: 100-continue unread
// until the upstream wants it, since reading it makes the server send the
// client a 100. The transport reads after a 100, after a second without one,
// and, to be able to use the connection again, after a final answer: then the
// client is not to be told to send.
type expectGate struct {
	opened, final, ended           chan struct{}
	openOnce, finalOnce, endedOnce sync.Once
}

func newExpectGate() *expectGate {
	return &expectGate{opened: make(chan struct{}), final: make(chan struct{}), ended: make(chan struct{})}
}

func (g *expectGate) open()   { g.openOnce.Do(func() { close(g.opened) }) }
func (g *expectGate) answer() { g.finalOnce.Do(func() { close(g.final) }) }
func (g *expectGate) end()    { g.endedOnce.Do(func() { close(g.ended) }) }

func (g *expectGate) wait() error {
	select {
	case <-g.opened:
		return nil
	default:
	}
	timer := time.NewTimer(expectGrace)
	defer timer.Stop()
	select {
	case <-g.opened:
		return nil
	case <-g.final:
		<-g.ended // the answer is streamed first: an error here would cut it short
		return errBodyEnded
	case <-g.ended:
		return errBodyEnded
	case <-timer.C:
		g.open()
		return nil
	}
}
