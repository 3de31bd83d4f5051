package ortengine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Revoke ends the session of an ORT (RFC 7009) and its single sign-on, durably
// before it returns. A token whose session is unknown or ended is no error (section
// 2.2).
func (e *Engine) Revoke(ctx context.Context, o *ORT) error {
	if err := e.endSignOn(ctx, o.Session, sessions.EndRevoked); err != nil {
		return storeDown(err)
	}
	return nil
}

// CheckRevocation refuses the revocation of another client's token (RFC 7009
// section 2.1).
func (e *Engine) CheckRevocation(o *ORT, client string) error {
	if !equal(o.Client, client) {
		return &Error{Status: 400, Code: InvalidGrant, Description: "The token was issued to another client", Result: "wrong_client"}
	}
	return nil
}

// end ends a session, once. An unknown or ended one is no error.
func (e *Engine) end(ctx context.Context, id sessions.ID, end sessions.End) error {
	var first bool
	var ended sessions.Session
	err := e.Store.Update(ctx, id, nil, func(d *sessions.Draft) error {
		first = d.EndSession(end)
		ended = d.Session
		return nil
	})
	if errors.Is(err, sessions.ErrNotFound) {
		return nil
	}
	if err == nil && first {
		e.ended(ctx, &ended)
	}
	return err
}

// expire ends a session whose limit has passed. moved says that an exchange which
// was under way has moved the limit since it was looked at, and nothing ended.
func (e *Engine) expire(ctx context.Context, id sessions.ID) (moved bool, err error) {
	var first bool
	var s sessions.Session
	err = e.Store.Update(ctx, id, nil, func(d *sessions.Draft) error {
		first = false
		now := e.now()
		why, past := d.Session.Deadline(now)
		if moved = !past; moved {
			return nil
		}
		first = d.EndSession(sessions.End{At: now, Reason: why})
		s = d.Session
		return nil
	})
	if err != nil {
		return false, err
	}
	if first {
		e.ended(ctx, &s)
	}
	return moved, nil
}

// endGrant ends one client's share, under the lease that its credential was used
// under; the session ends with its last. Where the session ended before, it says
// how.
func (e *Engine) endGrant(ctx context.Context, id sessions.ID, grant sessions.GrantID, lease sessions.Lease) (before *sessions.End, err error) {
	var last bool
	var s sessions.Session
	err = e.Store.Update(ctx, id, lease, func(d *sessions.Draft) error {
		last, before = false, d.Session.End
		if before != nil {
			return nil
		}
		d.Drop(grant)
		if len(d.Grants()) == 0 {
			last = d.EndSession(sessions.End{At: e.now(), Reason: sessions.EndGrantsEnded})
		}
		s = d.Session
		return nil
	})
	if errors.Is(err, sessions.ErrNotFound) {
		return nil, nil
	}
	if err == nil && last {
		e.ended(ctx, &s)
	}
	return before, err
}

// sweepLimit is how many records one sweep looks at, so that it ends soon.
const sweepLimit = 1000

// Sweep ends sessions whose limit has passed and removes old records, each tick,
// until the context ends.
func (e *Engine) Sweep(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		_ = Guard(ctx, e.Logger, "a sweep", func() { e.sweep(ctx) }) // a fault is met again at the next tick
	}
}

func (e *Engine) sweep(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		swept, err := e.Store.Sweep(ctx, e.now(), sweepLimit)
		for i := range swept.Ended {
			e.ended(ctx, &swept.Ended[i])
		}
		if err != nil {
			e.Logger.LogAttrs(ctx, slog.LevelWarn, "sweeping old records", slog.Any("error", err))
			return
		}
		more = swept.More
	}
}
