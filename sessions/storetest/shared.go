package storetest

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

func signalled(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

var sharedCases = []testCase{
	{name: "a watcher hears of its session's changes, one signal at a time", run: func(e *env) {
		s, _ := e.create(1)
		other, _ := e.create(2)
		mine, stop := e.store.Watch(s.ID)
		theirs, stopTheirs := e.store.Watch(s.ID)
		defer stopTheirs()
		touch := func(id sessions.ID) {
			e.ok(e.store.Update(e.ctx, id, nil, func(d *sessions.Draft) error { d.Session.LastUsed = e.clock.Now(); return nil }))
		}
		equal(e, signalled(mine), false)
		touch(other.ID)
		equal(e, signalled(mine), false)
		touch(s.ID)
		touch(s.ID)
		equal(e, waitFor(e, mine), true)
		equal(e, waitFor(e, theirs), true)
		equal(e, signalled(mine), false)
		_ = e.store.Update(e.ctx, s.ID, nil, func(*sessions.Draft) error { return errOwn })
		equal(e, signalled(mine), false)
		stop()
		stop()
		touch(s.ID)
		equal(e, signalled(mine), false)
		equal(e, waitFor(e, theirs), true)
		e.sweep(e.in(3*time.Hour), 100)
		equal(e, waitFor(e, theirs), true)
	}},
	{name: "a watcher may come before its session", run: func(e *env) {
		s := newSession(e.clock.Now(), 1)
		c, stop := e.store.Watch(s.ID)
		defer stop()
		e.ok(e.store.Create(e.ctx, s, newGrant(e.clock.Now(), 1), time.Time{}))
		equal(e, waitFor(e, c), true)
	}},
	{name: "a caller that has left changes nothing", run: func(e *env) {
		s, _ := e.create(1)
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		e.is(e.store.Update(ctx, s.ID, nil, func(d *sessions.Draft) error { d.Session.Place = "x"; return nil }), context.Canceled)
		got, err := e.store.Session(e.ctx, s.ID)
		e.ok(err)
		equal(e, got, s)
		_, err = e.store.Lease(ctx, "key")
		e.is(err, context.Canceled)
	}},
	{name: "a store is ready, again and again", run: func(e *env) {
		for range 3 {
			e.ok(e.store.Ready(e.ctx))
			e.clock.Advance(time.Minute)
		}
	}},
	{name: "a lease keeps others out until it is given back", run: func(e *env) {
		first, err := e.store.Lease(e.ctx, "a")
		e.ok(err)
		other, err := e.store.Lease(e.ctx, "b")
		e.ok(err)
		other.Release()
		var holders atomic.Int32
		holders.Add(1)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				l, err := e.store.Lease(e.ctx, "a")
				if err != nil {
					e.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					e.Errorf("%d have the lease", n)
				}
				holders.Add(-1)
				l.Release()
				l.Release()
			})
		}
		holders.Add(-1)
		first.Release()
		all.Wait()
		again, err := e.store.Lease(e.ctx, "a")
		e.ok(err)
		first.Release() // of the past: it takes nothing from who has it now
		e.is(gaveUp(e, "a"), context.Canceled)
		again.Release()
	}},
	{name: "who stops waiting for a lease holds up nobody", run: func(e *env) {
		first, err := e.store.Lease(e.ctx, "a")
		e.ok(err)
		for range 3 {
			e.is(gaveUp(e, "a"), context.Canceled)
		}
		first.Release()
		second, err := e.store.Lease(e.ctx, "a")
		e.ok(err)
		second.Release()
	}},
	{name: "a change under a lease that is held no more is refused", run: func(e *env) {
		s, _ := e.create(1)
		l, err := e.store.Lease(e.ctx, "a")
		e.ok(err)
		touch := func(d *sessions.Draft) error { d.Session.Place += "x"; return nil }
		e.ok(e.store.Update(e.ctx, s.ID, l, touch))
		l.Release()
		e.is(e.store.Update(e.ctx, s.ID, l, touch), sessions.ErrLeaseLost)
		got, err := e.store.Session(e.ctx, s.ID)
		e.ok(err)
		equal(e, got.Place, s.Place+"x")
		if signalled(l.Lost()) {
			e.Error("a lease that was given back says that it was lost")
		}
	}},
	{name: "the lease of a grant comes with the grant as it stands then", run: func(e *env) {
		s, g := e.create(1)
		l, ses, got, err := e.store.LeaseGrant(e.ctx, s.ID, g.ID)
		e.ok(err)
		equal(e, ses, s)
		equal(e, got, g)
		g.Credential = []byte("rotated")
		next := make(chan sessions.Grant)
		go func() {
			l, _, got, err := e.store.LeaseGrant(e.ctx, s.ID, g.ID)
			if err != nil {
				e.Error(err)
			} else {
				l.Release()
			}
			next <- got
		}()
		l.Last()
		e.ok(e.store.Update(e.ctx, s.ID, l, func(d *sessions.Draft) error { d.Put(g); return nil }))
		l.Release()
		l.Release()
		equal(e, <-next, g)
		e.is(e.store.Update(e.ctx, s.ID, l, func(*sessions.Draft) error { return nil }), sessions.ErrLeaseLost)
		if signalled(l.Lost()) {
			e.Error("a lease that was given back says that it was lost")
		}
	}},
	{name: "what is not there has no lease", run: func(e *env) {
		s, g := e.create(1)
		for range 2 {
			l, ses, _, err := e.store.LeaseGrant(e.ctx, s.ID, "none")
			e.is(err, sessions.ErrNotFound)
			equal(e, ses, s)
			equal(e, l, nil)
			l, ses, _, err = e.store.LeaseGrant(e.ctx, "none", g.ID)
			e.is(err, sessions.ErrNotFound)
			equal(e, ses, sessions.Session{})
			equal(e, l, nil)
		}
		e.end(s.ID, sessions.EndAdmin)
		_, ses, _, err := e.store.LeaseGrant(e.ctx, s.ID, g.ID)
		e.is(err, sessions.ErrNotFound)
		equal(e, ses.End.Reason, sessions.EndAdmin)
	}},
	{name: "a change that changes more than its lease's grant sees all of it", run: func(e *env) {
		s, g := e.create(1)
		second := exactGrant(newGrant(e.in(time.Second), 2), s.ID)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Put(second); return nil }))
		l, _, _, err := e.store.LeaseGrant(e.ctx, s.ID, g.ID)
		e.ok(err)
		defer l.Release()
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Session.Place = "changed"; return nil })) // meanwhile
		var place string
		var seen []sessions.Grant
		e.ok(e.store.Update(e.ctx, s.ID, l, func(d *sessions.Draft) error {
			place, seen = d.Session.Place, d.Grants() // as it ran last
			d.Drop(g.ID)
			return nil
		}))
		equal(e, place, "changed")
		equal(e, seen, []sessions.Grant{g, second})
		list, err := e.store.Grants(e.ctx, s.ID)
		e.ok(err)
		equal(e, list, []sessions.Grant{second})
	}},
	{name: "a closed store says so", run: func(e *env) {
		s, g := e.create(1)
		l, err := e.store.Lease(e.ctx, "a")
		e.ok(err)
		e.ok(e.store.Close())
		e.ok(e.store.Close())
		<-l.Lost()
		l.Release()
		_, _, err1 := e.store.Grant(e.ctx, s.ID, g.ID)
		_, err2 := e.store.Session(e.ctx, s.ID)
		_, _, err3 := e.store.AddTransaction(e.ctx, newTransaction(e.clock.Now(), 1, "192.0.2.1/32"))
		_, err4 := e.store.Transaction(e.ctx, sessions.TransactionKey{})
		_, err5 := e.store.Lease(e.ctx, "b")
		_, err6 := e.store.Sweep(e.ctx, e.clock.Now(), 1)
		_, err7 := e.store.Find(e.ctx, sessions.Finder{Subject: "x"})
		_, err8 := e.store.Note(e.ctx, sessions.NoteDeadCookie, "a")
		_, err9 := e.store.AddNote(e.ctx, e.note(sessions.NoteDeadCookie, "a"))
		_, err10 := e.store.Owing(e.ctx, "", 1)
		_, err11 := e.store.Waits(e.ctx, "a")
		for _, err := range []error{
			err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, err11, e.store.Ready(e.ctx),
			e.store.DropNote(e.ctx, sessions.NoteDeadCookie, "a"),
			e.store.Create(e.ctx, newSession(e.clock.Now(), 2), g, time.Time{}),
			e.store.Update(e.ctx, s.ID, nil, func(*sessions.Draft) error { return nil }),
			e.store.AddCode(e.ctx, sessions.Code{}),
		} {
			if !errors.Is(err, sessions.ErrClosed) {
				e.Errorf("got error %v, want %v", err, sessions.ErrClosed)
			}
		}
	}},
}

// waitFor waits for a signal; a store may need a moment to bring it.
func waitFor(e *env, c <-chan struct{}) bool {
	e.Helper()
	select {
	case <-c:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

// gaveUp waits for a lease that somebody has, until the caller leaves.
func gaveUp(e *env, key string) error {
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan error)
	go func() {
		l, err := e.store.Lease(ctx, key)
		if err == nil {
			l.Release()
		}
		done <- err
	}()
	runtime.Gosched()
	cancel()
	return <-done
}
