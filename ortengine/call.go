package ortengine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Login is what an ID token says of a login (OIDC Core section 2).
type Login struct {
	Issuer  string
	Subject string
	SID     string
	// AuthTime is auth_time, zero where the token has none.
	AuthTime time.Time
	// PublicSubjects says that every client knows a user of this issuer by the same
	// subject (subject_types_supported is public alone).
	PublicSubjects bool
}

// Answer is what the upstream's token endpoint answered.
type Answer struct {
	Status int
	Error  string // OAuth error code of a refusal
	// Credential is the refresh token in it, empty where there is none. It is read
	// even from an answer that is otherwise useless.
	Credential string
	Login      *Login // nil where there is no ID token that can be read
	// Malformed says that a 200 is not one JSON object.
	Malformed bool
	// Reply is the caller's own form of the answer, handed back with the result.
	Reply any
}

// Send asks the upstream's token endpoint, with the code verifier or the
// refresh token that is given. An error means that no answer came. It may run
// longer than its caller waits, so it must not touch what belongs to the
// client's request.
type Send func(ctx context.Context, secret string) (Answer, error)

var errLate = errors.New("no answer in time")

// outcome is what a piece of work came to.
type outcome[T any] struct {
	value T
	err   error
}

// seeThrough asks the upstream and works on its answer to the end, though the
// caller leaves or loses patience after the upstream time-out. Work answers once
// and may go on after that: its context has no end, for what it has in hand
// exists nowhere else. It holds the lease, which is given back at its end.
func seeThrough[T any](ctx context.Context, e *Engine, lease sessions.Lease, send func(context.Context) (Answer, error),
	work func(ctx context.Context, reply Answer, answer func(T, error))) (T, error) {
	var none T
	if !e.begin() {
		lease.Release()
		return none, Unavailable("upstream_unavailable", "The gateway is stopping", nil)
	}
	done := make(chan outcome[T], 2) // a second answer is that of a panic
	answer := func(v T, err error) { done <- outcome[T]{v, err} }
	go func() {
		defer e.work.Done()
		defer lease.Release()
		ctx := context.WithoutCancel(ctx)
		err := Guard(ctx, e.Logger, "a call to the upstream", func() {
			within, cancel := context.WithTimeout(ctx, 2*e.Upstream)
			defer cancel()
			reply, err := send(within)
			if err != nil {
				answer(none, Unavailable("upstream_unavailable", "The identity provider does not answer", err))
				return
			}
			work(ctx, reply, answer)
		})
		if err != nil {
			answer(none, Unavailable("upstream_unavailable", "The gateway has a fault", err))
		}
	}()
	patience := time.NewTimer(e.Upstream)
	defer patience.Stop()
	select {
	case o := <-done:
		return o.value, o.err
	case <-patience.C:
		return none, Unavailable("upstream_unavailable", "The identity provider does not answer in time", errLate)
	}
}

// begin counts a call that Close waits for, or says that it is too late for one.
func (e *Engine) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.work.Add(1)
	return true
}

// leaseOf waits for the lease of a name.
func (e *Engine) leaseOf(ctx context.Context, key string, busy *Error) (sessions.Lease, error) {
	return e.lease(ctx, busy, func(ctx context.Context) (sessions.Lease, error) { return e.Store.Lease(ctx, key) })
}

// lease waits for a lease, as long as the client waits and at most for the
// upstream time-out; busy is what is said after that. ErrNotFound is passed on.
func (e *Engine) lease(ctx context.Context, busy *Error, take func(context.Context) (sessions.Lease, error)) (sessions.Lease, error) {
	wait, cancel := context.WithTimeout(ctx, e.Upstream)
	defer cancel()
	l, err := take(wait)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, sessions.ErrNotFound):
		return nil, err
	case ctx.Err() != nil: // the client left
		return nil, Unavailable(busy.Result, "The client left", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return nil, busy
	}
	return nil, storeDown(err)
}

// writable asks an ailing store whether it can write, before a call upstream
// that would leave a credential nowhere to go.
func (e *Engine) writable(ctx context.Context) error {
	if !e.ailing.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.Upstream) // a disk may hang
	defer cancel()
	if err := e.Store.Ready(ctx); err != nil {
		return storeDown(err)
	}
	e.ailing.Store(false)
	return nil
}

// The waits between attempts to keep what must not be lost.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// keep runs a write that must not be lost until the store takes it: a full disk
// is emptied one day, and until then the credential lives in this process
// alone. first is told how the first attempt went. It gives up where a rule or a
// record refused the write, and where the process stops. The context has no end.
func (e *Engine) keep(ctx context.Context, first func(error), write func() error) {
	err := write()
	if unknown(err) {
		e.ailing.Store(true) // before the client, told by first, comes again
	}
	first(err)
	for pause := firstPause; unknown(err); pause = min(2*pause, lastPause) {
		e.ailing.Store(true)
		e.Logger.LogAttrs(ctx, slog.LevelError, "the store does not take a new upstream credential: it is held in memory and tried again",
			slog.Any("error", err))
		select {
		case <-time.After(pause):
		case <-e.stop:
			err = sessions.ErrClosed
			continue
		}
		err = write()
	}
	if errors.Is(err, sessions.ErrClosed) {
		e.Logger.LogAttrs(ctx, slog.LevelError, "a new upstream credential is lost: the gateway stops and the store did not take it",
			slog.Any("error", err))
	}
}

// unknown says whether an error of the store says nothing: neither a rule nor a
// record decided.
func unknown(err error) bool {
	var e *Error
	return err != nil && !errors.As(err, &e) && !errors.Is(err, sessions.ErrNotFound) &&
		!errors.Is(err, sessions.ErrLeaseLost) && !errors.Is(err, sessions.ErrClosed)
}
