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
	streamsEnd        = 2 * time.Second  // how long their end may take in all when the gateway ends
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
	lasting := false
	defer func() {
		if !lasting {
			stop()
		}
	}()
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
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	g.nextNonce(h)
	s := &stream{Gateway: g, ort: &o, changed: changed, stop: stop, now: state.Session}
	lasting = true
	if t, ok := takeOver(w, r); ok {
		s.to = t
		go s.serveTaken(t) // a goroutine of its own, for nothing of the request may stay with it
		return nil
	}
	s.to = served{w, http.NewResponseController(w)}
	s.serve(r.Context())
	return nil
}

// stream is one open event stream.
type stream struct {
	*Gateway
	to      eventWriter
	ort     *ortengine.ORT
	changed <-chan struct{}
	stop    func() // ends changed
	now     sessions.Session
}

// serveTaken runs a stream on a connection of its own until it ends or its client
// leaves.
func (s *stream) serveTaken(t taken) {
	ctx, leave := context.WithCancel(context.Background())
	defer t.conn.Close()
	defer leave()
	go func() {
		t.awaitEnd()
		leave()
	}()
	_ = ortengine.Guard(ctx, s.Logger, "an event stream", func() { s.serve(ctx) })
}

// serve runs a stream until it ends, and gives its place to another.
func (s *stream) serve(ctx context.Context) {
	defer s.streams.closed(s.ort.Session)
	defer s.stop()
	s.run(ctx)
	s.to.end()
}

func (s *stream) run(ctx context.Context) {
	if !s.send("session", s.deadlines(&s.now)) {
		return
	}
	// One timer for all that has its time: there are many streams.
	began := s.Now()
	beat, end := began.Add(heartbeat), s.next(&s.now)
	s.now = sessions.Session{} // it is told, and stale soon
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := s.Now()
		timer.Reset(max(0, min(beat.Sub(now), end.Sub(now), began.Add(streamLife).Sub(now))))
		select {
		case <-ctx.Done():
			return
		case <-s.streams.done:
			return
		case <-s.changed:
		case <-timer.C:
			switch now = s.Now(); {
			case now.Sub(began) >= streamLife:
				return
			case !now.Before(beat):
				if beat = now.Add(heartbeat); !s.to.write(":\n\n") {
					return
				}
				continue
			case now.Before(end):
				continue
			}
		}
		state, err := s.Engine.State(ctx, s.ort)
		if err != nil {
			s.Logger.LogAttrs(ctx, slog.LevelWarn, "looking at the session of an event stream", slog.Any("error", err))
			end = s.Now().Add(heartbeat)
			continue
		}
		if state.Ended != "" {
			s.send("ended", []byte(`{"reason":`+strconv.Quote(state.Ended)+`}`))
			return
		}
		end = s.next(&state.Session)
		if !s.send("session", s.deadlines(&state.Session)) {
			return
		}
	}
}

// next is a session's next deadline, and a moment.
func (s *stream) next(session *sessions.Session) time.Time {
	next := session.Idle
	if session.Absolute.Before(next) {
		next = session.Absolute
	}
	return later(next, s.Now()).Add(time.Millisecond)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (s *stream) send(event string, data []byte) bool {
	return s.to.write("event: " + event + "\ndata: " + string(data) + "\n\n")
}

// streams bounds the open event streams.
type streams struct {
	limit int

	mu    sync.Mutex
	count int
	each  map[sessions.ID]int
	done  chan struct{} // closed when they are to end
	ended bool
	empty chan struct{} // closed when they have
}

func newStreams(limit int) *streams {
	return &streams{limit: limit, each: map[sessions.ID]int{}, done: make(chan struct{}), empty: make(chan struct{})}
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
	if s.ended && s.count == 0 {
		close(s.empty)
	}
}

// close tells the streams to end, and waits until they have said so to their
// pages: the server does not know those whose connection was taken from it.
func (s *streams) close() {
	s.mu.Lock()
	if !s.ended {
		s.ended = true
		close(s.done)
		if s.count == 0 {
			close(s.empty)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.empty:
	case <-time.After(streamsEnd):
	}
}

// Streams is how many event streams are open.
func (g *Gateway) Streams() int {
	g.streams.mu.Lock()
	defer g.streams.mu.Unlock()
	return g.streams.count
}
