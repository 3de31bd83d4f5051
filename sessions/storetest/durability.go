package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// RunDurability runs every case that needs a store to be opened again: after
// Close, and, where crash is not nil, as a crash would leave it. crash copies
// what is on the disk now to another place, while the store is open.
func RunDurability(t *testing.T, open Opener, crash func(t testing.TB, place string) string) {
	t.Run("closed", func(t *testing.T) { durable(t, open, nil) })
	if crash != nil {
		t.Run("crashed", func(t *testing.T) { durable(t, open, crash) })
	}
}

// kept is what a durable case expects to find again.
type kept struct {
	alive, used, ended   sessions.Session
	grant, usedGrant     sessions.Grant
	transaction, dropped sessions.Transaction
	code, gone           sessions.Code
	uri                  sessions.RequestURIHash
	note, noteOfEnd      sessions.Note
	droppedNote          sessions.Note
	owing, settled       sessions.Session
}

func durable(t *testing.T, open Opener, crash func(testing.TB, string) string) {
	clock := NewClock()
	c := Config{Place: t.TempDir(), Now: clock.Now}
	e := &env{T: t, ctx: t.Context(), store: open(t, c), clock: clock}
	k := keep(e)
	if crash != nil {
		c.Place = crash(t, c.Place)
		defer finish(t, e.store)
	} else {
		finish(t, e.store)
	}
	e = &env{T: t, ctx: t.Context(), store: open(t, c), clock: clock}
	k.check(e, crash == nil)
	if crash == nil { // and once more, without a change
		finish(t, e.store)
		e = &env{T: t, ctx: t.Context(), store: open(t, c), clock: clock}
		k.check(e, true)
	}
	k.sweep(e)
	finish(t, e.store)
}

func keep(e *env) (k kept) {
	k.alive, k.grant = e.create(1)
	k.used, k.usedGrant = e.create(2)
	k.ended, _ = e.create(3)
	k.transaction = e.add(newTransaction(e.clock.Now(), 1, "192.0.2.1/32"))
	k.dropped = e.add(newTransaction(e.clock.Now(), 2, "2001:db8::/64"))
	e.ok(e.store.DropTransaction(e.ctx, k.dropped.Key))
	for i := range 20 { // enough for one order
		e.add(newTransaction(e.clock.Now(), 10+i, "192.0.2.2/32"))
	}
	k.uri = sessions.HashRequestURI("urn:x")
	e.ok(e.store.TieRequestURI(e.ctx, k.uri, k.transaction.Key, e.in(time.Hour)))
	k.code = sessions.Code{Hash: sessions.HashCode("seen"), Browser: "b", LeftAt: exact(e.clock.Now()), Until: exact(e.in(time.Hour))}
	e.ok(e.store.AddCode(e.ctx, k.code))
	k.gone = sessions.Code{Hash: sessions.HashCode("used"), Exchanged: true, Until: exact(e.in(time.Hour))}
	e.clock.Advance(time.Minute)
	k.used.Idle, k.usedGrant.Uses = exact(e.in(3*time.Hour)), 8
	e.ok(e.store.Update(e.ctx, k.used.ID, nil, func(d *sessions.Draft) error {
		d.Session.Idle = k.used.Idle
		g, _ := d.Grant(k.usedGrant.ID)
		g.Uses++
		d.Put(g)
		d.UseCode(k.gone.Hash, k.gone.Until)
		return nil
	}))
	e.end(k.ended.ID, sessions.EndRevoked)
	k.ended.End = &sessions.End{At: exact(e.clock.Now()), Reason: sessions.EndRevoked}
	k.keepNotes(e)
	return k
}

// keepNotes adds notes, and two sessions that owe, one of which has settled.
func (k *kept) keepNotes(e *env) {
	k.note, k.noteOfEnd, k.droppedNote = e.note(sessions.NoteDeadCookie, "kept"), e.note(sessions.NoteDeadCookie, "of an end"), e.note(sessions.NoteDeadCookie, "dropped")
	for _, n := range []sessions.Note{k.note, k.droppedNote} {
		equal(e, e.addNote(n), true)
	}
	e.ok(e.store.DropNote(e.ctx, k.droppedNote.Kind, k.droppedNote.Key))
	for i, s := range []*sessions.Session{&k.owing, &k.settled} {
		made, _ := e.create(4 + i)
		e.follow(made.ID, "cookie", sessions.CookieHash("of "+string(made.ID)))
		e.endOwing(made.ID, k.noteOfEnd)
		if i == 1 {
			e.ok(e.store.Update(e.ctx, made.ID, nil, func(d *sessions.Draft) error { d.Session.Owed = nil; return nil }))
		}
		*s = e.session(made.ID)
	}
}

