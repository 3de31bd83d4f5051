package redisstore

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// login is a session with a grant as an application has it.
func login(t testing.TB, s *Store, n int) (sessions.Session, sessions.Grant) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	ses := sessions.Session{
		ID: sessions.NewID(), Place: "https://id.example/authorize",
		Browsers: []sessions.BrowserID{sessions.BrowserOf(fmt.Sprint("b", n))},
		Subjects: []sessions.Subject{{Issuer: "https://id.example", Client: "spa", Sub: fmt.Sprint("user", n)}},
		Cookies:  []sessions.CookieHash{sessions.HashLoginCookie("login", fmt.Sprint(n))},
		Created:  now, Start: now, LastUsed: now, Idle: now.Add(time.Hour), Absolute: now.Add(2 * time.Hour),
	}
	g := sessions.Grant{ID: sessions.NewGrantID(), Session: ses.ID, Client: "spa", Issuer: "https://id.example",
		Credential: []byte("credential"), CodeHash: sessions.HashCode(string(ses.ID)), Created: now, LastUsed: now}
	if err := s.Create(t.Context(), ses, g, now.Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	return ses, g
}

func closing(t testing.TB, s *Store) *Store {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func use(ctx context.Context, s *Store, id sessions.ID, g sessions.GrantID, under sessions.Lease) error {
	return s.Update(ctx, id, under, func(d *sessions.Draft) error {
		now, ok := d.Grant(g)
		if !ok {
			return errors.New("the grant is gone")
		}
		now.Uses++
		d.Put(now)
		return nil
	})
}

func endIt(ctx context.Context, s *Store, id sessions.ID) (first bool, err error) {
	err = s.Update(ctx, id, nil, func(d *sessions.Draft) error {
		first = d.EndSession(sessions.End{At: time.Now(), Reason: sessions.EndRevoked, SingleSignOn: true})
		d.AddNote(sessions.Note{Kind: sessions.NoteDeadCookie, Key: "of " + string(id), At: time.Now(), Until: time.Now().Add(time.Hour)})
		return nil
	})
	return first, err
}

// unknown says that an error allows no conclusion.
func unknown(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, sessions.ErrNotFound) || errors.Is(err, sessions.ErrLeaseLost) || errors.Is(err, sessions.ErrClosed) {
		t.Errorf("%s: got error %v, want one that says nothing", what, err)
	}
}

// everyOperation is what a store that cannot work must not conclude anything from.
func everyOperation(t *testing.T, s *Store, id sessions.ID, g sessions.GrantID, writesAlone bool) {
	t.Helper()
	ctx := t.Context()
	_, first, err := s.AddTransaction(ctx, sessions.Transaction{Key: sessions.TransactionKey{1}, Until: time.Now().Add(time.Hour)})
	unknown(t, fmt.Sprint("AddTransaction ", first), err)
	_, err = s.AddNote(ctx, sessions.Note{Kind: sessions.NoteDeadCookie, Key: "x", Until: time.Now().Add(time.Hour)})
	unknown(t, "AddNote", err)
	unknown(t, "Update", use(ctx, s, id, g, nil))
	_, err = s.Lease(ctx, "a")
	unknown(t, "Lease", err)
	_, _, _, err = s.LeaseGrant(ctx, id, g)
	unknown(t, "LeaseGrant", err)
	unknown(t, "Ready", s.Ready(ctx))
	r := s.Replay(ReplayConfig{Generations: true})
	_, err = r.Remember(ctx, r.Generation(), [32]byte{1}, time.Now().Add(time.Minute))
	unknown(t, "Remember", err)
	if writesAlone {
		return
	}
	_, err = s.Session(ctx, id)
	unknown(t, "Session", err)
	_, _, err = s.Grant(ctx, id, g)
	unknown(t, "Grant", err)
	_, err = s.Find(ctx, sessions.Finder{Subject: "user1"})
	unknown(t, "Find", err)
	_, err = s.Note(ctx, sessions.NoteDeadCookie, "x")
	unknown(t, "Note", err)
	_, err = s.Transaction(ctx, sessions.TransactionKey{1})
	unknown(t, "Transaction", err)
	_, err = s.Sweep(ctx, time.Now(), 10)
	unknown(t, "Sweep", err)
}

