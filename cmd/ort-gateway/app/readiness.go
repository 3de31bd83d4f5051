package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// readinessTimeout bounds all checks of one question together. Kubelets wait a second unless told otherwise.
const readinessTimeout = 900 * time.Millisecond

// readiness answers /livez and /readyz. The zero value is not usable; see newReadiness.
type readiness struct {
	log      *slog.Logger
	draining atomic.Bool

	mu     sync.Mutex
	checks []readinessCheck
	last   map[string]bool // what was answered last, so that a change is logged once
}

type readinessCheck struct {
	name  string
	check func(context.Context) error
}

func newReadiness(log *slog.Logger) *readiness {
	return &readiness{log: log, last: map[string]bool{}}
}

// add names a part that must be ready. check is called at every question, by several at once, and must come back when
// its context ends.
func (r *readiness) add(name string, check func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, readinessCheck{name, check})
}

// drain makes the answer "not ready" from now on.
func (r *readiness) drain() { r.draining.Store(true) }

// livez says that this process answers. It asks nobody else: a restart would not help against an upstream that is down.
func (r *readiness) livez(w http.ResponseWriter, req *http.Request) {
	plain(w, req, http.StatusOK, "ok\n")
}

// readyz says whether requests should be sent here: 200, or 503 with a line for each part.
func (r *readiness) readyz(w http.ResponseWriter, req *http.Request) {
	ready, lines := r.ask(req.Context())
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	plain(w, req, status, lines)
}

// ask runs all checks side by side.
func (r *readiness) ask(ctx context.Context) (ready bool, lines string) {
	r.mu.Lock()
	checks := r.checks
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readinessTimeout)
	defer cancel()

	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { errs[i] = c.check(ctx) })
	}
	wg.Wait()

	ready = true
	var b strings.Builder
	for i, c := range checks {
		r.note(c.name, errs[i])
		if errs[i] != nil {
			ready = false
			b.WriteString(c.name + ": not ready\n") // why is in the log: this answer is read by anyone
			continue
		}
		b.WriteString(c.name + ": ok\n")
	}
	if r.draining.Load() {
		ready = false
		b.WriteString("process: shutting down\n")
	}
	if ready {
		b.WriteString("ready\n")
	}
	return ready, b.String()
}

// note logs a part that became ready or stopped being so.
func (r *readiness) note(name string, err error) {
	if errors.Is(err, context.Canceled) {
		return // who asked has gone
	}
	r.mu.Lock()
	was, known := r.last[name]
	r.last[name] = err == nil
	r.mu.Unlock()
	switch {
	case known && was == (err == nil):
	case err != nil:
		r.log.Warn("not ready", "part", name, "error", err.Error())
	default:
		r.log.Info("ready", "part", name)
	}
}

func plain(w http.ResponseWriter, req *http.Request, status int, body string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		status, body = http.StatusMethodNotAllowed, "method not allowed\n"
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}
