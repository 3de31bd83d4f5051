package storetest

import (
	"fmt"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var transactionCases = []testCase{
	{name: "a transaction comes back with every field, times in UTC to the millisecond", run: func(e *env) {
		want := exactTransaction(newTransaction(e.clock.Now(), 1, "192.0.2.1/32"))
		e.add(want)
		got, err := e.store.Transaction(e.ctx, want.Key)
		e.ok(err)
		equal(e, got, want)
		bare := sessions.Transaction{Key: sessions.KeyOfChallenge("plain", "x"), Until: e.in(time.Hour)}
		e.add(exactBare(bare))
		equal(e, e.store.Stats().Transactions, 2)
	}},
	{name: "the first transaction of a challenge stands", run: func(e *env) {
		first := e.add(newTransaction(e.clock.Now(), 2, "192.0.2.1/32"))
		e.clock.Advance(time.Minute)
		again := newTransaction(e.clock.Now(), 2, "2001:db8::/64")
		again.KeyID = "k2"
		got, added, err := e.store.AddTransaction(e.ctx, again)
		e.ok(err)
		equal(e, added, false)
		equal(e, got, first)
		got, err = e.store.Transaction(e.ctx, first.Key)
		e.ok(err)
		equal(e, got, first)
	}},
	{name: "one browser stays, several are none", run: func(e *env) {
		tx := newTransaction(e.clock.Now(), 3, "192.0.2.1/32")
		tx.Browser = ""
		e.add(tx)
		meet := func(b sessions.BrowserID, want sessions.BrowserID, several bool) {
			e.Helper()
			tx.Browser = b
			for range 2 {
				got, _, err := e.store.AddTransaction(e.ctx, tx)
				e.ok(err)
				equal(e, got.Browser, want)
				equal(e, got.Browsers, several)
				got, err = e.store.Transaction(e.ctx, tx.Key)
				e.ok(err)
				equal(e, got.Browser, want)
				equal(e, got.Browsers, several)
			}
		}
		meet("", "", false)
		meet("a", "a", false)
		meet("", "a", false)
		meet("b", "", true)
		meet("a", "", true)
	}},
	{name: "other values for a standing challenge are refused", run: func(e *env) {
		first := e.add(newTransaction(e.clock.Now(), 4, "192.0.2.1/32"))
		for name, change := range map[string]func(*sessions.Transaction){
			"client":     func(t *sessions.Transaction) { t.Client = "other" },
			"place":      func(t *sessions.Transaction) { t.Place = "other" },
			"scope":      func(t *sessions.Transaction) { t.Scope = "other" },
			"thumbprint": func(t *sessions.Transaction) { t.Thumbprint = "" },
			"audiences":  func(t *sessions.Transaction) { t.Audiences = []string{"b", "a"} },
			"none":       func(t *sessions.Transaction) { t.None = !t.None },
		} {
			other := newTransaction(e.clock.Now(), 4, "192.0.2.1/32")
			change(&other)
			other.Browser = "another"
			if _, added, err := e.store.AddTransaction(e.ctx, other); added {
				e.Fatalf("%s: added", name)
			} else {
				e.is(err, sessions.ErrDifferent)
			}
		}
		got, err := e.store.Transaction(e.ctx, first.Key)
		e.ok(err)
		equal(e, got, first)
	}},
	{name: "a transaction ends with its time, and its challenge is free again", run: func(e *env) {
		first := e.add(newTransaction(e.clock.Now(), 5, "192.0.2.1/32"))
		e.clock.Advance(first.Until.Sub(e.clock.Now()) - time.Millisecond)
		_, err := e.store.Transaction(e.ctx, first.Key)
		e.ok(err)
		e.clock.Advance(time.Millisecond)
		_, err = e.store.Transaction(e.ctx, first.Key)
		e.is(err, sessions.ErrNotFound)
		other := newTransaction(e.clock.Now(), 5, "192.0.2.2/32")
		other.Client = "other"
		e.add(other)
	}},
	{name: "a dropped transaction is gone; dropping an unknown one is no error", run: func(e *env) {
		tx := e.add(newTransaction(e.clock.Now(), 6, "192.0.2.1/32"))
		for range 2 {
			e.ok(e.store.DropTransaction(e.ctx, tx.Key))
			_, err := e.store.Transaction(e.ctx, tx.Key)
			e.is(err, sessions.ErrNotFound)
		}
		equal(e, e.store.Stats(), sessions.Stats{Bytes: e.store.Stats().Bytes})
		e.add(tx)
	}},
	{name: "a request_uri finds its transaction until its time", run: func(e *env) {
		tx := e.add(newTransaction(e.clock.Now(), 7, "192.0.2.1/32"))
		uri := sessions.HashRequestURI("urn:ietf:params:oauth:request_uri:1")
		e.ok(e.store.TieRequestURI(e.ctx, uri, tx.Key, e.in(time.Minute)))
		got, err := e.store.RequestURI(e.ctx, uri)
		e.ok(err)
		equal(e, got, tx.Key)
		_, err = e.store.RequestURI(e.ctx, sessions.HashRequestURI("other"))
		e.is(err, sessions.ErrNotFound)
		e.clock.Advance(time.Minute)
		_, err = e.store.RequestURI(e.ctx, uri)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "a flood pushes out its own address' oldest", limit: 10, run: func(e *env) {
		var others []sessions.Transaction
		for i := range 3 {
			others = append(others, e.add(newTransaction(e.clock.Now(), i, fmt.Sprintf("192.0.2.%d/32", i))))
			e.clock.Advance(time.Second)
		}
		for i := range 50 {
			e.add(newTransaction(e.clock.Now(), 100+i, "2001:db8:1:2::/64"))
			e.clock.Advance(time.Second)
		}
		for _, tx := range others {
			_, err := e.store.Transaction(e.ctx, tx.Key)
			e.ok(err)
		}
		for i := range 50 {
			_, err := e.store.Transaction(e.ctx, newTransaction(e.clock.Now(), 100+i, "2001:db8:1:2::/64").Key)
			if want := i >= 43; (err == nil) != want {
				e.Fatalf("transaction %d of the flood: got error %v, want there: %t", i, err, want)
			}
		}
		st := e.store.Stats()
		equal(e, st.Transactions, 10)
		equal(e, st.PushedOut, 43)
	}},
	{name: "where each address holds one the oldest goes", limit: 3, run: func(e *env) {
		var all []sessions.Transaction
		for i := range 5 {
			all = append(all, e.add(newTransaction(e.clock.Now(), i, fmt.Sprintf("192.0.2.%d/32", i))))
			e.clock.Advance(time.Second)
		}
		for i, tx := range all {
			_, err := e.store.Transaction(e.ctx, tx.Key)
			if (err == nil) != (i >= 2) {
				e.Fatalf("transaction %d: got error %v", i, err)
			}
		}
	}},
	{name: "what has expired goes before anything is pushed out", limit: 3, run: func(e *env) {
		long := e.add(newTransaction(e.clock.Now(), 1, "192.0.2.1/32"))
		for i := range 2 {
			short := newTransaction(e.clock.Now(), 2+i, "192.0.2.2/32")
			short.Until = e.in(time.Minute)
			e.add(short)
		}
		e.clock.Advance(time.Minute)
		e.add(newTransaction(e.clock.Now(), 10, "192.0.2.1/32"))
		_, err := e.store.Transaction(e.ctx, long.Key)
		e.ok(err)
		equal(e, e.store.Stats().PushedOut, 0)
	}},
}

func exactBare(t sessions.Transaction) sessions.Transaction {
	t.Until = exact(t.Until)
	return t
}

var codeCases = []testCase{
	{name: "a code keeps its first browser", run: func(e *env) {
		c := sessions.Code{Hash: sessions.HashCode("a"), Browser: "first", LeftAt: exact(e.clock.Now()), Until: exact(e.in(time.Hour))}
		e.ok(e.store.AddCode(e.ctx, c))
		later := c
		later.Browser, later.LeftAt = "second", e.in(time.Minute)
		e.ok(e.store.AddCode(e.ctx, later))
		got, err := e.store.Code(e.ctx, c.Hash)
		e.ok(err)
		equal(e, got, c)
	}},
	{name: "an exchanged code never becomes one that was not", run: func(e *env) {
		s, g := newSession(e.clock.Now(), 1), newGrant(e.clock.Now(), 1)
		seen := sessions.Code{Hash: g.CodeHash, Browser: "b", LeftAt: exact(e.clock.Now()), Until: exact(e.in(time.Minute))}
		e.ok(e.store.AddCode(e.ctx, seen))
		e.ok(e.store.Create(e.ctx, s, g, e.in(10*time.Minute)))
		want := seen
		want.Exchanged, want.Until = true, exact(e.in(10*time.Minute))
		for range 2 {
			got, err := e.store.Code(e.ctx, g.CodeHash)
			e.ok(err)
			equal(e, got, want)
			e.ok(e.store.AddCode(e.ctx, seen))
		}
		e.clock.Advance(10 * time.Minute)
		_, err := e.store.Code(e.ctx, g.CodeHash)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "a second grant's code is marked by its update, unless that failed", run: func(e *env) {
		s, _ := e.create(1)
		hash := sessions.HashCode("second")
		failed := fmt.Errorf("no")
		e.is(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.UseCode(hash, e.in(time.Minute))
			return failed
		}), failed)
		_, err := e.store.Code(e.ctx, hash)
		e.is(err, sessions.ErrNotFound)
		e.ok(e.store.Update(e.ctx, s.ID, nil, func(d *sessions.Draft) error {
			d.UseCode(hash, e.in(time.Minute))
			return nil
		}))
		got, err := e.store.Code(e.ctx, hash)
		e.ok(err)
		equal(e, got, sessions.Code{Hash: hash, Exchanged: true, Until: exact(e.in(time.Minute))})
	}},
	{name: "a session without a code marks none", run: func(e *env) {
		s, g := newSession(e.clock.Now(), 1), newGrant(e.clock.Now(), 1)
		g.CodeHash = sessions.CodeHash{}
		e.ok(e.store.Create(e.ctx, s, g, e.in(time.Minute)))
		_, err := e.store.Code(e.ctx, g.CodeHash)
		e.is(err, sessions.ErrNotFound)
	}},
	{name: "codes that were seen cannot push out marks of exchanged ones", limit: 5, run: func(e *env) {
		_, g := e.create(1)
		for i := range 20 {
			e.ok(e.store.AddCode(e.ctx, sessions.Code{Hash: sessions.HashCode(fmt.Sprint(i)), Until: e.in(time.Hour)}))
		}
		got, err := e.store.Code(e.ctx, g.CodeHash)
		e.ok(err)
		equal(e, got.Exchanged, true)
		for i := range 20 {
			if _, err := e.store.Code(e.ctx, sessions.HashCode(fmt.Sprint(i))); (err == nil) != (i >= 15) {
				e.Fatalf("code %d: got error %v", i, err)
			}
		}
	}},
}
