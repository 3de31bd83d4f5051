package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Moving is how the stores are had that content moves between.
type Moving struct {
	// Open opens a store as a gateway does.
	Open Opener
	// Fill opens one as an import does: one too that an import was killed in.
	Fill Opener
	// Kill copies what a killed process would leave to another place, while an
	// import is under way.
	Kill func(t testing.TB, place string) string
	// Refusal opens a store as a gateway does and gives the error of that; one that
	// opens is closed again.
	Refusal func(t testing.TB, place string) error
}

// RunMoving runs every case of sessions.Mover.
func RunMoving(t *testing.T, m Moving) {
	for name, run := range map[string]func(*mover){
		"everything comes back":                      everythingMoves,
		"an empty store moves":                       nothingMoves,
		"a store that is not empty is refused":       notEmptyRefused,
		"an error in the middle leaves nothing":      brokenOff,
		"a record that cannot be leaves nothing":     badRecords,
		"a killed import is taken back":              killedImport,
		"an error of the reader stops the export":    exportStopped,
		"a context that ended stops both":            movesCancelled,
		"more records than one commit takes":         manyMove,
		"what is imported is worked on as any other": importedLives,
	} {
		t.Run(name, func(t *testing.T) {
			run(&mover{env: &env{T: t, ctx: t.Context(), clock: NewClock()}, Moving: m})
		})
	}
}

type mover struct {
	*env
	Moving
}

func (m *mover) open(how Opener, place string) sessions.Store {
	m.Helper()
	return how(m.T, Config{Place: place, Now: m.clock.Now})
}

func (m *mover) moverOf(s sessions.Store) sessions.Mover {
	m.Helper()
	is, ok := s.(sessions.Mover)
	if !ok {
		m.Fatal("the store is no sessions.Mover")
	}
	return is
}

func (m *mover) export(s sessions.Store) (all []sessions.Moved) {
	m.Helper()
	m.ok(m.moverOf(s).Export(m.ctx, func(r sessions.Moved) error {
		all = append(all, r)
		return nil
	}))
	return sorted(all)
}

// sorted puts records in one order: stores choose theirs.
func sorted(all []sessions.Moved) []sessions.Moved {
	name := func(r sessions.Moved) string {
		if r.Session != nil {
			return "s" + string(r.Session.ID)
		}
		return fmt.Sprintf("n%c%x", r.Note.Kind, r.Note.Hash)
	}
	for _, r := range all {
		slices.SortFunc(r.Grants, func(a, b sessions.Grant) int { return slices.Compare([]byte(a.ID), []byte(b.ID)) })
	}
	slices.SortFunc(all, func(a, b sessions.Moved) int { return slices.Compare([]byte(name(a)), []byte(name(b))) })
	return all
}

// each gives records, and in the end an error where there is one.
func each(all []sessions.Moved, last error) iter.Seq2[sessions.Moved, error] {
	return func(yield func(sessions.Moved, error) bool) {
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
		if last != nil {
			yield(sessions.Moved{}, last)
		}
	}
}

// content fills a store with one of each kind, and says what is in it.
func (m *mover) content(s sessions.Store) (k kept) {
	m.Helper()
	e := &env{T: m.T, ctx: m.ctx, store: s, clock: m.clock}
	k = keep(e)
	past := e.note(sessions.NoteLogoutToken, "its time passes")
	past.Until = past.At.Add(time.Second)
	e.addNote(past)
	m.clock.Advance(time.Second)
	return k
}

func everythingMoves(m *mover) {
	from := m.open(m.Open, m.TempDir())
	k := m.content(from)
	records := m.export(from)
	equal(m.env, len(records), 5+2)
	finish(m.T, from)

	place := m.TempDir()
	to := m.open(m.Fill, place)
	m.ok(m.moverOf(to).Import(m.ctx, each(records, nil)))
	equal(m.env, m.export(to), records)
	finish(m.T, to)

	to = m.open(m.Open, place)
	e := &env{T: m.T, ctx: m.ctx, store: to, clock: m.clock}
	equal(e, m.export(to), records)
	k.checkSessions(e)
	k.checkNotes(e)
	e.noNote(sessions.NoteLogoutToken, "its time passes")
	equal(e, e.store.Stats().Active, 2)
	equal(e, e.store.Stats().Transactions, 0)
	_, err := e.store.Transaction(e.ctx, k.transaction.Key)
	e.is(err, sessions.ErrNotFound)
	k.sweep(e)
	finish(m.T, to)
}

