package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const many = 64

// together runs f in many goroutines that start at once.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

var concurrencyCases = []testCase{
	{name: "64 tabs on one grant lose no update", run: func(e *env) {
		s, g := e.create(1)
		together(many, func(int) {
			for range 4 {
				err := e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
					g, ok := d.Grant(g.ID)
					if !ok {
						return errors.New("the grant is gone")
					}
					g.Uses++
					d.Put(g)
					return nil
				})
				if err != nil {
					e.Error(err)
				}
			}
		})
		_, got, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.ok(err)
		equal(e, got.Uses, g.Uses+4*many)
	}},
	{name: "64 tabs that refresh under a lease use one credential after the other", run: func(e *env) {
		s, g := e.create(1)
		var used sync.Map // a credential that was sent upstream is never sent again
		together(many, func(i int) {
			l, err := e.store.Lease(e.ctx, "grant "+string(g.ID))
			if err != nil {
				e.Error(err)
				return
			}
			defer l.Release()
			_, now, err := e.store.Grant(e.ctx, s.ID, g.ID)
			if err != nil {
				e.Error(err)
				return
			}
			if _, twice := used.LoadOrStore(string(now.Credential), i); twice {
				e.Errorf("credential %q was used twice", now.Credential)
			}
			err = e.store.Update(e.ctx, s.ID, l, func(d *sessions.Draft) error {
				now.Credential = fmt.Append(nil, "after ", i)
				d.Put(now)
				return nil
			})
			if err != nil {
				e.Error(err)
			}
		})
	}},
	{name: "an end stands against updates that run beside it", run: func(e *env) {
		s, g := e.create(1)
		var firsts atomic.Int32
		together(many, func(i int) {
			err := e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
				if i%8 == 0 {
					if d.EndSession(sessions.End{At: e.clock.Now(), Reason: sessions.EndAdmin}) {
						firsts.Add(1)
					}
					return nil
				}
				if d.Session.End != nil {
					return errOwn
				}
				d.Session.Idle = e.in(time.Duration(i) * time.Minute)
				d.Put(newGrant(e.clock.Now(), i))
				return nil
			})
			if err != nil && !errors.Is(err, errOwn) {
				e.Error(err)
			}
		})
		if firsts.Load() != 1 {
			e.Errorf("%d were the end", firsts.Load())
		}
		got, _, err := e.store.Grant(e.ctx, s.ID, g.ID)
		e.is(err, sessions.ErrNotFound)
		if got.End == nil {
			e.Error("the session lives")
		}
		list, err := e.store.Grants(e.ctx, s.ID)
		e.ok(err)
		equal(e, len(list), 0)
	}},
	{name: "of two that make one session one succeeds", run: func(e *env) {
		s := newSession(e.clock.Now(), 1)
		var made atomic.Int32
		together(8, func(i int) {
			if e.store.Create(e.ctx, s, newGrant(e.clock.Now(), i), time.Time{}) == nil {
				made.Add(1)
			}
		})
		equal(e, made.Load(), 1)
		list, err := e.store.Grants(e.ctx, s.ID)
		e.ok(err)
		equal(e, len(list), 1)
	}},
	{name: "one bad change leaves its neighbours alone", run: func(e *env) {
		var all [many]sessions.Session
		for i := range all {
			all[i], _ = e.create(i)
		}
		together(many, func(i int) {
			err := e.store.Update(e.ctx, all[i].ID, nil, func(d *sessions.Draft) error {
				d.Session.Place = "changed"
				d.Session.Browsers = append(d.Session.Browsers, "shared")
				switch i % 4 {
				case 0:
					return errOwn
				case 1:
					d.Session.ID = "another"
				case 2:
					panic("no")
				}
				return nil
			})
			if (err == nil) != (i%4 == 3) {
				e.Errorf("change %d: got error %v", i, err)
			}
		})
		for i := range all {
			got, err := e.store.Session(e.ctx, all[i].ID)
			e.ok(err)
			equal(e, got.Place == "changed", i%4 == 3)
		}
		equal(e, len(e.found(sessions.Finder{Browser: "shared"})), many/4)
	}},
	{name: "one of many requests with a challenge adds its transaction", run: func(e *env) {
		var added atomic.Int32
		together(many, func(i int) {
			tx := newTransaction(e.clock.Now(), 1, fmt.Sprintf("192.0.2.%d/32", i))
			if _, ok, err := e.store.AddTransaction(e.ctx, tx); err != nil {
				e.Error(err)
			} else if ok {
				added.Add(1)
			}
		})
		equal(e, added.Load(), 1)
		equal(e, e.store.Stats().Transactions, 1)
	}},
	{name: "a sweep beside updates ends nothing that was used", run: func(e *env) {
		var all [many]sessions.Session
		for i := range all {
			all[i], _ = e.create(i)
		}
		e.clock.Advance(3*time.Hour - time.Second)
		now := e.clock.Now()
		together(many, func(i int) {
			if i%8 == 0 {
				if got, err := e.store.Sweep(e.ctx, now.Add(time.Second), 20); err != nil {
					e.Error(err)
				} else {
					for _, s := range got.Ended {
						if s.Idle.After(now.Add(time.Second)) {
							e.Errorf("session idle until %s was ended", s.Idle)
						}
					}
				}
				return
			}
			err := e.store.Update(e.ctx, all[i].ID, nil, func(d *sessions.Draft) error {
				if d.Session.End != nil {
					return errOwn
				}
				d.Session.Idle = now.Add(3 * time.Hour)
				return nil
			})
			if err != nil && !errors.Is(err, errOwn) {
				e.Error(err)
			}
		})
	}},
	{name: "10000 watchers", run: func(e *env) {
		s, _ := e.create(1)
		var stops []func()
		var mine []<-chan struct{}
		for i := range 10_000 {
			id := sessions.ID(fmt.Sprint("other", i))
			if i%1000 == 0 {
				id = s.ID
			}
			c, stop := e.store.Watch(id)
			stops = append(stops, stop)
			if id == s.ID {
				mine = append(mine, c)
			}
		}
		e.end(s.ID, sessions.EndAdmin)
		for _, c := range mine {
			equal(e, waitFor(e, c), true)
		}
		together(8, func(i int) {
			for n := i; n < len(stops); n += 8 {
				stops[n]()
			}
		})
	}},
}
