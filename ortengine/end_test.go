package ortengine_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// TestRevoke: the whole session ends, durably, in every app; again is no error.
func TestRevoke(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		tells := user("u", "s", time.Time{})
		one := f.login(login{browser: "b", tells: tells}).Token
		two := f.login(login{browser: "b", client: "app-two", tells: tells}).Token
		apart := f.login(login{browser: "c", tells: user("u", "s2", time.Time{})}).Token
		o := f.open(one)
		calls, _, _, _ := f.idp.counts()
		for range 3 {
			if err := f.Revoke(t.Context(), &o); err != nil {
				t.Fatal(err)
			}
		}
		if now, _, _, _ := f.idp.counts(); now != calls {
			t.Error("the upstream was asked")
		}
		for _, token := range []string{one, two} {
			f.dead(token, "the session ended by revocation", "ended")
		}
		f.works(apart)
		s := f.sessionOf(one)
		if s.End == nil || s.End.Reason != sessions.EndRevoked || !s.End.SingleSignOn {
			t.Errorf("got end %+v", s.End)
		}
		if got := f.log.events(t, "session_ended", "reason"); len(got) != 1 || got[0] != "revoked" {
			t.Errorf("audit events %q", got)
		}
		if got := f.counted("sessions_ended_total", "revoked"); got != 1 {
			t.Errorf("counted %v times", got)
		}
	})
}

// TestRevokeUnknown: RFC 7009 section 2.2, an unknown token is no error.
func TestRevokeUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		o := f.open(f.login(login{}).Token)
		o.Session = sessions.NewID()
		if err := f.Revoke(t.Context(), &o); err != nil {
			t.Error(err)
		}
		f.active(1)
	})
}

// TestRevokeOtherClient: RFC 7009 section 2.1, a token of another client is
// refused.
func TestRevokeOtherClient(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		o := f.open(ort)
		f.refused(f.CheckRevocation(&o, "app-two"), 400, "invalid_grant", "The token was issued to another client", "wrong_client")
		if err := f.CheckRevocation(&o, "app-one"); err != nil {
			t.Error(err)
		}
		f.works(ort)
	})
}

// TestRevokeAtOnce: one end, whoever comes first, and no exchange succeeds after
// a revocation returned.
func TestRevokeAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		o := f.open(ort)
		f.idp.with(takes(10*time.Millisecond), nil)
		var wait sync.WaitGroup
		for range 16 {
			wait.Go(func() { f.use(ort) })
			wait.Go(func() {
				time.Sleep(35 * time.Millisecond)
				if err := f.Revoke(t.Context(), &o); err != nil {
					t.Error(err)
				}
				if _, err := f.use(ort); err == nil {
					t.Error("an exchange succeeded after the revocation")
				}
			})
		}
		wait.Wait()
		if got := f.log.events(t, "session_ended", "reason"); len(got) != 1 {
			t.Errorf("audit events %q, want one", got)
		}
	})
}

// TestSweep: what passes its limit ends once, with its reason, and goes for good
// after the absolute deadline.
func TestSweep(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ctx, stop := context.WithCancel(t.Context())
		tick := make(chan time.Time)
		var wait sync.WaitGroup
		wait.Go(func() { f.Sweep(ctx, tick) })
		sweep := func() {
			tick <- time.Now()
			synctest.Wait()
		}
		start := time.Now()
		lazy := f.login(login{}).Token
		busy := f.login(login{}).Token
		sweep()
		f.active(2)
		time.Sleep(idle / 2)
		f.works(busy)
		time.Sleep(idle / 2)
		f.store.panic.Store(true) // a fault now is none at the next tick
		sweep()
		f.store.panic.Store(false)
		sweep()
		sweep()
		f.active(1)
		f.dead(lazy, "the session was idle for too long", "idle")
		for time.Since(start) < absolute-idle {
			f.works(busy)
			time.Sleep(idle / 2)
			sweep()
		}
		f.works(busy)
		time.Sleep(idle - time.Minute)
		f.works(busy)
		time.Sleep(time.Until(start.Add(absolute)))
		sweep()
		f.active(0)
		f.dead(busy, "its session is unknown", "unknown_session")
		f.dead(lazy, "its session is unknown", "unknown_session")
		if got := f.log.events(t, "session_ended", "reason"); len(got) != 2 || got[0] != "idle" || got[1] != "absolute" {
			t.Errorf("audit events %q, want idle and absolute", got)
		}
		if i, a := f.counted("sessions_ended_total", "idle"), f.counted("sessions_ended_total", "absolute"); i != 1 || a != 1 {
			t.Errorf("counted %v and %v", i, a)
		}
		stop()
		wait.Wait()
	})
}

// TestSweepBesideExchanges: a sweep and exchanges that find the limit passed end
// a session once between them.
func TestSweepBesideExchanges(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		tick := make(chan time.Time, 1)
		go f.Sweep(ctx, tick)
		ort := f.login(login{}).Token
		time.Sleep(idle)
		var wait sync.WaitGroup
		tick <- time.Now()
		for range 8 {
			wait.Go(func() { f.dead(ort, "the session was idle for too long", "idle") })
		}
		wait.Wait()
		synctest.Wait()
		if got := f.counted("sessions_ended_total", "idle"); got != 1 {
			t.Errorf("counted %v ends", got)
		}
		stop()
		synctest.Wait()
	})
}

// TestSweepFault: a fault of the store holds nothing up, and nothing ends by it.
func TestSweepFault(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ctx, stop := context.WithCancel(t.Context())
		tick := make(chan time.Time)
		var wait sync.WaitGroup
		wait.Go(func() { f.Sweep(ctx, tick) })
		f.login(login{})
		time.Sleep(idle)
		f.store.full.Store(true)
		tick <- time.Now()
		synctest.Wait()
		f.active(1)
		f.store.full.Store(false)
		tick <- time.Now()
		synctest.Wait()
		f.active(0)
		stop()
		wait.Wait()
	})
}

// TestState: what a page that watches its session is told.
func TestState(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		tells := user("u", "s", time.Time{})
		one := f.login(login{browser: "b", tells: tells}).Token
		two := f.login(login{browser: "b", client: "app-two", tells: tells}).Token
		o, other := f.open(one), f.open(two)
		changed, forget := f.Watch(&o)
		defer forget()
		told := func() bool {
			synctest.Wait()
			select {
			case <-changed:
				return true
			default:
				return false
			}
		}
		state := func(want string) {
			t.Helper()
			got, err := f.State(t.Context(), &o)
			if err != nil || got.Ended != want {
				t.Errorf("got %q, %v; want %q", got.Ended, err, want)
			}
		}
		state("")
		f.works(two)
		if !told() {
			t.Error("a change was not told")
		}
		f.idp.with(nil, answers(refusal("invalid_grant")))
		f.use(one)
		f.idp.with(nil, nil)
		if !told() {
			t.Error("the end of the grant was not told")
		}
		state("grant_ended")
		if got, err := f.State(t.Context(), &other); err != nil || got.Ended != "" {
			t.Errorf("the other app: %q, %v", got.Ended, err)
		}
		if err := f.Revoke(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
		if !told() {
			t.Error("the end was not told")
		}
		state("revoked")

		o = f.open(f.login(login{}).Token)
		time.Sleep(idle)
		state("idle")
		state("idle")
		o.Session = sessions.NewID()
		state("unknown")
	})
}