func nothingMoves(m *mover) {
	from := m.open(m.Open, m.TempDir())
	equal(m.env, len(m.export(from)), 0)
	finish(m.T, from)
	place := m.TempDir()
	to := m.open(m.Fill, place)
	m.ok(m.moverOf(to).Import(m.ctx, each(nil, nil)))
	m.ok(m.moverOf(to).Import(m.ctx, each(nil, nil)))
	finish(m.T, to)
	finish(m.T, m.open(m.Open, place))
}

func notEmptyRefused(m *mover) {
	source := m.open(m.Open, m.TempDir())
	m.content(source)
	records := m.export(source)
	finish(m.T, source)
	for name, fill := range map[string]func(*env){
		"a session": func(e *env) { e.create(1) },
		"an ended session": func(e *env) {
			s, _ := e.create(1)
			e.end(s.ID, sessions.EndAdmin)
		},
		"a note": func(e *env) { e.addNote(e.note(sessions.NoteDeadCookie, "a")) },
	} {
		place := m.TempDir()
		e := &env{T: m.T, ctx: m.ctx, store: m.open(m.Open, place), clock: m.clock}
		fill(e)
		before := m.export(e.store)
		finish(m.T, e.store)
		to := m.open(m.Fill, place)
		if err := m.moverOf(to).Import(m.ctx, each(records, nil)); !errors.Is(err, sessions.ErrNotEmpty) {
			m.Errorf("%s: got error %v, want ErrNotEmpty", name, err)
		}
		equal(m.env, m.export(to), before)
		finish(m.T, to)
		finish(m.T, m.open(m.Open, place)) // and a gateway works on it
	}
}

func brokenOff(m *mover) {
	records := m.some(620)
	broken := errors.New("broken off")
	for _, n := range []int{0, 1, 560, len(records)} {
		place := m.TempDir()
		to := m.open(m.Fill, place)
		m.is(m.moverOf(to).Import(m.ctx, each(records[:n], broken)), broken)
		m.empty(to)
		m.ok(m.moverOf(to).Import(m.ctx, each(records, nil)))
		equal(m.env, len(m.export(to)), len(records))
		finish(m.T, to)
	}
}

// empty says that nothing of an import is left.
func (m *mover) empty(s sessions.Store) {
	m.Helper()
	equal(m.env, len(m.export(s)), 0)
	e := &env{T: m.T, ctx: m.ctx, store: s, clock: m.clock}
	equal(e, len(e.pages(10, nil)), 0)
	equal(e, len(e.owing("", 10)), 0)
	equal(e, s.Stats().Active, 0)
	equal(e, s.Stats().Owing, 0)
}

// some are records of many sessions, some of which have ended, and notes.
func (m *mover) some(n int) (all []sessions.Moved) {
	now := exact(m.clock.Now())
	for i := range n {
		s := exactSession(newSession(now, i))
		switch {
		case i%7 == 3:
			s.End = &sessions.End{At: now, Reason: sessions.EndAdmin, SingleSignOn: true}
			s.Owed = []sessions.Owed{{Grant: "g", Client: "spa", Issuer: "https://id.example", Credential: []byte{1}}}
			all = append(all, sessions.Moved{Session: &s})
			continue
		case i%5 == 4:
			key := fmt.Sprint("note", i)
			all = append(all, sessions.Moved{Note: &sessions.HashedNote{
				Kind: sessions.NoteDeadCookie, Hash: sessions.HashNote(key), At: now, Until: now.Add(time.Hour)}})
			continue
		}
		all = append(all, sessions.Moved{Session: &s, Grants: []sessions.Grant{
			exactGrant(newGrant(now, 2*i), s.ID), exactGrant(newGrant(now, 2*i+1), s.ID)}})
	}
	return sorted(all)
}

func badRecords(m *mover) {
	good := m.some(20)
	now := exact(m.clock.Now())
	alive := func() sessions.Session { return exactSession(newSession(now, 99)) }
	unnamed, owes, ended := alive(), alive(), alive()
	unnamed.ID = ""
	owes.Owed = []sessions.Owed{{Grant: "g"}}
	ended.End = &sessions.End{At: now, Reason: sessions.EndAdmin}
	one := alive()
	for name, bad := range map[string]sessions.Moved{
		"neither a session nor a note":       {},
		"both":                               {Session: &one, Note: &sessions.HashedNote{Kind: 'd', At: now, Until: now.Add(time.Hour)}},
		"a session without a name":           {Session: &unnamed},
		"a session that lives and owes":      {Session: &owes},
		"an ended session with a grant":      {Session: &ended, Grants: []sessions.Grant{exactGrant(newGrant(now, 1), ended.ID)}},
		"a grant of another session":         {Session: &one, Grants: []sessions.Grant{exactGrant(newGrant(now, 1), ended.ID)}},
		"a session that was there before it": *firstSession(good),
	} {
		to := m.open(m.Fill, m.TempDir())
		if err := m.moverOf(to).Import(m.ctx, each(append(slices.Clone(good), bad), nil)); err == nil {
			m.Errorf("%s: imported", name)
		}
		m.empty(to)
		finish(m.T, to)
	}
}

