package storetest

import (
	"slices"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

func (e *env) session(id sessions.ID) sessions.Session {
	e.Helper()
	s, err := e.store.Session(e.ctx, id)
	e.ok(err)
	return s
}

func (e *env) follow(id sessions.ID, cookies ...sessions.CookieHash) {
	e.Helper()
	e.ok(e.store.Update(e.ctx, id, nil, func(d *sessions.Draft) error { d.Session.Cookies = cookies; return nil }))
}

// endOwing ends a session and its single sign-on.
func (e *env) endOwing(id sessions.ID, notes ...sessions.Note) {
	e.Helper()
	end := sessions.End{At: e.clock.Now(), Reason: sessions.EndRevoked, SingleSignOn: true}
	e.ok(e.store.Update(e.ctx, id, nil, func(d *sessions.Draft) error {
		equal(e, d.EndSessionOwing(end), true)
		equal(e, d.EndSessionOwing(end), false)
		equal(e, d.EndSession(end), false)
		for _, n := range notes {
			d.AddNote(n)
		}
		return nil
	}))
}

func (e *env) owing(after sessions.ID, limit int) (ids []sessions.ID) {
	e.Helper()
	list, err := e.store.Owing(e.ctx, after, limit)
	e.ok(err)
	for _, s := range list {
		equal(e, s, e.session(s.ID))
		ids = append(ids, s.ID)
	}
	return ids
}

func owedOf(grants ...sessions.Grant) (owed []sessions.Owed) {
	for _, g := range grants {
		owed = append(owed, sessions.Owed{Grant: g.ID, Client: g.Client, Issuer: g.Issuer, Credential: g.Credential})
	}
	return owed
}

var owedCases = []testCase{
	{name: "sessions are found by their login cookies, ended ones too until they go", run: func(e *env) {
		first, _ := e.create(1)
		e.clock.Advance(time.Second)
		second, _ := e.create(2)
		e.follow(first.ID, "old", "shared")
		e.follow(second.ID, "shared")
		equal(e, len(e.found(sessions.Finder{Cookie: first.Cookies[0]})), 0)
		equal(e, e.found(sessions.Finder{Cookie: "old"}), []sessions.ID{first.ID})
		equal(e, e.found(sessions.Finder{Cookie: "shared"}), []sessions.ID{second.ID, first.ID})
		equal(e, len(e.found(sessions.Finder{Browser: "shared"})), 0)
		e.end(first.ID, sessions.EndLogout)
		e.follow(first.ID, "shared", "renewed")
		equal(e, len(e.found(sessions.Finder{Cookie: "old"})), 0)
		equal(e, e.found(sessions.Finder{Cookie: "renewed"}), []sessions.ID{first.ID})
		e.sweep(first.Absolute, 100)
		equal(e, len(e.found(sessions.Finder{Cookie: "renewed"})), 0)
		equal(e, e.found(sessions.Finder{Cookie: "shared"}), []sessions.ID{second.ID})
	}},
	{name: "a code keeps its login cookies", run: func(e *env) {
		c := sessions.Code{
			Hash: sessions.HashCode("a"), Browser: "b", LeftAt: exact(e.clock.Now()), Until: exact(e.in(time.Hour)),
			Cookies: []sessions.CookieHash{"one", "two"},
		}
		e.ok(e.store.AddCode(e.ctx, c))
		later := c
		later.Cookies = []sessions.CookieHash{"three"}
		e.ok(e.store.AddCode(e.ctx, later))
		got, err := e.store.Code(e.ctx, c.Hash)
		e.ok(err)
		equal(e, got, c)
	}},
	{name: "an end of single sign-on owes the credentials, the grants are gone", run: func(e *env) {
		s, g := e.create(1)
		second := exactGrant(newGrant(e.in(time.Second), 2), s.ID)
		second.Client, second.Issuer = "other", "https://other.example"
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Put(second); return nil }))
		e.create(2)
		equal(e, e.owing("", 10), nil)
		e.endOwing(s.ID)
		want := s
		want.End = &sessions.End{At: exact(e.clock.Now()), Reason: sessions.EndRevoked, SingleSignOn: true}
		want.Owed = owedOf(g, second)
		equal(e, e.session(s.ID), want)
		equal(e, e.owing("", 10), []sessions.ID{s.ID})
		list, err := e.store.Grants(e.ctx, s.ID)
		e.ok(err)
		equal(e, len(list), 0)
		equal(e, e.store.Stats().Active, 1)
		equal(e, e.store.Stats().Owing, 1)
	}},
	{name: "a grant that its end drops or changes is owed as it stands then", run: func(e *env) {
		s, g := e.create(1)
		second := exactGrant(newGrant(e.in(time.Second), 2), s.ID)
		third := exactGrant(newGrant(e.in(2*time.Second), 3), s.ID)
		third.Credential = nil // nothing to give back
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.Drop(g.ID)
			d.Put(second)
			d.Put(third)
			d.EndSessionOwing(sessions.End{At: e.clock.Now(), Reason: sessions.EndAdmin, SingleSignOn: true})
			return nil
		}))
		equal(e, e.session(s.ID).Owed, owedOf(second))
	}},
	{name: "an end owes nothing where there is nothing", run: func(e *env) {
		s, g := e.create(1)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Drop(g.ID); return nil }))
		e.endOwing(s.ID)
		equal(e, e.owing("", 10), nil)
		other, _ := e.create(2)
		e.end(other.ID, sessions.EndUserSwitch)
		equal(e, e.owing("", 10), nil)
	}},
	{name: "what is owed becomes less until it is settled", run: func(e *env) {
		s, g := e.create(1)
		second := exactGrant(newGrant(e.in(time.Second), 2), s.ID)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Put(second); return nil }))
		e.endOwing(s.ID)
		for _, left := range [][]sessions.Owed{owedOf(g, second), owedOf(second), nil} {
			e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
				d.Session.Owed = slices.Clone(left)
				return nil
			}))
			equal(e, e.session(s.ID).Owed, left)
			equal(e, len(e.owing("", 10)), min(1, len(left)))
		}
		equal(e, e.store.Stats().Owing, 0)
	}},
	{name: "an ended session changes in its login cookies and what is settled alone", run: func(e *env) {
		s, g := e.create(1)
		living, _ := e.create(2)
		e.endOwing(s.ID)
		want := e.session(s.ID)
		other := sessions.Owed{Grant: "another", Credential: []byte{1}}
		for name, f := range map[string]func(*sessions.Draft){
			"granted":              func(d *sessions.Draft) { d.Put(g) },
			"revived":              func(d *sessions.Draft) { d.Session.End, d.Session.Owed = nil, nil },
			"found elsewhere":      func(d *sessions.Draft) { d.Session.Browsers = append(d.Session.Browsers, "x") },
			"given another sid":    func(d *sessions.Draft) { d.Session.Upstream[0].SID = "x" },
			"given another user":   func(d *sessions.Draft) { d.Session.Subjects[0].Sub = "x" },
			"made to stay":         func(d *sessions.Draft) { d.Session.Absolute = e.in(1000 * time.Hour) },
			"made to go":           func(d *sessions.Draft) { d.Session.Absolute = e.clock.Now() },
			"let owe more":         func(d *sessions.Draft) { d.Session.Owed = append(d.Session.Owed, other) },
			"let owe twice":        func(d *sessions.Draft) { d.Session.Owed = append(d.Session.Owed, d.Session.Owed...) },
			"let owe another":      func(d *sessions.Draft) { d.Session.Owed[0] = other },
			"let owe another text": func(d *sessions.Draft) { d.Session.Owed[0].Credential = []byte("x") },
		} {
			if err := e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { f(d); return nil }); err == nil {
				e.Errorf("an ended session was %s", name)
			}
			equal(e, e.session(s.ID), want)
		}
		e.follow(s.ID, "a", "b")
		want.Cookies = []sessions.CookieHash{"a", "b"}
		equal(e, e.session(s.ID), want)
		if err := e.store.Update(e.ctx, living.ID, nil, func(d *sessions.Draft) error { d.Session.Owed = []sessions.Owed{other}; return nil }); err == nil {
			e.Error("a session that lives owes")
		}
		made := newSession(e.clock.Now(), 3)
		made.Owed = []sessions.Owed{other}
		if err := e.store.Create(e.ctx, made, newGrant(e.clock.Now(), 3), time.Time{}); err == nil {
			e.Error("a session that lives was made with what it owes")
		}
	}},
	{name: "those that owe are listed in the order of their ids, a page at a time", run: func(e *env) {
		var want []sessions.ID
		for i := range 12 {
			s, _ := e.create(i)
			if i%3 != 0 {
				e.endOwing(s.ID)
				want = append(want, s.ID)
			}
		}
		slices.Sort(want)
		equal(e, e.owing("", 100), want)
		var got []sessions.ID
		for after := sessions.ID(""); ; after = got[len(got)-1] {
			page := e.owing(after, 3)
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		equal(e, got, want)
		equal(e, e.owing(want[1]+"!", 2), want[2:4]) // after one that owes no more
		equal(e, e.owing("", 0), nil)
	}},
	{name: "what a session owes stays until its absolute deadline, and goes with it", run: func(e *env) {
		s, _ := e.create(1)
		e.endOwing(s.ID)
		e.sweep(s.Absolute.Add(-time.Millisecond), 100)
		equal(e, e.owing("", 10), []sessions.ID{s.ID})
		e.sweep(s.Absolute, 100)
		equal(e, e.owing("", 10), nil)
		equal(e, e.store.Stats().Owing, 0)
		_, err := e.store.Session(e.ctx, s.ID)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "a session that a sweep ends owes nothing", run: func(e *env) {
		s, _ := e.create(1)
		equal(e, len(e.sweep(s.Idle, 100).Ended), 1)
		equal(e, e.session(s.ID).Owed, nil)
		equal(e, e.owing("", 10), nil)
	}},
}
