package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Config is how a store is opened.
type Config struct {
	Place           string // a directory of the test; the same one again finds what was kept there
	Now             func() time.Time
	MaxTransactions int // 0: the store's default
}

// Opener opens a store.
type Opener func(testing.TB, Config) sessions.Store

// Clock stands until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock makes a clock that stands at some moment, not a whole second.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, 3, 4, 5, 6, 7, 891_234_567, time.FixedZone("elsewhere", 3600))}
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// env is what a case works with.
type env struct {
	*testing.T
	ctx   context.Context
	store sessions.Store
	clock *Clock
}

type testCase struct {
	name  string
	limit int // MaxTransactions
	run   func(*env)
}

// Run runs every case that one open store can show.
func Run(t *testing.T, open Opener) {
	for _, group := range [][]testCase{transactionCases, codeCases, sessionCases, noteCases, owedCases, sweepCases, sharedCases, concurrencyCases, listCases} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				clock := NewClock()
				s := open(t, Config{Place: t.TempDir(), Now: clock.Now, MaxTransactions: c.limit})
				c.run(&env{T: t, ctx: t.Context(), store: s, clock: clock})
				finish(t, s)
			})
		}
	}
}

// finish checks a store and closes it, unless the case did.
func finish(t testing.TB, s sessions.Store) {
	t.Helper()
	if c, ok := s.(interface{ Check(context.Context) error }); ok {
		if err := c.Check(context.Background()); err != nil && !errors.Is(err, sessions.ErrClosed) {
			t.Errorf("Check: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("got error %v, want none", err)
	}
}

func (e *env) is(err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("got error %v, want %v", err, want)
	}
}

func equal[T any](e *env, got, want T) {
	e.Helper()
	if !reflect.DeepEqual(got, want) {
		e.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

// exact is a time as stores give it back.
func exact(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }

func (e *env) in(d time.Duration) time.Time { return e.clock.Now().Add(d) }

// newSession is a session with every field set, alive for 3 and 7 hours.
func newSession(now time.Time, n int) sessions.Session {
	return sessions.Session{
		ID: sessions.NewID(), Place: "https://id.example/authorize",
		Browsers: []sessions.BrowserID{sessions.BrowserOf(fmt.Sprint("b", n)), sessions.BrowserOf(fmt.Sprint("c", n))},
		Upstream: []sessions.UpstreamSession{{Issuer: "https://id.example", SID: fmt.Sprint("sid", n)}},
		Subjects: []sessions.Subject{{Issuer: "https://id.example", Client: "spa", Sub: fmt.Sprint("user", n)}},
		Cookies:  []sessions.CookieHash{sessions.HashLoginCookie("login", fmt.Sprint(n))},
		Created:  now, AuthTime: now.Add(-time.Minute), Start: now.Add(-time.Minute), LastUsed: now,
		Idle: now.Add(3 * time.Hour), Absolute: now.Add(7 * time.Hour),
	}
}

// exactSession is a session as it comes back.
func exactSession(s sessions.Session) sessions.Session {
	for _, t := range []*time.Time{&s.Created, &s.AuthTime, &s.Start, &s.LastUsed, &s.Idle, &s.Absolute} {
		*t = exact(*t)
	}
	if s.End != nil {
		end := *s.End
		end.At = exact(end.At)
		s.End = &end
	}
	return s
}

func newGrant(now time.Time, n int) sessions.Grant {
	return sessions.Grant{
		ID: sessions.NewGrantID(), Client: "spa", Issuer: "https://id.example", Thumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		Credential: []byte{0, 1, 2, byte(n), 0xff}, Scope: "openid profile", Audiences: []string{"https://api.example", ""},
		GatewayScopes: []string{"offline_access"}, CodeHash: sessions.HashCode(fmt.Sprint("code", n, now)),
		Created: now, LastUsed: now, Uses: 7,
	}
}

func exactGrant(g sessions.Grant, of sessions.ID) sessions.Grant {
	g.Session, g.Created, g.LastUsed = of, exact(g.Created), exact(g.LastUsed)
	return g
}

// create makes a session with one grant.
func (e *env) create(n int) (sessions.Session, sessions.Grant) {
	e.Helper()
	s, g := newSession(e.clock.Now(), n), newGrant(e.clock.Now(), n)
	e.ok(e.store.Create(e.ctx, s, g, e.in(10*time.Minute)))
	return exactSession(s), exactGrant(g, s.ID)
}

func newTransaction(now time.Time, n int, address string) sessions.Transaction {
	return sessions.Transaction{
		Key:   sessions.KeyOfChallenge("S256", fmt.Sprint("challenge", n)),
		Place: "https://id.example/authorize", Client: "spa", Scope: "openid online_access",
		Audiences: []string{"a", "b"}, Thumbprint: "jkt", GatewayScopes: []string{"offline_access"},
		KeyID: "k1", None: n%2 == 1, Browser: sessions.BrowserOf("one"),
		Address: netip.MustParsePrefix(address), Created: now, Until: now.Add(24 * time.Hour),
	}
}

func exactTransaction(t sessions.Transaction) sessions.Transaction {
	t.Created, t.Until = exact(t.Created), exact(t.Until)
	return t
}

func (e *env) add(t sessions.Transaction) sessions.Transaction {
	e.Helper()
	got, added, err := e.store.AddTransaction(e.ctx, t)
	e.ok(err)
	if !added {
		e.Fatal("another transaction stands")
	}
	equal(e, got, exactTransaction(t))
	return got
}

func (e *env) end(id sessions.ID, reason sessions.EndReason) (first bool) {
	e.Helper()
	e.ok(e.store.Update(e.ctx, id, nil, func(d *sessions.Draft) error {
		first = d.EndSession(sessions.End{At: e.clock.Now(), Reason: reason})
		return nil
	}))
	return first
}