func firstSession(all []sessions.Moved) *sessions.Moved {
	return &all[slices.IndexFunc(all, func(r sessions.Moved) bool { return r.Session != nil })]
}

func killedImport(m *mover) {
	records := m.some(700)
	place, left := m.TempDir(), ""
	to := m.open(m.Fill, place)
	m.ok(m.moverOf(to).Import(m.ctx, func(yield func(sessions.Moved, error) bool) {
		for i, r := range records {
			if i == 650 {
				left = m.Kill(m.T, place)
			}
			if !yield(r, nil) {
				return
			}
		}
	}))
	finish(m.T, to)
	if err := m.Refusal(m.T, place); err != nil {
		m.Errorf("the whole import: got error %v, want none", err)
	}
	if err := m.Refusal(m.T, left); err == nil {
		m.Error("a gateway works on half an import")
	}
	to = m.open(m.Fill, left)
	m.ok(m.moverOf(to).Import(m.ctx, each(records[:3], nil)))
	equal(m.env, m.export(to), records[:3])
	finish(m.T, to)
	if err := m.Refusal(m.T, left); err != nil {
		m.Errorf("after the next import: got error %v, want none", err)
	}
}

func exportStopped(m *mover) {
	from := m.open(m.Open, m.TempDir())
	m.content(from)
	enough, n := errors.New("enough"), 0
	m.is(m.moverOf(from).Export(m.ctx, func(sessions.Moved) error {
		n++
		if n == 3 {
			return enough
		}
		return nil
	}), enough)
	equal(m.env, n, 3)
	finish(m.T, from)
}

func movesCancelled(m *mover) {
	records := m.some(600)
	ctx, cancel := context.WithCancel(m.ctx)
	to := m.open(m.Fill, m.TempDir())
	m.is(m.moverOf(to).Import(ctx, func(yield func(sessions.Moved, error) bool) {
		for i, r := range records {
			if i == 560 {
				cancel()
			}
			if !yield(r, nil) {
				return
			}
		}
	}), context.Canceled)
	m.empty(to)
	m.ok(m.moverOf(to).Import(m.ctx, each(records, nil)))
	ctx, cancel = context.WithCancel(m.ctx)
	m.is(m.moverOf(to).Export(ctx, func(sessions.Moved) error {
		cancel()
		return nil
	}), context.Canceled)
	finish(m.T, to)
}

func manyMove(m *mover) {
	records := m.some(1100)
	to := m.open(m.Fill, m.TempDir())
	m.ok(m.moverOf(to).Import(m.ctx, each(records, nil)))
	equal(m.env, m.export(to), records)
	finish(m.T, to)
}

func importedLives(m *mover) {
	records := m.some(30)
	place := m.TempDir()
	to := m.open(m.Fill, place)
	m.ok(m.moverOf(to).Import(m.ctx, each(records, nil)))
	finish(m.T, to)
	e := &env{T: m.T, ctx: m.ctx, store: m.open(m.Open, place), clock: m.clock}
	for _, r := range records {
		if r.Session == nil {
			continue
		}
		s := *r.Session
		equal(e, e.session(s.ID), s)
		equal(e, e.found(sessions.Finder{Subject: s.Subjects[0].Sub}), []sessions.ID{s.ID})
		equal(e, e.found(sessions.Finder{Cookie: s.Cookies[0]}), []sessions.ID{s.ID})
		if s.End == nil {
			e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Drop(r.Grants[0].ID); return nil }))
			grants, err := e.store.Grants(e.ctx, s.ID)
			e.ok(err)
			equal(e, grants, r.Grants[1:])
			e.end(s.ID, sessions.EndAdmin)
		}
	}
	equal(e, e.store.Stats().Active, 0)
	e.sweep(e.in(8*time.Hour), 1000)
	equal(e, len(e.pages(10, nil)), 0)
	finish(m.T, e.store)
}
