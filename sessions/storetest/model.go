package storetest

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// RunModel does random operations on a store and on plain maps; both must
// agree after each.
func RunModel(t *testing.T, open Opener) {
	rapid.Check(t, Operations(t, open))
}

// Operations is RunModel's property, for rapid.MakeFuzz.
func Operations(t testing.TB, open Opener) func(*rapid.T) {
	return func(r *rapid.T) {
		clock := NewClock()
		c := Config{Place: t.TempDir(), Now: clock.Now, MaxTransactions: 6}
		m := &model{
			T: r, clock: clock, store: open(t, c),
			sessions: map[sessions.ID]*modelSession{}, ties: map[sessions.RequestURIHash]modelTie{}, codes: map[sessions.CodeHash]sessions.Code{},
			notes: map[modelNote]sessions.Note{},
		}
		defer func() { _ = m.store.Close() }()
		r.Repeat(map[string]func(*rapid.T){
			"create": m.create, "use": m.use, "rename": m.rename, "end": m.end, "fail": m.fail,
			"follow cookies": m.follow, "settle": m.settle, "owe": m.owe, "add note": m.addNote, "drop note": m.dropNote,
			"add transaction": m.addTransaction, "drop transaction": m.dropTransaction, "tie": m.tie, "see code": m.seeCode,
			"time passes": func(r *rapid.T) {
				clock.Advance(time.Duration(rapid.IntRange(1, 400).Draw(r, "minutes")) * time.Minute)
			},
			"sweep": m.sweep,
			"reopen": func(*rapid.T) {
				finish(t, m.store)
				m.store = open(t, c)
			},
			"": m.agree,
		})
		finish(t, m.store)
	}
}

type modelSession struct {
	sessions.Session
	grants []sessions.Grant
}

type modelTie struct {
	key   sessions.TransactionKey
	until time.Time
}

// model is what a store should have; the newest is last in its lists.
type model struct {
	*rapid.T
	clock        *Clock
	store        sessions.Store
	made         int
	sessions     map[sessions.ID]*modelSession
	transactions []sessions.Transaction
	pushedOut    int
	ties         map[sessions.RequestURIHash]modelTie
	codes        map[sessions.CodeHash]sessions.Code
	notes        map[modelNote]sessions.Note
}

func (m *model) ok(r *rapid.T, err error) {
	if err != nil {
		r.Fatalf("got error %v", err)
	}
}

func (m *model) in(d time.Duration) time.Time { return exact(m.clock.Now().Add(d)) }

// pick is the name of one of the sessions, or of none.
func (m *model) pick(r *rapid.T) sessions.ID {
	return sessions.ID(fmt.Sprint("session", rapid.IntRange(0, m.made).Draw(r, "session")))
}

func (m *model) create(r *rapid.T) {
	n := rapid.IntRange(0, 3).Draw(r, "user")
	m.made++
	s := exactSession(newSession(m.clock.Now(), n))
	s.ID = sessions.ID(fmt.Sprint("session", m.made))
	if rapid.Bool().Draw(r, "short") {
		s.Absolute = s.Idle
	}
	g := newGrant(m.clock.Now(), m.made)
	g.CodeHash = m.hash(r)
	g = exactGrant(g, s.ID)
	m.ok(r, m.store.Create(r.Context(), s, g, m.in(10*time.Minute)))
	m.sessions[s.ID] = &modelSession{s, []sessions.Grant{g}}
	m.code(sessions.Code{Hash: g.CodeHash, Exchanged: true, Until: m.in(10 * time.Minute)})
}

// update runs f in the store and returns whether the session is there.
func (m *model) update(r *rapid.T, id sessions.ID, f func(*sessions.Draft) error) (*modelSession, bool) {
	err := m.store.Update(r.Context(), id, nil, f)
	s, ok := m.sessions[id]
	if !ok {
		if !errors.Is(err, sessions.ErrNotFound) {
			r.Fatalf("changing %s, which is not there: got error %v", id, err)
		}
		return nil, false
	}
	if s.End != nil && errors.Is(err, errOwn) {
		return nil, false
	}
	m.ok(r, err)
	return s, true
}

