package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"pgregory.net/rapid"

	"github.com/ort-gateway/ort-gateway/sessions"
)

func same[T any](r *rapid.T, what string, got, want T) {
	r.Helper()
	if !reflect.DeepEqual(got, want) {
		r.Fatalf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

// agree compares everything that the store and the model know.
func (m *model) agree(r *rapid.T) {
	active := 0
	for n := range m.made + 1 {
		id := sessions.ID(fmt.Sprint("session", n))
		want, ok := m.sessions[id]
		got, err := m.store.Session(r.Context(), id)
		if !ok {
			if !errors.Is(err, sessions.ErrNotFound) {
				r.Fatalf("%s should be gone: got error %v", id, err)
			}
			continue
		}
		m.ok(r, err)
		same(r, "session", got, want.Session)
		grants, err := m.store.Grants(r.Context(), id)
		m.ok(r, err)
		sorted := slices.Clone(want.grants)
		slices.SortStableFunc(sorted, func(a, b sessions.Grant) int { return a.Created.Compare(b.Created) })
		same(r, "number of grants", len(grants), len(sorted))
		for _, g := range sorted {
			_, got, err := m.store.Grant(r.Context(), id, g.ID)
			m.ok(r, err)
			same(r, "grant", got, g)
		}
		if want.End == nil {
			active++
		}
	}
	m.agreeFound(r)
	m.agreeWaiting(r)
	m.agreeNotes(r)
	m.agreeOwing(r)
	st := m.store.Stats()
	same(r, "active", st.Active, active)
	same(r, "transactions", st.Transactions, len(m.transactions))
}

func (m *model) agreeFound(r *rapid.T) {
	for n := range 4 {
		b := sessions.BrowserOf(fmt.Sprint("b", n))
		m.agreeFinder(r, sessions.Finder{Browser: b}, func(s *modelSession) bool { return slices.Contains(s.Browsers, b) })
		c := sessions.CookieHash(fmt.Sprint("cookie", n))
		m.agreeFinder(r, sessions.Finder{Cookie: c}, func(s *modelSession) bool { return slices.Contains(s.Cookies, c) })
	}
}

func (m *model) agreeFinder(r *rapid.T, by sessions.Finder, has func(*modelSession) bool) {
	list, err := m.store.Find(r.Context(), by)
	m.ok(r, err)
	want := 0
	for _, s := range m.sessions {
		if has(s) {
			want++
		}
	}
	same(r, fmt.Sprintf("sessions of %+v", by), len(list), want)
	for i, s := range list {
		same(r, "session found", s, m.sessions[s.ID].Session)
		if i > 0 && s.Created.After(list[i-1].Created) {
			r.Fatal("an older session was found before a newer one")
		}
	}
}

func (m *model) agreeWaiting(r *rapid.T) {
	now := m.clock.Now()
	for n := range 13 {
		key := newTransaction(now, n, "::/64").Key
		i := slices.IndexFunc(m.transactions, func(t sessions.Transaction) bool { return t.Key == key && m.live(t) })
		got, err := m.store.Transaction(r.Context(), key)
		if i < 0 {
			same(r, "error", errors.Is(err, sessions.ErrNotFound), true)
			continue
		}
		m.ok(r, err)
		same(r, "transaction", got, m.transactions[i])
	}
	for n := range 4 {
		uri := sessions.HashRequestURI(fmt.Sprint(n))
		got, err := m.store.RequestURI(r.Context(), uri)
		want, ok := m.ties[uri]
		if !ok || !now.Before(want.until) {
			same(r, "error", errors.Is(err, sessions.ErrNotFound), true)
			continue
		}
		m.ok(r, err)
		same(r, "tie", got, want.key)
	}
	for n := range 5 {
		hash := sessions.HashCode(fmt.Sprint(n))
		got, err := m.store.Code(r.Context(), hash)
		want, ok := m.codes[hash]
		if !ok || !now.Before(want.Until) {
			same(r, "error", errors.Is(err, sessions.ErrNotFound), true)
			continue
		}
		m.ok(r, err)
		same(r, "code", got, want)
	}
}
