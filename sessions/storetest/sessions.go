package storetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var errOwn = errors.New("the caller's own error")

var sessionCases = []testCase{
	{name: "a session and its grant come back with every field", run: func(e *env) {
		s, g := e.create(1)
		got, err := e.store.Session(e.ctx, s.ID)
		e.ok(err)
		equal(e, got, s)
		got, grant, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.ok(err)
		equal(e, got, s)
		equal(e, grant, g)
		list, err := e.store.Grants(e.ctx, s.ID)
		e.ok(err)
		equal(e, list, []sessions.Grant{g})
		equal(e, e.store.Stats().Active, 1)
	}},
	{name: "an empty session and grant come back empty", run: func(e *env) {
		s := sessions.Session{ID: sessions.NewID(), Absolute: exact(e.clock.Now())}
		g := sessions.Grant{ID: sessions.NewGrantID(), Session: s.ID}
		e.ok(e.store.Create(e.ctx, s, g, time.Time{}))
		got, grant, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.ok(err)
		equal(e, got, s)
		equal(e, grant, g)
	}},
	{name: "unknown sessions and grants are told apart", run: func(e *env) {
		s, _ := e.create(1)
		none := sessions.NewID()
		_, err := e.store.Session(e.ctx, none)
		e.is(err, sessions.ErrNotFound)
		_, err = e.store.Grants(e.ctx, none)
		e.is(err, sessions.ErrNotFound)
		got, _, err := e.store.Grant(e.ctx, none, "x")
		e.is(err, sessions.ErrNotFound)
		equal(e, got, sessions.Session{})
		got, _, err = e.store.Grant(e.ctx, s.ID, sessions.NewGrantID())
		e.is(err, sessions.ErrNotFound)
		equal(e, got, s)
		e.is(e.store.Update(e.ctx, none, nil, func(*sessions.Draft) error {
			e.Error("the function ran")
			return nil
		}), sessions.ErrNotFound)
	}},
	{name: "a name is no way into other records", run: func(e *env) {
		s, g := e.create(1)
		for _, id := range []sessions.ID{"", sessions.ID(string(s.ID) + "\x00" + string(g.ID)), s.ID[:5], sessions.ID(strings.Repeat("x", 50_000))} {
			_, err := e.store.Session(e.ctx, id)
			e.is(err, sessions.ErrNotFound)
			_, _, err = e.store.Grant(e.ctx, id, g.ID)
			e.is(err, sessions.ErrNotFound)
		}
		_, _, err := e.store.Grant(e.ctx, s.ID, "")
		e.is(err, sessions.ErrNotFound)
		if err := e.store.Create(e.ctx, sessions.Session{ID: "a\x00b"}, g, time.Time{}); err == nil {
			e.Error("a name with a zero byte was taken")
		}
	}},
	{name: "a session is made once", run: func(e *env) {
		s, g := e.create(1)
		again := s
		again.Browsers = nil
		if err := e.store.Create(e.ctx, again, newGrant(e.clock.Now(), 2), time.Time{}); err == nil {
			e.Error("made twice")
		}
		got, err := e.store.Session(e.ctx, s.ID)
		e.ok(err)
		equal(e, got, s)
		list, err := e.store.Grants(e.ctx, s.ID)
		e.ok(err)
		equal(e, list, []sessions.Grant{g})
	}},
	{name: "an update changes the session and its grants together", run: func(e *env) {
		s, g := e.create(1)
		e.clock.Advance(time.Minute)
		second, third := newGrant(e.clock.Now(), 2), newGrant(e.in(-time.Hour), 3)
		s.Idle, s.LastUsed = exact(e.in(3*time.Hour)), exact(e.clock.Now())
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.Session.Idle, d.Session.LastUsed = e.in(3*time.Hour), e.clock.Now()
			d.Put(second)
			d.Put(third)
			d.Drop(g.ID)
			if _, ok := d.Grant(g.ID); ok {
				e.Error("a dropped grant is there")
			}
			equal(e, len(d.Grants()), 2)
			return nil
		}))
		got, err := e.store.Session(e.ctx, s.ID)
		e.ok(err)
		equal(e, got, s)
		list, err := e.store.Grants(e.ctx, s.ID)
		e.ok(err)
		equal(e, list, []sessions.Grant{exactGrant(third, s.ID), exactGrant(second, s.ID)})
		_, _, err = e.store.Grant(e.ctx, s.ID, g.ID)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "an update that fails or panics changes nothing", run: func(e *env) {
		s, g := e.create(1)
		change := func(d *sessions.Draft) {
			d.Session.Browsers[0] = "changed"
			d.Session.Idle = e.in(time.Minute)
			d.Put(newGrant(e.clock.Now(), 2))
			d.Drop(g.ID)
		}
		e.is(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { change(d); return errOwn }), errOwn)
		if err := e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { change(d); panic("no") }); err == nil {
			e.Error("a panic was no error")
		}
		got, grant, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.ok(err)
		equal(e, got, s)
		equal(e, grant, g)
	}},
	{name: "a changed name is refused", run: func(e *env) {
		s, _ := e.create(1)
		if err := e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Session.ID = sessions.NewID(); return nil }); err == nil {
			e.Error("a session got another name")
		}
	}},
	{name: "a session ends once, and its grants with it", run: func(e *env) {
		s, g := e.create(1)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Put(newGrant(e.clock.Now(), 2)); return nil }))
		equal(e, e.end(s.ID, sessions.EndRevoked), true)
		equal(e, e.end(s.ID, sessions.EndAdmin), false)
		got, _, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.is(err, sessions.ErrNotFound)
		equal(e, got.End, &sessions.End{At: exact(e.clock.Now()), Reason: sessions.EndRevoked})
		list, err := e.store.Grants(e.ctx, s.ID)
		e.ok(err)
		equal(e, len(list), 0)
		equal(e, e.store.Stats().Active, 0)
	}},
	{name: "an ended session stays as it ended", run: func(e *env) {
		s, g := e.create(1)
		e.end(s.ID, sessions.EndLogout)
		for name, f := range map[string]func(d *sessions.Draft){
			"revived":     func(d *sessions.Draft) { d.Session.End = nil },
			"re-reasoned": func(d *sessions.Draft) { d.Session.End.Reason = sessions.EndIdle },
			"granted":     func(d *sessions.Draft) { d.Put(g) },
		} {
			if err := e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { f(d); return nil }); err == nil {
				e.Errorf("an ended session was %s", name)
			}
		}
		got, _, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.is(err, sessions.ErrNotFound)
		equal(e, got.End.Reason, sessions.EndLogout)
		equal(e, e.store.Stats().Active, 0)
	}},
	{name: "grants of a session that is ended by its field alone are gone", run: func(e *env) {
		s, g := e.create(1)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.Session.End = &sessions.End{At: e.clock.Now(), Reason: sessions.EndAdmin}
			return nil
		}))
		_, _, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "sessions are found by browser, upstream session and subject, the newest first", run: func(e *env) {
		first, _ := e.create(1)
		e.clock.Advance(time.Second)
		second, _ := e.create(1)
		other, _ := e.create(2)
		e.end(first.ID, sessions.EndAdmin)
		by := []sessions.Finder{
			{Browser: first.Browsers[0]}, {Browser: first.Browsers[1]},
			{Upstream: first.Upstream[0]}, {Subject: first.Subjects[0].Sub},
		}
		for _, f := range by {
			equal(e, e.found(f), []sessions.ID{second.ID, first.ID})
		}
		list, err := e.store.Find(e.ctx, by[0])
		e.ok(err)
		equal(e, list[0], second)
		equal(e, list[1].End.Reason, sessions.EndAdmin)
		equal(e, e.found(sessions.Finder{Subject: other.Subjects[0].Sub}), []sessions.ID{other.ID})
		equal(e, len(e.found(sessions.Finder{Subject: "nobody"})), 0)
		equal(e, len(e.found(sessions.Finder{Upstream: sessions.UpstreamSession{Issuer: "https://other.example", SID: "sid1"}})), 0)
		equal(e, len(e.found(sessions.Finder{Browser: sessions.BrowserID(first.Subjects[0].Sub)})), 0)
		if _, err := e.store.Find(e.ctx, sessions.Finder{}); err == nil {
			e.Error("everything was found by nothing")
		}
	}},
	{name: "what finds a session follows its changes", run: func(e *env) {
		s, _ := e.create(1)
		old := s.Browsers[0]
		sub := sessions.Subject{Issuer: "i", Client: "second", Sub: "a\x00b"}
		sid := sessions.UpstreamSession{Issuer: "i\x00", SID: "x"}
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.Session.Browsers[0] = "new" // in place
			d.Session.Subjects = append(d.Session.Subjects, sub, sessions.Subject{Issuer: "i", Client: "third", Sub: sub.Sub})
			d.Session.Upstream = append(d.Session.Upstream, sid)
			return nil
		}))
		equal(e, len(e.found(sessions.Finder{Browser: old})), 0)
		for _, f := range []sessions.Finder{{Browser: "new"}, {Browser: s.Browsers[1]}, {Subject: sub.Sub}, {Subject: "user1"}, {Upstream: sid}} {
			equal(e, e.found(f), []sessions.ID{s.ID})
		}
		equal(e, len(e.found(sessions.Finder{Upstream: sessions.UpstreamSession{Issuer: "i", SID: "\x00x"}})), 0)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Session.Subjects = d.Session.Subjects[:2]; return nil }))
		equal(e, e.found(sessions.Finder{Subject: sub.Sub}), []sessions.ID{s.ID})
	}},
	{name: "long names find their session", run: func(e *env) {
		s := newSession(e.clock.Now(), 1)
		s.Subjects[0].Sub = strings.Repeat("s", 100_000)
		e.ok(e.store.Create(e.ctx, s, newGrant(e.clock.Now(), 1), time.Time{}))
		equal(e, e.found(sessions.Finder{Subject: s.Subjects[0].Sub}), []sessions.ID{s.ID})
	}},
	{name: "a large credential is kept", run: func(e *env) {
		s, g := e.create(1)
		g.Credential = []byte(strings.Repeat("0123456789abcdef", 4096))
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Put(g); return nil }))
		_, got, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.ok(err)
		equal(e, got, g)
	}},
}

