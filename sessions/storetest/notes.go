package storetest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// note is a note that holds for a minute.
func (e *env) note(kind sessions.NoteKind, key string) sessions.Note {
	now := exact(e.clock.Now())
	return sessions.Note{Kind: kind, Key: key, At: now, Until: now.Add(time.Minute)}
}

func (e *env) addNote(n sessions.Note) (first bool) {
	e.Helper()
	first, err := e.store.AddNote(e.ctx, n)
	e.ok(err)
	return first
}

// noted says that a note is there, as it is given.
func (e *env) noted(n sessions.Note) {
	e.Helper()
	got, err := e.store.Note(e.ctx, n.Kind, n.Key)
	e.ok(err)
	equal(e, got, n)
}

func (e *env) noNote(kind sessions.NoteKind, key string) {
	e.Helper()
	_, err := e.store.Note(e.ctx, kind, key)
	e.is(err, sessions.ErrNotFound)
}

var noteCases = []testCase{
	{name: "a note holds until its time, found by kind and key", run: func(e *env) {
		n := e.note(sessions.NoteDeadCookie, "a")
		equal(e, e.addNote(n), true)
		e.noted(n)
		e.noNote(sessions.NoteForceLogin, n.Key)
		e.noNote(n.Kind, "b")
		e.clock.Advance(time.Minute - time.Millisecond)
		e.noted(n)
		e.clock.Advance(time.Millisecond)
		e.noNote(n.Kind, n.Key)
		again := e.note(n.Kind, n.Key)
		again.At = n.At.Add(-time.Hour)
		equal(e, e.addNote(again), true)
		e.noted(again)
	}},
	{name: "a note's times come back in UTC to the millisecond", run: func(e *env) {
		now := e.clock.Now()
		n := sessions.Note{Kind: sessions.NoteEndedSubject, Key: "a", At: now, Until: now.Add(400 * 24 * time.Hour)}
		equal(e, e.addNote(n), true)
		n.At, n.Until = exact(n.At), exact(n.Until)
		e.noted(n)
	}},
	{name: "no key of a note is another's", run: func(e *env) {
		keys := []string{"", "a", "a\x00", "\x00a", "ab", strings.Repeat("a", 5000), strings.Repeat("a", 5001)}
		for i, key := range keys {
			n := e.note(sessions.NoteClient, key)
			n.Until = n.Until.Add(time.Duration(i) * time.Second)
			equal(e, e.addNote(n), true)
		}
		for i, key := range keys {
			n := e.note(sessions.NoteClient, key)
			n.Until = n.Until.Add(time.Duration(i) * time.Second)
			e.noted(n)
		}
	}},
	{name: "a second note is not the first, and the later times count", run: func(e *env) {
		n := e.note(sessions.NoteEndedSID, "a")
		equal(e, e.addNote(n), true)
		later := n
		later.At, later.Until = n.At.Add(time.Second), n.Until.Add(-time.Second)
		equal(e, e.addNote(later), false)
		e.noted(sessions.Note{Kind: n.Kind, Key: n.Key, At: later.At, Until: n.Until})
		longer := n
		longer.At, longer.Until = n.At.Add(-time.Second), n.Until.Add(time.Hour)
		equal(e, e.addNote(longer), false)
		want := sessions.Note{Kind: n.Kind, Key: n.Key, At: later.At, Until: longer.Until}
		e.noted(want)
		e.sweep(n.Until, 100) // its first time
		e.noted(want)
	}},
	{name: "a dropped note is gone, an unknown one is no error", run: func(e *env) {
		n, other := e.note(sessions.NoteDeadCookie, "a"), e.note(sessions.NoteForceLogin, "a")
		equal(e, e.addNote(n), true)
		equal(e, e.addNote(other), true)
		for range 2 {
			e.ok(e.store.DropNote(e.ctx, n.Kind, n.Key))
			e.noNote(n.Kind, n.Key)
		}
		e.noted(other)
		equal(e, e.addNote(n), true)
		e.noted(n)
	}},
	{name: "a note of a change is kept with it or not at all", run: func(e *env) {
		s, g := e.create(1)
		n := e.note(sessions.NoteDeadCookie, "a")
		for name, f := range map[string]func(*sessions.Draft) error{
			"the caller's own error": func(*sessions.Draft) error { return errOwn },
			"a refusal":              func(d *sessions.Draft) error { d.Session.ID = sessions.NewID(); return nil },
			"a panic":                func(*sessions.Draft) error { panic("no") },
		} {
			if err := e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.AddNote(n); return f(d) }); err == nil {
				e.Errorf("%s was no error", name)
			}
			e.noNote(n.Kind, n.Key)
		}
		twice := n
		twice.Until = n.Until.Add(time.Second)
		other := e.note(sessions.NoteForceLogin, "b")
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.EndSession(sessions.End{At: e.clock.Now(), Reason: sessions.EndRevoked, SingleSignOn: true})
			d.AddNote(n)
			d.AddNote(twice)
			d.AddNote(other)
			return nil
		}))
		e.noted(twice)
		e.noted(other)
		_, _, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "an update adds to a note that stands", run: func(e *env) {
		s, _ := e.create(1)
		n := e.note(sessions.NoteDeadCookie, "a")
		equal(e, e.addNote(n), true)
		longer := n
		longer.Until = n.Until.Add(time.Hour)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.AddNote(longer); return nil }))
		e.noted(longer)
		equal(e, e.addNote(n), false)
	}},
	{name: "notes past their time are swept, within the limit", run: func(e *env) {
		for i := range 250 {
			equal(e, e.addNote(e.note(sessions.NoteDeadCookie, fmt.Sprint(i))), true)
		}
		stays := e.note(sessions.NoteDeadCookie, "stays")
		stays.Until = stays.Until.Add(time.Hour)
		equal(e, e.addNote(stays), true)
		equal(e, e.sweep(e.in(time.Minute-time.Millisecond), 1000), sessions.Swept{})
		e.clock.Advance(time.Minute)
		for removed := 0; ; {
			got := e.sweep(e.clock.Now(), 60)
			if removed += got.Removed; got.Removed > 60 || removed > 250 {
				e.Fatalf("%d were removed, %d in all", got.Removed, removed)
			}
			if !got.More {
				break
			}
		}
		e.noted(stays)
		equal(e, e.sweep(e.clock.Now(), 1000), sessions.Swept{})
		equal(e, e.sweep(stays.Until, 1000).More, false)
	}},
	{name: "a sweep ends sessions and removes notes in one", run: func(e *env) {
		for i := range 5 {
			s, _ := e.create(i)
			n := e.note(sessions.NoteDeadCookie, string(s.ID))
			n.Until = s.Idle
			equal(e, e.addNote(n), true)
		}
		e.sweep(e.in(time.Hour), 100) // the codes
		got := e.sweep(e.in(3*time.Hour), 100)
		equal(e, len(got.Ended), 5)
	}},
	{name: "of many who add one note at once, one is first", run: func(e *env) {
		s, _ := e.create(1)
		n := e.note(sessions.NoteLogoutToken, "jti")
		var firsts atomic.Int32
		together(many, func(i int) {
			mine := n
			mine.Until = n.Until.Add(time.Duration(i) * time.Second)
			if first, err := e.store.AddNote(e.ctx, mine); err != nil {
				e.Error(err)
			} else if first {
				firsts.Add(1)
			}
			if err := e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.AddNote(e.note(sessions.NoteDeadCookie, "b")); return nil }); err != nil {
				e.Error(err)
			}
		})
		equal(e, firsts.Load(), 1)
		n.Until = n.Until.Add((many - 1) * time.Second)
		e.noted(n)
	}},
	{name: "notes are added, dropped and swept beside each other", run: func(e *env) {
		together(many, func(i int) {
			n := e.note(sessions.NoteDeadCookie, fmt.Sprint(i%5))
			n.Until = n.Until.Add(time.Duration(i%3) * time.Minute)
			var err error
			switch i % 4 {
			case 0:
				err = e.store.DropNote(e.ctx, n.Kind, n.Key)
			case 1:
				_, err = e.store.Sweep(e.ctx, n.Until, 10)
			default:
				_, err = e.store.AddNote(e.ctx, n)
			}
			if err != nil {
				e.Error(err)
			}
		})
	}},
	{name: "a client waits while a transaction of it does", run: func(e *env) {
		now := exact(e.clock.Now())
		t := sessions.Transaction{Key: sessions.KeyOfChallenge("S256", "waits"), Client: "waiting", Created: now, Until: now.Add(time.Minute)}
		e.add(t)
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