// TestDeadCookiesWhileRedisIsDown: those that this replica killed are known to be dead, unless it has revived them.
func TestDeadCookiesWhileRedisIsDown(t *testing.T) {
	srv := newServer(t)
	s := closing(t, openAt(t, srv.url(), Config{}, t.Name()))
	ses, _ := login(t, s, 1)
	if _, err := endIt(t.Context(), s, ses.ID); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	for _, n := range []sessions.Note{
		{Kind: sessions.NoteDeadCookie, Key: "dead", At: time.Now(), Until: until}, {Kind: sessions.NoteDeadCookie, Key: "revived", At: time.Now(), Until: until},
		{Kind: sessions.NoteForceLogin, Key: "forced", At: time.Now(), Until: until},
	} {
		if _, err := s.AddNote(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DropNote(t.Context(), sessions.NoteDeadCookie, "revived"); err != nil {
		t.Fatal(err)
	}
	srv.stop()
	if n, err := s.Note(t.Context(), sessions.NoteDeadCookie, "dead"); err != nil || !n.Until.Equal(until) {
		t.Errorf("got %v, error %v", n, err)
	}
	if _, err := s.Note(t.Context(), sessions.NoteDeadCookie, "of "+string(ses.ID)); err != nil {
		t.Errorf("that of a session's end: %v", err)
	}
	_, err := s.Note(t.Context(), sessions.NoteDeadCookie, "revived")
	unknown(t, "a revived one", err)
	_, err = s.Note(t.Context(), sessions.NoteForceLogin, "forced")
	unknown(t, "another note", err)
}

// TestKilledAndStartedAgain: a Redis that dies ends nothing, and is ready by
// itself when it is back with its file.
func TestKilledAndStartedAgain(t *testing.T) {
	srv := newServer(t, "--appendonly", "yes", "--appendfsync", "always")
	s := closing(t, openAt(t, srv.url(), Config{}, t.Name()))
	ses, g := login(t, s, 1)
	srv.stop()
	everyOperation(t, s, ses.ID, g.ID, false)
	srv.start(t)
	within(t, 10*time.Second, "ready again", func() bool { return s.Ready(t.Context()) == nil })
	if err := use(t.Context(), s, ses.ID, g.ID, nil); err != nil {
		t.Fatal(err)
	}
	if _, got, err := s.Grant(t.Context(), ses.ID, g.ID); err != nil || got.Uses != 1 {
		t.Errorf("got %d uses, error %v", got.Uses, err)
	}
}

// TestDownAtTheStart: no fault, and the gateway comes to it by itself.
func TestDownAtTheStart(t *testing.T) {
	srv := newServer(t)
	srv.stop()
	s := closing(t, openAt(t, srv.url(), Config{}, t.Name()))
	unknown(t, "Ready", s.Ready(t.Context()))
	r := s.Replay(ReplayConfig{Generations: true})
	if g := r.Generation(); g != dpop.UnknownGeneration {
		t.Errorf("it makes nonces of generation %d, which no other replica takes", g)
	}
	srv.start(t)
	within(t, 10*time.Second, "ready", func() bool { return s.Ready(t.Context()) == nil })
	within(t, 5*time.Second, "the generation is known", func() bool { return r.Generation() != dpop.UnknownGeneration })
	login(t, s, 1)
}

// TestReadOnly: a master that became a replica takes no writes; reads go on.
func TestReadOnly(t *testing.T) {
	srv, other := newServer(t), newServer(t)
	s := closing(t, openAt(t, srv.url(), Config{}, t.Name()))
	ses, g := login(t, s, 1)
	other.stop() // so that the new replica keeps what it has
	srv.cli(t, "replicaof", "127.0.0.1", fmt.Sprint(other.port))
	everyOperation(t, s, ses.ID, g.ID, true)
	if _, got, err := s.Grant(t.Context(), ses.ID, g.ID); err != nil || got.Uses != 0 {
		t.Errorf("reading: got %d uses, error %v", got.Uses, err)
	}
	srv.cli(t, "replicaof", "no", "one")
	within(t, 10*time.Second, "ready again", func() bool { return s.Ready(t.Context()) == nil })
	if err := use(t.Context(), s, ses.ID, g.ID, nil); err != nil {
		t.Error(err)
	}
}

// TestSilent: a Redis that takes everything and answers nothing is found out well
// before a call to the upstream would be given up.
func TestSilent(t *testing.T) {
	c := newCutter(t, sharedServer(t).addr())
	s := closing(t, openAt(t, c.url(), Config{}, t.Name()))
	ses, g := login(t, s, 1)
	c.silent.Store(true)
	began := time.Now()
	_, _, err := s.Grant(t.Context(), ses.ID, g.ID)
	unknown(t, "Grant", err)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, which looks as if the caller had run out of time", err)
	}
	if d := time.Since(began); d > 2*opTimeout {
		t.Errorf("it took %v", d)
	}
	c.silent.Store(false)
	within(t, 10*time.Second, "ready again", func() bool { return s.Ready(t.Context()) == nil })
}

// TestTooFewReplicas: a master that wants replicas and has none takes nothing.
func TestTooFewReplicas(t *testing.T) {
	srv := newServer(t)
	s := closing(t, openAt(t, srv.url(), Config{}, t.Name()))
	ses, g := login(t, s, 1)
	srv.cli(t, "config", "set", "min-replicas-to-write", "1")
	everyOperation(t, s, ses.ID, g.ID, true)
	srv.cli(t, "config", "set", "min-replicas-to-write", "0")
	if err := use(t.Context(), s, ses.ID, g.ID, nil); err != nil {
		t.Error(err)
	}
}

// TestWaitReplicas: with wait_replicas a change is acknowledged when the copies
// have it, and not before.
func TestWaitReplicas(t *testing.T) {
	srv := newServer(t)
	s := closing(t, openAt(t, srv.url()+"?wait_replicas=1", Config{}, t.Name()))
	now := time.Now()
	ses := sessions.Session{ID: sessions.NewID(), Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour)}
	g := sessions.Grant{ID: sessions.NewGrantID()}
	unknown(t, "Create", s.Create(t.Context(), ses, g, time.Time{}))
	replica := newServer(t, "--replicaof", "127.0.0.1", fmt.Sprint(srv.port))
	within(t, 10*time.Second, "the replica is there", func() bool {
		_, err := s.AddNote(t.Context(), sessions.Note{Kind: 'd', Key: "x", Until: now.Add(time.Hour)})
		return err == nil
	})
	ses, g = login(t, s, 1)
	if v := replica.cli(t, "exists", s.sessionKey(ses.ID)); v != int64(1) {
		t.Error("the replica does not have it")
	}
	if err := use(t.Context(), s, ses.ID, g.ID, nil); err != nil {
		t.Error(err)
	}
}

