package ortengine_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// TestStoreUnreadable: unknown is not gone. Nothing is sent upstream, nothing
// ends, and all works when the store does.
func TestStoreUnreadable(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		o := f.open(ort)
		next := login{}
		waiting := f.begin(&next)
		calls, _, _, _ := f.idp.counts()

		f.store.blind.Store(true)
		down := func(err error) {
			t.Helper()
			f.refused(err, 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		}
		_, err := f.use(ort)
		down(err)
		_, err = f.Status(t.Context(), &o)
		down(err)
		if _, err := f.State(t.Context(), &o); err == nil {
			t.Error("a page was told the state of a session that nobody can read")
		}
		_, err = f.redeem(&next, waiting)
		down(err)
		_, _, err = f.TransactionOf(t.Context(), next.verifier, []string{place})
		down(err)
		fresh := login{}
		fresh.fill(f)
		_, err = f.Begin(t.Context(), f.authorization(&fresh))
		down(err)
		if now, _, _, _ := f.idp.counts(); now != calls {
			t.Errorf("%d calls of the upstream while the store was down", now-calls)
		}

		f.store.blind.Store(false)
		f.works(ort)
		if issued, err := f.redeem(&next, waiting); err != nil || issued.Token == "" {
			t.Errorf("the code was lost: %v", err)
		}
		f.active(2)
	})
}

// TestStoreFullAtTheWrite: a rotated credential that the store does not take is
// held and tried again. The client gets 503, and its next exchange works once
// the store does; until then the upstream is not asked.
func TestStoreFullAtTheWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		other := f.login(login{}).Token
		f.idp.with(func(context.Context) error { f.store.full.Store(true); return nil }, nil)
		_, err := f.use(ort)
		f.refused(err, 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		f.idp.with(nil, nil)

		calls, _, _, _ := f.idp.counts()
		for _, token := range []string{ort, other} {
			_, err := f.use(token)
			f.refused(err, 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		}
		next := login{}
		_, err = f.redeem(&next, f.begin(&next))
		f.refused(err, 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		if now, _, _, _ := f.idp.counts(); now != calls {
			t.Errorf("%d calls of the upstream while the store could not write", now-calls)
		}

		time.Sleep(time.Minute)
		tried := f.store.tried.Load()
		time.Sleep(time.Minute)
		if n := f.store.tried.Load() - tried; n < 1 || n > 60 {
			t.Errorf("the write was tried %d times in a minute", n)
		}
		f.store.full.Store(false)
		time.Sleep(5 * time.Second)
		f.works(ort)
		f.works(other)
		if _, reused, _, _ := f.idp.counts(); reused != 0 {
			t.Error("the credential was lost")
		}
	})
}

// TestStoreFullWaiters: who waits for a grant whose credential is not kept yet is
// not sent upstream with the one that was used, neither before nor after.
func TestStoreFullWaiters(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(takes(time.Second), nil)
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				if _, err := f.use(ort); ortengine.AsError(err).Status != 503 {
					t.Errorf("got %v, want 503", err)
				}
			})
		}
		synctest.Wait()
		f.store.full.Store(true)
		wait.Wait()
		f.store.full.Store(false)
		time.Sleep(5 * time.Second)
		f.works(ort)
		if calls, reused, _, _ := f.idp.counts(); reused != 0 || calls != 3 {
			t.Errorf("%d calls of the upstream, %d with a used credential; want 3, none", calls, reused)
		}
	})
}

// TestStoreFullMeanwhile: who waits is not sent upstream where the store began to
// fail meanwhile, by another grant's write.
func TestStoreFullMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort, other := f.login(login{}).Token, f.login(login{}).Token
		f.idp.with(func(ctx context.Context) error { _ = takes(10 * time.Second)(ctx); return errDown }, nil)
		var wait sync.WaitGroup
		wait.Go(func() { f.use(ort) })
		synctest.Wait()
		wait.Go(func() {
			_, err := f.use(ort)
			f.refused(err, 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		})
		synctest.Wait()
		f.idp.with(func(context.Context) error { f.store.full.Store(true); return nil }, nil)
		f.use(other)
		calls, _, _, _ := f.idp.counts()
		wait.Wait()
		if now, _, _, _ := f.idp.counts(); now != calls {
			t.Error("the upstream was asked while the store could not write")
		}
		f.store.full.Store(false)
		time.Sleep(5 * time.Second)
		f.idp.with(nil, nil)
		f.works(ort)
		f.works(other)
	})
}

// TestStoreFullThenEnded: a credential that is held for a session which ends
// meanwhile goes with it.
func TestStoreFullThenEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		o := f.open(ort)
		f.idp.with(func(context.Context) error { f.store.full.Store(true); return nil }, nil)
		f.use(ort)
		synctest.Wait()
		err := f.store.Store.Update(t.Context(), o.Session, nil, func(d *sessions.Draft) error {
			d.EndSession(sessions.End{At: time.Now(), Reason: sessions.EndAdmin})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		f.store.full.Store(false)
		time.Sleep(5 * time.Second)
		f.dead(ort, "the session was ended by an administrator", "ended")
		closeSoon(t, f)
	})
}

// TestStoreFullAtInvalidGrant: a grant whose end is not written answers 503 and
// ends with the next exchange.
func TestStoreFullAtInvalidGrant(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(func(context.Context) error { f.store.full.Store(true); return nil }, answers(refusal("invalid_grant")))
		_, err := f.use(ort)
		f.refused(err, 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		f.store.full.Store(false)
		f.idp.with(nil, answers(refusal("invalid_grant")))
		f.dead(ort, "the identity provider ended this grant", "upstream_invalid_grant")
	})
}

