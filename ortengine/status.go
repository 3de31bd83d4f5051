package ortengine

import (
	"context"
	"errors"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Status is the session of an ORT, without extending it. An error is an [Error].
func (e *Engine) Status(ctx context.Context, o *ORT) (sessions.Session, error) {
	s, _, err := e.living(ctx, o)
	if err != nil {
		return s, AsError(err)
	}
	return s, nil
}

// Watch signals each change of an ORT's session, until stop is called. After a
// signal, [Engine.State] says what is.
func (e *Engine) Watch(o *ORT) (changed <-chan struct{}, stop func()) {
	return e.Store.Watch(o.Session)
}

// State is what a page that watches a session is told.
type State struct {
	Session sessions.Session
	// Ended is the reason why the token is dead, empty while it lives. A grant that
	// ended alone is "grant_ended".
	Ended string
}

// State looks at the session of an ORT; one whose limit has passed ends. An
// error means that nobody can tell.
func (e *Engine) State(ctx context.Context, o *ORT) (State, error) {
	s, _, err := e.living(ctx, o)
	if err == nil {
		return State{Session: s}, nil
	}
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Status >= 500 {
		return State{}, err
	}
	if s.End != nil {
		return State{Session: s, Ended: string(s.End.Reason)}, nil
	}
	if why, past := s.Deadline(e.now()); past && s.ID != "" {
		return State{Session: s, Ended: string(why)}, nil
	}
	if s.ID == "" {
		return State{Ended: "unknown"}, nil
	}
	return State{Session: s, Ended: "grant_ended"}, nil
}