// TestLostAnswers: go-redis sends a call again whose answer was lost. It must not
// read as somebody else's.
func TestLostAnswers(t *testing.T) {
	c := newCutter(t, sharedServer(t).addr())
	s := closing(t, openAt(t, c.url(), Config{}, t.Name()))
	ctx, until := t.Context(), time.Now().Add(time.Hour)
	r := s.Replay(ReplayConfig{Generations: true})
	// lose lets the n-th answer from now on be lost.
	for n := range 4 {
		ses, g := login(t, s, n)
		for name, f := range map[string]func() (bool, error){
			"AddNote": func() (bool, error) {
				return s.AddNote(ctx, sessions.Note{Kind: 't', Key: fmt.Sprint(n), Until: until})
			},
			"AddTransaction": func() (bool, error) {
				_, added, err := s.AddTransaction(ctx, sessions.Transaction{Key: sessions.TransactionKey{byte(n)}, Until: until})
				return added, err
			},
			"Remember": func() (bool, error) {
				result, err := r.Remember(ctx, r.Generation(), [32]byte{byte(n)}, until)
				return result == dpop.Fresh, err
			},
			"Update": func() (bool, error) {
				err := use(ctx, s, ses.ID, g.ID, nil)
				_, got, err2 := s.Grant(ctx, ses.ID, g.ID)
				return got.Uses == 1, errors.Join(err, err2)
			},
			"LeaseGrant": func() (bool, error) {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				l, _, _, err := s.LeaseGrant(ctx, ses.ID, g.ID)
				if err == nil {
					l.Release()
				}
				return err == nil, err
			},
		} {
			c.swallow.Store(1)
			ok, err := f()
			c.swallow.Store(0)
			if err != nil || !ok {
				t.Errorf("%s: got %t, error %v", name, ok, err)
			}
		}
		c.swallow.Store(1)
		if first, err := endIt(ctx, s, ses.ID); err != nil || !first {
			t.Errorf("the end: first %t, error %v", first, err)
		}
		c.swallow.Store(0)
	}
}
