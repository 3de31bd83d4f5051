package ortengine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// deadCookieLife is longer than a browser keeps a cookie.
const deadCookieLife = 400 * 24 * time.Hour

// maxCookies is how many values of login cookies a session keeps: the newest.
const maxCookies = 16

// endSignOn ends a session and its single sign-on: its login cookies are dead,
// its credentials are owed to the upstream, and a browser of which no login
// cookie is known has to show its password again. An unknown or ended session is
// no error.
func (e *Engine) endSignOn(ctx context.Context, id sessions.ID, why sessions.EndReason) error {
	_, err := e.endSignOnOnce(ctx, id, why)
	return err
}

// endSignOnOnce is endSignOn; first says that the session lived until now.
func (e *Engine) endSignOnOnce(ctx context.Context, id sessions.ID, why sessions.EndReason) (first bool, err error) {
	var ended sessions.Session
	err = e.Store.Update(ctx, id, nil, func(d *sessions.Draft) error {
		now := e.now()
		first = d.EndSessionOwing(sessions.End{At: now, Reason: why, SingleSignOn: true})
		if !first {
			return nil
		}
		for _, c := range d.Session.Cookies {
			d.AddNote(deadCookie(c, now))
		}
		if len(d.Session.Cookies) == 0 {
			for _, b := range d.Session.Browsers {
				d.AddNote(e.forcedLogin(d.Session.Place, b, now))
			}
		}
		ended = d.Session
		return nil
	})
	if errors.Is(err, sessions.ErrNotFound) {
		return false, nil
	}
	if err == nil && first {
		e.ended(ctx, &ended)
		e.owe()
	}
	return first && err == nil, err
}

// endEach ends sessions as endSignOn does, and says how many lived until now. It
// goes on after an error.
func (e *Engine) endEach(ctx context.Context, ids []sessions.ID, why sessions.EndReason) (ended int, err error) {
	var running sync.WaitGroup
	var count atomic.Int64
	slots := make(chan struct{}, endsAtOnce)
	faults := make(chan error, len(ids))
	for _, id := range ids {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			var first bool
			var err error
			panicked := Guard(ctx, e.Logger, "the end of a session", func() { first, err = e.endSignOnOnce(ctx, id, why) })
			if first {
				count.Add(1)
			}
			if err = cmp.Or(panicked, err); err != nil {
				faults <- err
			}
		})
	}
	running.Wait()
	close(faults)
	return int(count.Load()), <-faults
}

func deadCookie(c sessions.CookieHash, now time.Time) sessions.Note {
	return sessions.Note{Kind: sessions.NoteDeadCookie, Key: string(c), At: now, Until: now.Add(deadCookieLife)}
}

// forcedLogin says that a browser shows its password again at a place, as long as
// it may have the login cookie that nobody knows.
func (e *Engine) forcedLogin(place string, b sessions.BrowserID, now time.Time) sessions.Note {
	return sessions.Note{Kind: sessions.NoteForceLogin, Key: sessions.NoteKey(place, string(b)), At: now, Until: now.Add(deadCookieLife)}
}

// DeadCookies says which login cookies never reach the upstream again. With an
// error it says so of those that are known to be dead all the same.
func (e *Engine) DeadCookies(ctx context.Context, cookies []sessions.CookieHash) (dead []bool, err error) {
	dead = make([]bool, len(cookies))
	for i, c := range cookies {
		switch _, unknown := e.Store.Note(ctx, sessions.NoteDeadCookie, string(c)); {
		case unknown == nil:
			dead[i] = true
		case !errors.Is(unknown, sessions.ErrNotFound):
			err = storeDown(unknown)
		}
	}
	return dead, err
}

