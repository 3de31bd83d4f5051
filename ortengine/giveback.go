package ortengine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// GiveBack gives an upstream credential back to the identity provider, as far as
// that needs no secret of its client. again says that it is worth trying again;
// else the credential is gone there, or nothing can be done.
type GiveBack func(ctx context.Context, issuer, client, credential string) (again bool)

// owingLimit is how many sessions are looked at between two looks at the context.
const owingLimit = 100

// owe wakes the worker that gives credentials back.
func (e *Engine) owe() {
	select {
	case e.owing <- struct{}{}:
	default:
	}
}

// GiveBackSoon lets [Engine.GiveBackOwed] try again at once: the upstream may take
// now what it did not.
func (e *Engine) GiveBackSoon() { e.owe() }

// GiveBackOwed gives back the credentials of sessions whose single sign-on ended,
// at once when one ends and at each tick what could not be given back before,
// until the context ends. A credential that nobody takes is deleted at its
// session's absolute deadline.
func (e *Engine) GiveBackOwed(ctx context.Context, tick <-chan time.Time, give GiveBack) {
	for {
		e.giveBackAll(ctx, give)
		select {
		case <-ctx.Done():
			return
		case <-tick:
		case <-e.owing:
		}
	}
}

func (e *Engine) giveBackAll(ctx context.Context, give GiveBack) {
	for after := sessions.ID(""); ctx.Err() == nil; {
		owing, err := e.Store.Owing(ctx, after, owingLimit)
		if err != nil {
			e.Logger.LogAttrs(ctx, slog.LevelWarn, "looking for credentials to give back", slog.Any("error", err))
			return
		}
		for i := range owing {
			after = owing[i].ID
			// A fault is logged, and met again at the next tick.
			_ = Guard(ctx, e.Logger, "giving a credential back", func() { e.giveBack(ctx, &owing[i], give) })
		}
		if len(owing) < owingLimit {
			return
		}
	}
}

// giveBack settles what one session owes. Upstreams revoke by client or login,
// not by token: after a later login with the same sid a credential that was given
// back would take that login with it, so it is deleted instead.
func (e *Engine) giveBack(ctx context.Context, s *sessions.Session, give GiveBack) {
	lease, err := e.Store.Lease(ctx, "owed:"+string(s.ID))
	if err != nil {
		return
	}
	defer lease.Release()
	now, err := e.Store.Session(ctx, s.ID) // another replica may have given it back meanwhile
	if err != nil {
		return
	}
	for _, o := range now.Owed {
		if ctx.Err() != nil {
			return
		}
		later, err := e.loggedInAgain(ctx, s)
		if err != nil {
			return
		}
		if !later {
			credential, err := e.credentials.Open(o.Credential, grantName(&sessions.Grant{ID: o.Grant, Session: s.ID}))
			if err == nil && give(ctx, o.Issuer, o.Client, string(credential)) {
				continue
			}
		}
		e.settle(ctx, s.ID, o.Grant)
	}
}

// loggedInAgain says whether a later session has one of this session's sids.
func (e *Engine) loggedInAgain(ctx context.Context, s *sessions.Session) (bool, error) {
	for _, u := range s.Upstream {
		found, err := e.Store.Find(ctx, sessions.Finder{Upstream: u})
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(found, func(o sessions.Session) bool { return o.ID != s.ID && o.Created.After(s.Created) }) {
			return true, nil
		}
	}
	return false, nil
}

// settle forgets a credential that was given back.
func (e *Engine) settle(ctx context.Context, id sessions.ID, grant sessions.GrantID) {
	err := e.Store.Update(context.WithoutCancel(ctx), id, nil, func(d *sessions.Draft) error {
		d.Session.Owed = slices.DeleteFunc(slices.Clone(d.Session.Owed), func(o sessions.Owed) bool { return o.Grant == grant })
		return nil
	})
	if err != nil && !errors.Is(err, sessions.ErrNotFound) {
		e.Logger.LogAttrs(ctx, slog.LevelWarn, "forgetting a credential that was given back", slog.Any("error", err))
	}
}
