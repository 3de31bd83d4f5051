package storetest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// note is a note that holds for a minute.
func (e *env) note(kind sessions.NoteKind, key string) sessions.Note {
	now := exact(e.clock.Now())
	return sessions.Note{Kind: kind, Key: key, At: now, Until: now.Add(time.Minute)}
}

var noteCases = []testCase{
	{name: "a note holds until its time, found by kind and key", run: func(e *env) {
		n := e.note(sessions.NoteDeadCookie, "a")
		first, err := e.store.AddNote(e.ctx, n)
		e.ok(err)
		equal(e, first, true)
		got, err := e.store.Note(e.ctx, n.Kind, n.Key)
		e.ok(err)
		equal(e, got, n)
		_, err = e.store.Note(e.ctx, sessions.NoteForceLogin, n.Key)
		e.is(err, sessions.ErrNotFound)
		_, err = e.store.Note(e.ctx, n.Kind, "b")
		e.is(err, sessions.ErrNotFound)
		e.clock.Advance(time.Minute)
		_, err = e.store.Note(e.ctx, n.Kind, n.Key)
		e.is(err, sessions.ErrNotFound)
		first, err = e.store.AddNote(e.ctx, e.note(n.Kind, n.Key))
		e.ok(err)
		equal(e, first, true)
	}},
	{name: "a second note is not the first, and the later times count", run: func(e *env) {
		n := e.note(sessions.NoteEndedSID, "a")
		_, err := e.store.AddNote(e.ctx, n)
		e.ok(err)
		later := n
		later.At, later.Until = n.At.Add(time.Second), n.Until.Add(-time.Second)
		first, err := e.store.AddNote(e.ctx, later)
		e.ok(err)
		equal(e, first, false)
		got, err := e.store.Note(e.ctx, n.Kind, n.Key)
		e.ok(err)
		equal(e, got, sessions.Note{Kind: n.Kind, Key: n.Key, At: later.At, Until: n.Until})
	}},
	{name: "of many who add one note at once, one is first", run: func(e *env) {
		n := e.note(sessions.NoteLogoutToken, "jti")
		var firsts atomic.Int64
		var running sync.WaitGroup
		for range 64 {
			running.Go(func() {
				if first, err := e.store.AddNote(e.ctx, n); err == nil && first {
					firsts.Add(1)
				}
			})
		}
		running.Wait()
		equal(e, firsts.Load(), int64(1))
	}},
	{name: "a dropped note is gone, an unknown one is no error", run: func(e *env) {
		n := e.note(sessions.NoteDeadCookie, "a")
		_, err := e.store.AddNote(e.ctx, n)
		e.ok(err)
		e.ok(e.store.DropNote(e.ctx, n.Kind, n.Key))
		e.ok(e.store.DropNote(e.ctx, n.Kind, n.Key))
		_, err = e.store.Note(e.ctx, n.Kind, n.Key)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "a note of a change is kept with it or not at all", run: func(e *env) {
		s, _ := e.create(1)
		n := e.note(sessions.NoteDeadCookie, "a")
		e.is(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.AddNote(n)
			return errOwn
		}), errOwn)
		_, err := e.store.Note(e.ctx, n.Kind, n.Key)
		e.is(err, sessions.ErrNotFound)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.AddNote(n)
			d.AddNote(n)
			return nil
		}))
		got, err := e.store.Note(e.ctx, n.Kind, n.Key)
		e.ok(err)
		equal(e, got, n)
	}},
	{name: "notes past their time are swept", run: func(e *env) {
		for _, key := range []string{"a", "b", "c"} {
			_, err := e.store.AddNote(e.ctx, e.note(sessions.NoteDeadCookie, key))
			e.ok(err)
		}
		e.clock.Advance(2 * time.Minute)
		swept, err := e.store.Sweep(e.ctx, e.clock.Now(), 100)
		e.ok(err)
		equal(e, swept.Removed, 3)
		equal(e, swept.More, false)
	}},
	{name: "sessions are found by their login cookies", run: func(e *env) {
		s, _ := e.create(1)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.Session.Cookies = []sessions.CookieHash{"old", "new"}
			return nil
		}))
		for _, c := range []sessions.CookieHash{"old", "new"} {
			found, err := e.store.Find(e.ctx, sessions.Finder{Cookie: c})
			e.ok(err)
			equal(e, len(found), 1)
			equal(e, found[0].ID, s.ID)
		}
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.Session.Cookies = d.Session.Cookies[1:]
			return nil
		}))
		found, err := e.store.Find(e.ctx, sessions.Finder{Cookie: "old"})
		e.ok(err)
		equal(e, len(found), 0)
	}},
	{name: "an end of single sign-on owes the credentials until they are settled", run: func(e *env) {
		s, g := e.create(1)
		other, _ := e.create(2)
		end := sessions.End{At: exact(e.clock.Now()), Reason: sessions.EndRevoked, SingleSignOn: true}
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			equal(e, d.EndSessionOwing(end), true)
			equal(e, d.EndSessionOwing(end), false)
			return nil
		}))
		owing, err := e.store.Owing(e.ctx, "", 10)
		e.ok(err)
		equal(e, len(owing), 1)
		equal(e, owing[0].ID, s.ID)
		equal(e, owing[0].Owed, []sessions.Owed{{Grant: g.ID, Client: g.Client, Issuer: g.Issuer, Credential: g.Credential}})
		owing, err = e.store.Owing(e.ctx, s.ID, 10)
		e.ok(err)
		equal(e, len(owing), 0)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.Session.Owed = nil
			return nil
		}))
		owing, err = e.store.Owing(e.ctx, "", 10)
		e.ok(err)
		equal(e, len(owing), 0)
		_, err = e.store.Session(e.ctx, other.ID)
		e.ok(err)
	}},
	{name: "what a session owes goes with it", run: func(e *env) {
		s, _ := e.create(1)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.EndSessionOwing(sessions.End{At: exact(e.clock.Now()), Reason: sessions.EndRevoked, SingleSignOn: true})
			return nil
		}))
		_, err := e.store.Sweep(e.ctx, s.Absolute.Add(time.Second), 100)
		e.ok(err)
		owing, err := e.store.Owing(e.ctx, "", 10)
		e.ok(err)
		equal(e, len(owing), 0)
	}},
	{name: "a client waits while a transaction of it does", run: func(e *env) {
		now := exact(e.clock.Now())
		t := sessions.Transaction{Key: sessions.KeyOfChallenge("S256", "waits"), Client: "waiting", Created: now, Until: now.Add(time.Minute)}
		_, _, err := e.store.AddTransaction(e.ctx, t)
		e.ok(err)
		for client, want := range map[string]bool{"waiting": true, "other": false} {
			got, err := e.store.Waits(e.ctx, client)
			e.ok(err)
			equal(e, got, want)
		}
		e.ok(e.store.DropTransaction(e.ctx, t.Key))
		got, err := e.store.Waits(e.ctx, "waiting")
		e.ok(err)
		equal(e, got, false)
	}},
}