// TestStoreFullAtCodeExchange: no ORT is issued whose session is not durable.
func TestStoreFullAtCodeExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		transaction := f.begin(&l)
		f.idp.with(func(context.Context) error { f.store.full.Store(true); return nil }, nil)
		_, err := f.redeem(&l, transaction)
		f.refused(err, 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		f.store.full.Store(false)
		f.idp.with(nil, nil)
		f.active(0)
		_, err = f.redeem(&l, transaction)
		f.refused(err, 400, "invalid_grant", "The authorization code was used already", "refused_code_used")
		if _, _, repeated, _ := f.idp.counts(); repeated != 0 {
			t.Error("a code was sent upstream twice")
		}
	})
}

// TestStoreFullAtRevocation: a revocation is durable or it is 503.
func TestStoreFullAtRevocation(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		o := f.open(ort)
		f.store.full.Store(true)
		f.refused(f.Revoke(t.Context(), &o), 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		f.store.full.Store(false)
		f.works(ort)
		if err := f.Revoke(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
		f.dead(ort, "the session ended by revocation", "ended")
	})
}

// TestStoreHangs: a disk that hangs makes nobody wait longer than the upstream
// may.
func TestStoreHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		hang := make(chan struct{})
		wait := func() { <-hang }
		f.store.before.Store(&wait)
		began := time.Now()
		_, err := f.use(ort)
		f.refused(err, 503, "temporarily_unavailable", "", "upstream_unavailable")
		if took := time.Since(began); took != patience {
			t.Errorf("503 after %v, want %v", took, patience)
		}
		close(hang)
		synctest.Wait()
		f.works(ort)
		if _, reused, _, _ := f.idp.counts(); reused != 0 {
			t.Error("the credential was lost")
		}
	})
}

// TestClose waits for calls under way and for what came of them, and lets no new
// one begin.
func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(takes(10*time.Second), nil)
		ctx, leave := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { f.useIn(ctx, ort) })
		synctest.Wait()
		leave()
		began := time.Now()
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("Close took %v, want what the call took", took)
		}
		wait.Wait()
		calls, _, _, _ := f.idp.counts()
		_, err := f.use(ort)
		f.refused(err, 503, "temporarily_unavailable", "The gateway is stopping", "upstream_unavailable")
		if now, _, _, _ := f.idp.counts(); now != calls {
			t.Error("a call was sent after Close")
		}
		if err := f.Close(t.Context()); err != nil {
			t.Error("closing twice:", err)
		}
	})
}

// TestCloseGivesUp: a credential that the store takes no more does not hold the
// process for ever, and its loss is told.
func TestCloseGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(func(context.Context) error { f.store.full.Store(true); return nil }, nil)
		f.use(ort)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := f.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the time given", err)
		}
		synctest.Wait()
		if !strings.Contains(f.log.String(), "a new upstream credential is lost") {
			t.Error("the loss of a credential was not told")
		}
		closeSoon(t, f)
	})
}

// TestCloseBesideCalls: calls that begin while Close waits are refused or waited
// for, whichever comes first.
func TestCloseBesideCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var wait sync.WaitGroup
		for range 16 {
			ort := f.login(login{}).Token
			wait.Go(func() {
				if _, err := f.use(ort); err != nil && ortengine.AsError(err).Status != 503 {
					t.Error(err)
				}
			})
		}
		wait.Go(func() { closeSoon(t, f) })
		wait.Wait()
	})
}

// TestPanic: a fault in one call ends neither the process nor the grant.
func TestPanic(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(func(context.Context) error { panic("planted-secret-panic") }, nil)
		_, err := f.use(ort)
		f.refused(err, 503, "temporarily_unavailable", "The gateway has a fault", "upstream_unavailable")
		f.idp.with(nil, nil)
		f.works(ort)
		if strings.Contains(f.log.String(), "planted-secret") {
			t.Error("the value of a panic was logged")
		}
	})
}

// TestPanicBesideRequests: a fault in what net/http does not look after does not end
// the process.
func TestPanicBesideRequests(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			f.GiveBackOwed(ctx, nil, func(context.Context, string, string, string) bool { panic("planted-secret-panic") })
		})
		ort := f.aliceIn("b")
		other := f.login(login{}).Token
		f.store.panic.Store(true)
		if n, err := f.EndSubjectByAdmin(t.Context(), ortengine.SessionQuery{Subject: "alice"}); n != 0 {
			t.Errorf("%d sessions ended, %v", n, err)
		} else {
			f.refused(err, 503, "temporarily_unavailable", "The session store does not answer", "store_unavailable")
		}
		f.store.panic.Store(false)
		f.works(ort)
		f.revoke(ort) // it owes now, and giving back panics
		synctest.Wait()
		if n := strings.Count(f.log.String(), "giving a credential back panicked"); n != 1 {
			t.Errorf("%d faults of giving back in the log", n)
		}
		f.works(other)
		stop()
		running.Wait()
		if strings.Contains(f.log.String(), "planted-secret") {
			t.Error("the value of a panic was logged")
		}
	})
}

func closeSoon(t *testing.T, f *fixture) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f.Close(ctx); err != nil {
		t.Error("something is still under way:", err)
	}
}
