package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
	"github.com/ort-gateway/ort-gateway/ortengine"
)

// page is a client that reads an event stream.
type page struct {
	leave context.CancelFunc
	done  chan struct{} // closed when the stream has ended

	mu     sync.Mutex
	header http.Header
	code   int
	text   strings.Builder
	broken bool // nothing is read any more
}

func (p *page) Header() http.Header { return p.header }

func (p *page) WriteHeader(code int) { p.code = code }

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return 0, errors.New("the page is gone")
	}
	if p.code == 0 {
		p.code = http.StatusOK
	}
	return p.text.Write(b)
}

func (p *page) FlushError() error { return nil }

// read is what came since it was called last, once nobody has more to do.
func (p *page) read() string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.text.String()
	p.text.Reset()
	return got
}

func (p *page) ended() bool {
	synctest.Wait()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// watch opens the events of a session, by a call.
func (a *app) watch() *page {
	ctx, cancel := context.WithCancel(context.Background())
	p := &page{leave: cancel, done: make(chan struct{}), header: http.Header{}}
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, public+"/_ort/session/events", nil)
	req.RequestURI = "/_ort/session/events"
	req.Header.Set("Authorization", "DPoP "+a.ort)
	req.Header.Set("DPoP", a.key.Proof(http.MethodGet, public+"/_ort/session/events", dpoptest.Nonce(a.Verifier.Nonce()), dpoptest.AccessToken(a.ort)))
	go func() {
		defer close(p.done)
		a.ServeHTTP(p, req)
	}()
	a.t.Cleanup(cancel)
	return p
}

// inBubble runs a test with a clock that stands still while somebody works. No
// timer of that clock may be used after it: the pooled ones are its own.
func inBubble(t *testing.T, test func(r *rig), options ...rigOption) {
	own := func() { copyBuffers = sync.Pool{New: copyBuffers.New} }
	own()
	defer own()
	synctest.Test(t, func(t *testing.T) { test(startRig(t, true, options...)) })
}

func lasting(idle, absolute time.Duration) rigOption {
	return func(_ *rig, c *Config, e *ortengine.Config) {
		e.Idle, e.Absolute, c.Absolute = idle, absolute, absolute
	}
}

func TestEventsHeartbeatAndHour(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.app().login().watch()
		if got := p.read(); got != "event: session\ndata: {\"session_idle_expires_in\":259200,\"session_expires_in\":604800}\n\n" {
			t.Errorf("at the start: %q", got)
		}
		if h := p.header; p.code != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" || h.Get("DPoP-Nonce") == "" {
			t.Errorf("%d %v", p.code, h)
		}
		time.Sleep(19 * time.Second) // the contract says 20 s
		if got := p.read(); got != "" {
			t.Errorf("too soon: %q", got)
		}
		time.Sleep(time.Second)
		if got := p.read(); got != ":\n\n" {
			t.Errorf("a heartbeat: %q", got)
		}
		time.Sleep(time.Hour - 21*time.Second)
		if p.ended() {
			t.Error("it ended within the hour")
		}
		time.Sleep(time.Second)
		if !p.ended() || strings.Contains(p.read(), "ended") || r.Streams() != 0 {
			t.Error("it is open after an hour, or said that the session ended")
		}
	}, lasting(72*time.Hour, 168*time.Hour))
}

// A deadline that was moved meanwhile ends nothing.
func TestEventsFollowTheDeadlines(t *testing.T) {
	inBubble(t, func(r *rig) {
		a := r.app().login()
		p := a.watch()
		p.read()
		time.Sleep(8 * time.Minute)
		a.exchange()
		if got := p.read(); !strings.Contains(got, "event: session\ndata: {\"session_idle_expires_in\":600,\"session_expires_in\":1020}\n\n") {
			t.Errorf("after an exchange: %q", got)
		}
		time.Sleep(8 * time.Minute)
		if got := p.read(); strings.Contains(got, "event:") {
			t.Errorf("at the former deadline: %q", got)
		}
		a.exchange()
		if got := p.read(); !strings.Contains(got, "{\"session_idle_expires_in\":540,\"session_expires_in\":540}") {
			t.Errorf("the idle deadline passes the absolute one: %q", got)
		}
		time.Sleep(9*time.Minute + time.Second)
		if got := p.read(); !strings.HasSuffix(got, "event: ended\ndata: {\"reason\":\"absolute\"}\n\n") || !p.ended() {
			t.Errorf("at the absolute deadline: %q", got)
		}
	}, lasting(10*time.Minute, 25*time.Minute))
}

func TestEventsTellTheIdleLimit(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.app().login().watch()
		p.read()
		time.Sleep(10 * time.Minute)
		time.Sleep(2 * time.Millisecond)
		if got := p.read(); !strings.HasSuffix(got, "event: ended\ndata: {\"reason\":\"idle\"}\n\n") || !p.ended() {
			t.Errorf("got %q", got)
		}
	}, lasting(10*time.Minute, 25*time.Minute))
}

// The upstream's invalid_grant ends one grant: its stream, and no other's.
func TestEventsOfOneGrant(t *testing.T) {
	inBubble(t, func(r *rig) {
		a := r.app().login()
		b := r.app()
		b.client, b.cookie = "spa2", a.cookie
		b.login()
		mine, beside := a.watch(), b.watch()
		mine.read()
		r.says(400, `{"error":"invalid_grant"}`)
		a.exchange()
		if got := mine.read(); !strings.HasSuffix(got, "event: ended\ndata: {\"reason\":\"grant_ended\"}\n\n") || !mine.ended() {
			t.Errorf("the grant that ended: %q", got)
		}
		if got := beside.read(); strings.Contains(got, "ended") || beside.ended() {
			t.Errorf("the other: %q", got)
		}
	})
}

func TestEventsEndWithTheirReader(t *testing.T) {
	inBubble(t, func(r *rig) {
		a := r.app().login()
		left, gone := a.watch(), a.watch()
		synctest.Wait()
		if r.Streams() != 2 {
			t.Fatalf("%d streams", r.Streams())
		}
		left.leave()
		if !left.ended() {
			t.Error("the client left, and its stream is there")
		}
		gone.mu.Lock()
		gone.broken = true
		gone.mu.Unlock()
		time.Sleep(heartbeat)
		if !gone.ended() || r.Streams() != 0 {
			t.Error("nothing is read any more, and the stream is there")
		}
	})
}

// A store that does not answer ends no stream and says nothing wrong.
func TestEventsWithoutTheStore(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.app().login().watch()
		p.read()
		r.store.Close()
		time.Sleep(30 * time.Minute)
		if got := p.read(); strings.Contains(got, "event:") || p.ended() {
			t.Errorf("it said %q", got)
		}
		p.leave()
		if !p.ended() {
			t.Error("the client left, and its stream is there")
		}
	}, lasting(10*time.Minute, 25*time.Minute))
}

func TestEventsBeyondTheBound(t *testing.T) {
	inBubble(t, func(r *rig) {
		a, b := r.app().login(), r.app().login()
		a.watch()
		synctest.Wait()
		refused := b.watch()
		if got := refused.read(); refused.code != 503 || refused.header.Get("Retry-After") == "" || !strings.Contains(got, "temporarily_unavailable") {
			t.Errorf("one more than all may have: %d %s", refused.code, got)
		}
		r.Close()
		synctest.Wait()
	}, func(_ *rig, c *Config, _ *ortengine.Config) { c.MaxStreams = 1 })
}