func (e *env) found(by sessions.Finder) (ids []sessions.ID) {
	e.Helper()
	list, err := e.store.Find(e.ctx, by)
	e.ok(err)
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return ids
}

var sweepCases = []testCase{
	{name: "an idle session ends, its marker stays until the absolute deadline", run: func(e *env) {
		s, g := e.create(1)
		e.sweep(e.in(time.Hour), 100) // its code
		equal(e, e.sweep(e.in(3*time.Hour-time.Second), 100), sessions.Swept{})
		at := e.in(3 * time.Hour)
		s.End = &sessions.End{At: exact(at), Reason: sessions.EndIdle}
		equal(e, e.sweep(at, 100), sessions.Swept{Ended: []sessions.Session{s}})
		got, _, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.is(err, sessions.ErrNotFound)
		equal(e, got, s)
		equal(e, e.store.Stats().Active, 0)
		equal(e, e.sweep(e.in(7*time.Hour-time.Second), 100), sessions.Swept{})
		e.sweep(e.in(7*time.Hour), 100)
		_, err = e.store.Session(e.ctx, s.ID)
		e.is(err, sessions.ErrNotFound)
		equal(e, len(e.found(sessions.Finder{Browser: s.Browsers[0]})), 0)
	}},
	{name: "a session past its absolute deadline ends and is removed", run: func(e *env) {
		s, g := newSession(e.clock.Now(), 1), newGrant(e.clock.Now(), 1)
		g.CodeHash, s.Idle = sessions.CodeHash{}, s.Absolute
		e.ok(e.store.Create(e.ctx, s, g, time.Time{}))
		got := e.sweep(e.in(8*time.Hour), 100)
		equal(e, len(got.Ended), 1)
		equal(e, got.Ended[0].End.Reason, sessions.EndAbsolute)
		equal(e, got.Removed, 1)
		_, err := e.store.Session(e.ctx, s.ID)
		e.is(err, sessions.ErrNotFound)
		equal(e, e.store.Stats().Active, 0)
	}},
	{name: "a session that was used meanwhile is not ended", run: func(e *env) {
		s, _ := e.create(1)
		for range 3 {
			e.clock.Advance(2 * time.Hour)
			e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
				d.Session.Idle = minTime(e.in(3*time.Hour), d.Session.Absolute)
				return nil
			}))
			equal(e, len(e.sweep(e.clock.Now(), 100).Ended), 0)
		}
		equal(e, len(e.sweep(s.Absolute.Add(-time.Millisecond), 100).Ended), 0)
		equal(e, len(e.sweep(s.Absolute, 100).Ended), 1)
	}},
	{name: "a deadline that came nearer counts", run: func(e *env) {
		s, _ := e.create(1)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Session.Idle = e.in(time.Hour); return nil }))
		equal(e, len(e.sweep(e.in(time.Hour), 100).Ended), 1)
	}},
	{name: "an ended session's marker is removed at its absolute deadline", run: func(e *env) {
		s, _ := e.create(1)
		e.end(s.ID, sessions.EndRevoked)
		got := e.sweep(e.in(3*time.Hour), 100)
		equal(e, len(got.Ended), 0)
		_, err := e.store.Session(e.ctx, s.ID)
		e.ok(err)
		got = e.sweep(s.Absolute, 100)
		equal(e, len(got.Ended), 0)
		_, err = e.store.Session(e.ctx, s.ID)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "a sweep keeps its limit and says that there is more", run: func(e *env) {
		for i := range 25 {
			e.create(i)
		}
		e.clock.Advance(4 * time.Hour)
		var ended int
		for n := 0; ; n++ {
			got := e.sweep(e.clock.Now(), 10)
			if len(got.Ended)+got.Removed > 10 {
				e.Fatalf("%d ended, %d removed, limit 10", len(got.Ended), got.Removed)
			}
			if ended += len(got.Ended); !got.More {
				break
			}
			if n > 20 {
				e.Fatal("there is always more")
			}
		}
		equal(e, ended, 25)
		equal(e, e.sweep(e.clock.Now(), 0), sessions.Swept{})
	}},
	{name: "expired transactions, ties and codes are removed", run: func(e *env) {
		for i := range 5 {
			e.add(newTransaction(e.clock.Now(), i, "192.0.2.1/32"))
			e.ok(e.store.TieRequestURI(e.ctx, sessions.HashRequestURI(fmt.Sprint(i)), sessions.TransactionKey{}, e.in(time.Hour)))
			e.ok(e.store.AddCode(e.ctx, sessions.Code{Hash: sessions.HashCode(fmt.Sprint(i)), Until: e.in(time.Hour)}))
		}
		equal(e, e.sweep(e.in(time.Minute), 100), sessions.Swept{})
		equal(e, e.sweep(e.in(time.Hour), 100).Removed, 10)
		equal(e, e.sweep(e.in(24*time.Hour), 2), sessions.Swept{Removed: 2, More: true})
		equal(e, e.sweep(e.in(24*time.Hour), 100).Removed, 3)
		equal(e, e.store.Stats().Transactions, 0)
		equal(e, e.store.Stats().PushedOut, 0)
	}},
}

func (e *env) sweep(now time.Time, limit int) sessions.Swept {
	e.Helper()
	got, err := e.store.Sweep(e.ctx, now, limit)
	e.ok(err)
	return got
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