func (k *kept) checkNotes(e *env) {
	e.Helper()
	for _, n := range []sessions.Note{k.note, k.noteOfEnd} {
		got, err := e.store.Note(e.ctx, n.Kind, n.Key)
		e.ok(err)
		equal(e, got, n)
	}
	_, err := e.store.Note(e.ctx, k.droppedNote.Kind, k.droppedNote.Key)
	e.is(err, sessions.ErrNotFound)
	equal(e, e.addNote(k.note), false)
	for _, s := range []sessions.Session{k.owing, k.settled} {
		equal(e, e.session(s.ID), s)
		equal(e, e.found(sessions.Finder{Cookie: s.Cookies[1]}), []sessions.ID{s.ID})
	}
	equal(e, len(e.found(sessions.Finder{Cookie: "cookie"})), 2)
	equal(e, e.owing("", 10), []sessions.ID{k.owing.ID})
}

func (k *kept) checkSessions(e *env) {
	e.Helper()
	s, g, err := e.store.Grant(e.ctx, k.alive.ID, k.grant.ID)
	e.ok(err)
	equal(e, s, k.alive)
	equal(e, g, k.grant)
	s, g, err = e.store.Grant(e.ctx, k.used.ID, k.usedGrant.ID)
	e.ok(err)
	equal(e, s, k.used)
	equal(e, g, k.usedGrant)
	s, err = e.store.Session(e.ctx, k.ended.ID)
	e.ok(err)
	equal(e, s, k.ended)
	for _, s := range []sessions.Session{k.alive, k.used, k.ended} {
		equal(e, e.found(sessions.Finder{Browser: s.Browsers[1]}), []sessions.ID{s.ID})
		equal(e, e.found(sessions.Finder{Upstream: s.Upstream[0]}), []sessions.ID{s.ID})
	}
}

// check looks for everything; closed says that what is written behind is there too.
func (k *kept) check(e *env, closed bool) {
	e.Helper()
	k.checkSessions(e)
	k.checkNotes(e)
	equal(e, e.store.Stats().Active, 2)
	c, err := e.store.Code(e.ctx, k.gone.Hash)
	e.ok(err)
	equal(e, c, k.gone)
	c, err = e.store.Code(e.ctx, k.grant.CodeHash)
	e.ok(err)
	equal(e, c.Exchanged, true)
	if !closed {
		return
	}
	tx, err := e.store.Transaction(e.ctx, k.transaction.Key)
	e.ok(err)
	equal(e, tx, k.transaction)
	_, err = e.store.Transaction(e.ctx, k.dropped.Key)
	e.is(err, sessions.ErrNotFound)
	equal(e, e.store.Stats().Transactions, 21)
	c, err = e.store.Code(e.ctx, k.code.Hash)
	e.ok(err)
	equal(e, c, k.code)
	key, err := e.store.RequestURI(e.ctx, k.uri)
	e.ok(err)
	equal(e, key, k.transaction.Key)
}

// sweep says that deadlines are found again.
func (k *kept) sweep(e *env) {
	e.Helper()
	ids := func(list []sessions.Session) (out []sessions.ID) {
		for _, s := range list {
			out = append(out, s.ID)
		}
		return out
	}
	equal(e, ids(e.sweep(k.alive.Idle, 100).Ended), []sessions.ID{k.alive.ID})
	equal(e, ids(e.sweep(k.used.Idle, 100).Ended), []sessions.ID{k.used.ID})
	e.sweep(e.in(30*time.Hour), 1000)
	for _, s := range []sessions.Session{k.alive, k.used, k.ended, k.owing, k.settled} {
		if _, err := e.store.Session(e.ctx, s.ID); !errors.Is(err, sessions.ErrNotFound) {
			e.Errorf("session of %s: got error %v", fmt.Sprint(s.Subjects), err)
		}
	}
	equal(e, len(e.found(sessions.Finder{Cookie: "cookie"})), 0)
	equal(e, e.owing("", 10), nil)
	equal(e, e.store.Stats().Active, 0)
	equal(e, e.store.Stats().Transactions, 0)
}