func (m *model) use(r *rapid.T) {
	idle := m.in(time.Duration(rapid.IntRange(1, 500).Draw(r, "idle")) * time.Minute)
	add := rapid.Bool().Draw(r, "another grant")
	g := newGrant(m.clock.Now(), rapid.IntRange(0, 1000).Draw(r, "grant"))
	id := m.pick(r)
	s, ok := m.update(r, id, func(d *sessions.Draft) error {
		if d.Session.End != nil {
			return errOwn
		}
		d.Session.Idle = minTime(idle, d.Session.Absolute)
		first, ok := d.Grant(m.sessions[id].grants[0].ID)
		if !ok {
			return errors.New("the grant is gone")
		}
		first.Uses++
		d.Put(first)
		if add {
			d.Put(g)
		}
		return nil
	})
	if !ok {
		return
	}
	s.Idle = minTime(idle, s.Absolute)
	s.grants[0].Uses++
	if add {
		s.grants = append(s.grants, exactGrant(g, s.ID))
	}
}

func (m *model) rename(r *rapid.T) {
	b := sessions.BrowserOf(fmt.Sprint("b", rapid.IntRange(0, 3).Draw(r, "browser")))
	id := m.pick(r)
	change := func(d *sessions.Draft) error {
		d.Session.Browsers[0] = b
		return nil
	}
	if s, ok := m.sessions[id]; ok && s.End != nil && s.Browsers[0] != b {
		m.refused(r, m.store.Update(r.Context(), id, nil, change))
		return
	}
	if s, ok := m.update(r, id, change); ok {
		s.Browsers[0] = b
	}
}

func (m *model) end(r *rapid.T) {
	end := sessions.End{At: m.in(0), Reason: sessions.EndAdmin, SingleSignOn: rapid.Bool().Draw(r, "single sign-on")}
	owes, n := rapid.Bool().Draw(r, "owes"), m.drawNote(r)
	s, ok := m.update(r, m.pick(r), func(d *sessions.Draft) error {
		if owes {
			d.EndSessionOwing(end)
		} else {
			d.EndSession(end)
		}
		d.AddNote(n)
		return nil
	})
	if !ok {
		return
	}
	m.keepNote(n)
	if s.End == nil {
		s.end(end, owes)
	}
}

func (m *model) fail(r *rapid.T) {
	id := m.pick(r)
	err := m.store.Update(r.Context(), id, nil, func(d *sessions.Draft) error {
		d.Session.Browsers[0] = "never"
		d.Session.Idle = d.Session.Created
		d.Put(newGrant(m.clock.Now(), 1))
		d.AddNote(sessions.Note{Kind: sessions.NoteDeadCookie, Key: "0", At: m.in(0), Until: m.in(1000 * time.Hour)})
		return errOwn
	})
	if _, ok := m.sessions[id]; ok && !errors.Is(err, errOwn) || !ok && !errors.Is(err, sessions.ErrNotFound) {
		r.Fatalf("got error %v", err)
	}
}

func (m *model) addTransaction(r *rapid.T) {
	n := rapid.IntRange(0, 12).Draw(r, "challenge")
	t := exactTransaction(newTransaction(m.clock.Now(), n, fmt.Sprintf("192.0.2.%d/32", rapid.IntRange(0, 2).Draw(r, "address"))))
	t.Client = fmt.Sprint("client", rapid.IntRange(0, 1).Draw(r, "client"))
	t.Browser = sessions.BrowserID(rapid.SampledFrom([]string{"", "a", "b"}).Draw(r, "browser"))
	got, added, err := m.store.AddTransaction(r.Context(), t)
	i := slices.IndexFunc(m.transactions, func(o sessions.Transaction) bool { return o.Key == t.Key })
	if i >= 0 && m.live(m.transactions[i]) {
		standing := &m.transactions[i]
		if !standing.Same(&t) {
			if !errors.Is(err, sessions.ErrDifferent) {
				r.Fatalf("got error %v, want %v", err, sessions.ErrDifferent)
			}
			return
		}
		standing.Meet(t.Browser)
		m.ok(r, err)
		same(r, "added", added, false)
		same(r, "transaction", got, *standing)
		return
	}
	m.ok(r, err)
	same(r, "added", added, true)
	if i >= 0 {
		m.transactions = slices.Delete(m.transactions, i, i+1)
	}
	m.transactions = append(m.transactions, t)
	m.pushOut()
}

