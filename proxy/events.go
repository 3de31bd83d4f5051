package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	heartbeat         = 20 * time.Second
	streamLife        = time.Hour
	streamsPerSession = 16
	streamWriteLimit  = 30 * time.Second // a page that reads nothing is given up
)

// events tells a page at once when its session changes or ends, as server-sent
// events. They are read with fetch: EventSource sends no header fields.
func (g *Gateway) events(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method == http.MethodOptions {
		return g.crossOrigin(w, r, at)
	}
	o, ok, err := g.presented(w, r, at)
	if err != nil || !ok {
		return err
	}
	// Watching begins before the first look, so that no change falls between.
	changed, stop := g.Engine.Watch(&o)
	defer stop()
	state, err := g.Engine.State(r.Context(), &o)
	if err != nil {
		return err
	}
	if state.Ended != "" {
		_, err := g.Engine.Status(r.Context(), &o)
		if err == nil {
			err = ortengine.InvalidToken()
		}
		return g.challengeToken(w, ortengine.AsError(err))
	}
	if !g.streams.open(o.Session) {
		return ortengine.Unavailable("other", "Too many event streams are open: ask /_ort/session instead", nil)
	}
	defer g.streams.closed(o.Session)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	g.nextNonce(h)
	s := stream{Gateway: g, to: http.NewResponseController(w), w: w, ort: &o}
	s.run(r.Context(), changed, state.Session)
	return nil
}

// stream is one open event stream.
type stream struct {
	*Gateway
	w   http.ResponseWriter
	to  *http.ResponseController
	ort *ortengine.ORT
}

func (s *stream) run(ctx context.Context, changed <-chan struct{}, now sessions.Session) {
	w := time.NewTicker(heartbeat)
	defer w.Stop()
	life := time.NewTimer(streamLife)
	defer life.Stop()
	deadline := time.NewTimer(s.left(&now))
	defer deadline.Stop()
	if !s.send("session", s.deadlines(&now)) {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.streams.done:
			return
		case <-life.C:
			return
		case <-w.C:
			if !s.write(":\n\n") {
				return
			}
			continue
		case <-changed:
		case <-deadline.C:
		}
		state, err := s.Engine.State(ctx, s.ort)
		if err != nil {
			s.Logger.LogAttrs(ctx, slog.LevelWarn, "looking at the session of an event stream", slog.Any("error", err))
			deadline.Reset(heartbeat)
			continue
		}
		if state.Ended != "" {
			s.send("ended", []byte(`{"reason":`+strconv.Quote(state.Ended)+`}`))
			return
		}
		deadline.Reset(s.left(&state.Session))
		if !s.send("session", s.deadlines(&state.Session)) {
			return
		}
	}
}

// left is the time to a session's next deadline, and a moment.
func (s *stream) left(session *sessions.Session) time.Duration {
	next := session.Idle
	if session.Absolute.Before(next) {
		next = session.Absolute
	}
	return max(next.Sub(s.Now())+time.Millisecond, time.Millisecond)
}

func (s *stream) send(event string, data []byte) bool {
	return s.write("event: " + event + "\ndata: " + string(data) + "\n\n")
}

func (s *stream) write(text string) bool {
	s.to.SetWriteDeadline(time.Now().Add(streamWriteLimit))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.to.Flush() == nil
}

// streams bounds the open event streams.
type streams struct {
	limit int

	mu    sync.Mutex
	count int
	each  map[sessions.ID]int
	done  chan struct{}
	ended bool
}

func newStreams(limit int) *streams {
	return &streams{limit: limit, each: map[sessions.ID]int{}, done: make(chan struct{})}
}

func (s *streams) open(id sessions.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.count >= s.limit || s.each[id] >= streamsPerSession {
		return false
	}
	s.count++
	s.each[id]++
	return true
}

func (s *streams) closed(id sessions.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	if s.each[id]--; s.each[id] == 0 {
		delete(s.each, id)
	}
}

func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.done)
	}
}

// Streams is how many event streams are open.
func (g *Gateway) Streams() int {
	g.streams.mu.Lock()
	defer g.streams.mu.Unlock()
	return g.streams.count
}
