package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// pages are the names of all sessions, read in pages, between which meanwhile runs.
func (e *env) pages(limit int, meanwhile func(after sessions.ID)) (ids []sessions.ID) {
	e.Helper()
	after := sessions.ID("")
	for {
		page, err := e.store.List(e.ctx, after, limit)
		e.ok(err)
		for _, s := range page {
			if s.ID <= after {
				e.Fatalf("%q is listed after %q", s.ID, after)
			}
			after = s.ID
			ids = append(ids, s.ID)
		}
		if len(page) < limit {
			return ids
		}
		if meanwhile != nil {
			meanwhile(after)
		}
	}
}

var listCases = []testCase{
	{name: "sessions are listed in the order of their ids, whole, ended ones too until they go", run: func(e *env) {
		equal(e, len(e.pages(10, nil)), 0)
		var want []sessions.Session
		for i := range 7 {
			s, _ := e.create(i)
			for range i { // the grants of one are no sessions
				g := newGrant(e.clock.Now(), i)
				e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error { d.Put(g); return nil }))
			}
			want = append(want, s)
		}
		e.end(want[3].ID, sessions.EndAdmin)
		want[3] = e.session(want[3].ID)
		slices.SortFunc(want, func(a, b sessions.Session) int {
			return slices.Compare([]byte(a.ID), []byte(b.ID))
		})
		got, err := e.store.List(e.ctx, "", 100)
		e.ok(err)
		equal(e, got, want)
		got, err = e.store.List(e.ctx, want[2].ID, 2)
		e.ok(err)
		equal(e, got, want[3:5])
		got, err = e.store.List(e.ctx, want[6].ID, 2)
		e.ok(err)
		equal(e, len(got), 0)
		for limit := range 9 {
			if limit > 0 {
				equal(e, len(e.pages(limit, nil)), 7)
			}
		}
		e.sweep(e.in(8*time.Hour), 100)
		equal(e, len(e.pages(10, nil)), 0)
	}},
	{name: "a list goes on from any text, also from a session that is gone", run: func(e *env) {
		a := newSession(e.clock.Now(), 1)
		b := newSession(e.clock.Now(), 2)
		a.ID, b.ID = "a", "a-b" // the one's name begins the other's
		for _, s := range []sessions.Session{a, b} {
			e.ok(e.store.Create(e.ctx, s, newGrant(e.clock.Now(), 1), time.Time{}))
		}
		for after, want := range map[sessions.ID][]sessions.ID{
			"": {"a", "a-b"}, "A": {"a", "a-b"}, "a": {"a-b"}, "a ": {"a-b"}, "a-": {"a-b"}, "a-b": nil, "a-c": nil, "~": nil, "é\xff": nil,
		} {
			page, err := e.store.List(e.ctx, after, 10)
			e.ok(err)
			var ids []sessions.ID
			for _, s := range page {
				ids = append(ids, s.ID)
			}
			if !slices.Equal(ids, want) {
				e.Errorf("after %q: got %q, want %q", after, ids, want)
			}
		}
	}},
	{name: "a session that stays is in exactly one page, whatever comes and goes meanwhile", run: func(e *env) {
		var stay, leave []sessions.ID
		for i := range 60 {
			s, _ := e.create(i)
			if i%3 == 0 {
				leave = append(leave, s.ID)
				e.end(s.ID, sessions.EndAdmin)
			} else {
				stay = append(stay, s.ID)
				e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
					d.Session.Absolute = d.Session.Absolute.Add(time.Hour)
					d.Session.Idle = d.Session.Absolute
					return nil
				}))
			}
		}
		n, swept := 100, false
		got := e.pages(4, func(sessions.ID) {
			for range 5 {
				e.create(n)
				n++
				if n > 160 {
					return
				}
			}
			if !swept { // those that ended go
				swept = true
				e.sweep(e.in(7*time.Hour), 1000)
			}
		})
		for _, id := range stay {
			if c := count(got, id); c != 1 {
				e.Errorf("%q is listed %d times", id, c)
			}
		}
		for _, id := range got {
			if c := count(got, id); c != 1 {
				e.Errorf("%q is listed %d times", id, c)
			}
		}
		for _, id := range leave {
			if count(e.pages(50, nil), id) != 0 {
				e.Errorf("%q is listed after it went", id)
			}
		}
	}},
	{name: "lists beside changes of the same sessions", run: func(e *env) {
		var all []sessions.ID
		for i := range 30 {
			s, _ := e.create(i)
			all = append(all, s.ID)
		}
		slices.Sort(all)
		var changing sync.WaitGroup
		changing.Go(func() {
			for i := range 90 {
				err := e.store.Update(e.ctx, all[i%len(all)], nil, func(d *sessions.Draft) error {
					d.Session.Cookies = []sessions.CookieHash{sessions.CookieHash(fmt.Sprint("renewed", i))}
					d.Put(newGrant(e.clock.Now(), i))
					return nil
				})
				if err != nil {
					e.Error(err)
				}
			}
		})
		for limit := 1; limit < 12; limit++ {
			equal(e, e.pages(limit, nil), all)
		}
		changing.Wait()
	}},
}

func count(list []sessions.ID, id sessions.ID) (n int) {
	for _, other := range list {
		if other == id {
			n++
		}
	}
	return n
}