// CookiesSet follows the login cookies that an answer sets: sent are those that
// went upstream with its request. One that renews a living session's is that
// session's; one that was set in answer to a session's that has ended meanwhile
// is dead; one that was set in answer to none is alive, even where it equals a
// dead one, for the upstream may use a value again.
func (e *Engine) CookiesSet(ctx context.Context, sent, set []sessions.CookieHash) error {
	if len(set) == 0 {
		return nil
	}
	if len(sent) == 0 {
		return e.revive(ctx, set)
	}
	e.renewals.note(sent, set, e.now())
	ids, err := e.sessionsOf(ctx, sent)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := e.renew(ctx, id, set); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) revive(ctx context.Context, set []sessions.CookieHash) error {
	dead, err := e.DeadCookies(ctx, set)
	if err != nil {
		return err
	}
	for i, c := range set {
		if dead[i] {
			if err := e.Store.DropNote(ctx, sessions.NoteDeadCookie, string(c)); err != nil {
				return storeDown(err)
			}
		}
	}
	return nil
}

// sessionsOf are the sessions that have had one of these login cookies, ended
// ones too.
func (e *Engine) sessionsOf(ctx context.Context, cookies []sessions.CookieHash) (ids []sessions.ID, err error) {
	for _, c := range cookies {
		found, err := e.Store.Find(ctx, sessions.Finder{Cookie: c})
		if err != nil {
			return nil, storeDown(err)
		}
		for _, s := range found {
			if !slices.Contains(ids, s.ID) {
				ids = append(ids, s.ID)
			}
		}
	}
	return ids, nil
}

// renew gives a session its renewed cookies, or kills them where single sign-on
// ended while the renewal was under way.
func (e *Engine) renew(ctx context.Context, id sessions.ID, set []sessions.CookieHash) error {
	err := e.Store.Update(ctx, id, nil, func(d *sessions.Draft) error {
		end := d.Session.End
		d.Session.Cookies = newest(d.Session.Cookies, set)
		if end != nil && end.SingleSignOn {
			for _, c := range set {
				d.AddNote(deadCookie(c, e.now()))
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, sessions.ErrNotFound) {
		return storeDown(err)
	}
	return nil
}

// newest puts cookies behind those that are known, and keeps the newest.
func newest(known, more []sessions.CookieHash) []sessions.CookieHash {
	out := slices.Clone(known)
	for _, c := range more {
		if i := slices.Index(out, c); i >= 0 {
			out = slices.Delete(out, i, i+1)
		}
		out = append(out, c)
	}
	return out[max(0, len(out)-maxCookies):]
}

// MustLogIn says whether a browser has to show its password at a place, because
// single sign-on ended there and no login cookie of it is known.
func (e *Engine) MustLogIn(ctx context.Context, place string, b sessions.BrowserID) (bool, error) {
	if b == "" {
		return false, nil
	}
	_, err := e.Store.Note(ctx, sessions.NoteForceLogin, sessions.NoteKey(place, string(b)))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, sessions.ErrNotFound):
		return false, nil
	}
	return false, storeDown(err)
}

// loggedIn lets a browser use single sign-on again: a code exchange came of a
// request that was made after it was forced, with a login that is newer.
func (j *join) loggedIn(ctx context.Context) {
	if j.browser == "" {
		return
	}
	key := sessions.NoteKey(j.place, string(j.browser))
	n, err := j.Store.Note(ctx, sessions.NoteForceLogin, key)
	if err != nil {
		return
	}
	newer := j.asked.After(n.At)
	if j.login != nil && !j.login.AuthTime.IsZero() {
		newer = newerLogin(j.login.AuthTime, n)
	}
	if newer {
		j.Store.DropNote(ctx, sessions.NoteForceLogin, key)
	}
}

// newerLogin says whether a login came after a browser was forced to; auth_time is
// in whole seconds.
func newerLogin(authTime time.Time, forced sessions.Note) bool {
	return !authTime.Before(forced.At.Truncate(time.Second))
}

// LoggedIn lets a browser use single sign-on again whose code came of a request
// without online_access, by what the ID token says of the login.
func (e *Engine) LoggedIn(ctx context.Context, place, code string, authTime time.Time) {
	c, err := e.Store.Code(ctx, sessions.HashCode(code))
	if err != nil || c.Browser == "" {
		return
	}
	key := sessions.NoteKey(place, string(c.Browser))
	if n, err := e.Store.Note(ctx, sessions.NoteForceLogin, key); err == nil && newerLogin(authTime, n) {
		e.Store.DropNote(ctx, sessions.NoteForceLogin, key)
	}
}