func (m *model) live(t sessions.Transaction) bool { return m.clock.Now().Before(t.Until) }

func (m *model) pushOut() {
	for len(m.transactions) > 6 {
		if i := slices.IndexFunc(m.transactions, func(t sessions.Transaction) bool { return !m.live(t) }); i >= 0 {
			m.transactions = slices.Delete(m.transactions, i, i+1)
			continue
		}
		count := map[netip.Prefix]int{}
		most := 0
		for _, t := range m.transactions {
			count[t.Address]++
			most = max(most, count[t.Address])
		}
		i := slices.IndexFunc(m.transactions, func(t sessions.Transaction) bool { return count[t.Address] == most })
		m.transactions = slices.Delete(m.transactions, i, i+1)
		m.pushedOut++
	}
}

func (m *model) dropTransaction(r *rapid.T) {
	key := newTransaction(m.clock.Now(), rapid.IntRange(0, 12).Draw(r, "challenge"), "::/64").Key
	m.ok(r, m.store.DropTransaction(r.Context(), key))
	m.transactions = slices.DeleteFunc(m.transactions, func(t sessions.Transaction) bool { return t.Key == key })
}

func (m *model) tie(r *rapid.T) {
	uri := sessions.HashRequestURI(fmt.Sprint(rapid.IntRange(0, 3).Draw(r, "request_uri")))
	t := modelTie{sessions.TransactionKey{byte(rapid.IntRange(0, 9).Draw(r, "key"))}, m.in(time.Minute)}
	m.ok(r, m.store.TieRequestURI(r.Context(), uri, t.key, t.until))
	m.ties[uri] = t
}

func (m *model) hash(r *rapid.T) sessions.CodeHash {
	return sessions.HashCode(fmt.Sprint(rapid.IntRange(0, 4).Draw(r, "code")))
}

func (m *model) seeCode(r *rapid.T) {
	c := sessions.Code{
		Hash: m.hash(r), Browser: sessions.BrowserID(rapid.SampledFrom([]string{"", "a", "b"}).Draw(r, "browser")),
		LeftAt: m.in(0), Until: m.in(time.Duration(rapid.IntRange(1, 20).Draw(r, "minutes")) * time.Minute),
	}
	m.ok(r, m.store.AddCode(r.Context(), c))
	m.code(c)
}

func (m *model) code(c sessions.Code) {
	if known, ok := m.codes[c.Hash]; ok && m.clock.Now().Before(known.Until) {
		if !known.LeftAt.IsZero() || known.Browser != "" {
			c.Browser, c.LeftAt, c.Cookies = known.Browser, known.LeftAt, known.Cookies
		}
		c.Exchanged = c.Exchanged || known.Exchanged
		if known.Until.After(c.Until) {
			c.Until = known.Until
		}
	}
	m.codes[c.Hash] = c
}

func (m *model) sweep(r *rapid.T) {
	now := m.clock.Now()
	var want []sessions.ID
	for id, s := range m.sessions {
		if reason, passed := s.Deadline(now); passed && s.End == nil {
			s.End, s.grants = &sessions.End{At: exact(now), Reason: reason}, nil
			want = append(want, id)
		}
		if s.End != nil && !now.Before(s.Absolute) {
			delete(m.sessions, id)
		}
	}
	m.transactions = slices.DeleteFunc(m.transactions, func(t sessions.Transaction) bool { return !m.live(t) })
	maps.DeleteFunc(m.notes, func(_ modelNote, n sessions.Note) bool { return !m.holds(n) })
	var got []sessions.ID
	for limit := rapid.IntRange(1, 9).Draw(r, "limit"); ; {
		out, err := m.store.Sweep(r.Context(), now, limit)
		m.ok(r, err)
		if len(out.Ended) > limit {
			r.Fatalf("%d ended, limit %d", len(out.Ended), limit)
		}
		for _, s := range out.Ended {
			got = append(got, s.ID)
		}
		if !out.More {
			break
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	same(r, "swept", got, want)
}
