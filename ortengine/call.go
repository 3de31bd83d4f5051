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

// seeThrough runs work to its end, though its caller leaves or loses patience
// after the upstream time-out. Work answers once and may go on after that.
func seeThrough[T any](ctx context.Context, e *Engine, work func(ctx context.Context, answer func(T, error))) (T, error) {
	done := make(chan outcome[T], 1)
	e.work.Add(1)
	go func() {
		defer e.work.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*e.Upstream)
		defer cancel()
		work(ctx, func(v T, err error) { done <- outcome[T]{v, err} })
	}()
	patience := time.NewTimer(e.Upstream)
	defer patience.Stop()
	select {
	case o := <-done:
		return o.value, o.err
	case <-patience.C:
		var none T
		return none, errLate
	}
}

// lease waits for a key, as long as the client waits and at most for the
// upstream time-out.
func (e *Engine) lease(ctx context.Context, key string) (sessions.Lease, error) {
	wait, cancel := context.WithTimeout(ctx, e.Upstream)
	defer cancel()
	l, err := e.Store.Lease(wait, key)
	switch {
	case err == nil:
		return l, nil
	case ctx.Err() != nil: // the client left
		return nil, Unavailable("busy", "The client left", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return nil, Unavailable("busy", "Another exchange of this token is still waiting for the identity provider", err)
	}
	return nil, storeDown(err)
}

// writable asks an ailing store whether it can write, before a call upstream
// that would leave a credential nowhere to go.
func (e *Engine) writable(ctx context.Context) error {
	if !e.ailing.Load() {
		return nil
	}
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
// alone. first is told how the first attempt went. It is false where the write
// was refused for good or the process stops.
func (e *Engine) keep(ctx context.Context, first func(error), write func(context.Context) error) bool {
	err := write(ctx)
	first(err)
	for pause := firstPause; err != nil; pause = min(2*pause, lastPause) {
		if !unknown(err) {
			return false
		}
		e.ailing.Store(true)
		e.Logger.LogAttrs(ctx, slog.LevelError, "the store does not take a new upstream credential: it is held in memory and tried again",
			slog.Any("error", err))
		select {
		case <-time.After(pause):
		case <-e.stop:
			return false
		}
		err = write(context.WithoutCancel(ctx))
	}
	return true
}

// unknown says whether an error of the store says nothing: neither a rule nor a
// record decided.
func unknown(err error) bool {
	var e *Error
	return err != nil && !errors.As(err, &e) && !errors.Is(err, sessions.ErrNotFound) &&
		!errors.Is(err, sessions.ErrLeaseLost) && !errors.Is(err, sessions.ErrClosed)
}
