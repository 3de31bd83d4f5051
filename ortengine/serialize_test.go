package ortengine_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// TestExchangeManyAtOnce: any number of tabs use one ORT at once; none fails,
// although the upstream rotates and ends everything on reuse.
func TestExchangeManyAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(takes(100*time.Millisecond), nil)
		var wait sync.WaitGroup
		for range 64 {
			wait.Go(func() {
				done, err := f.use(ort)
				if err != nil || done.Answer.Status != 200 {
					t.Errorf("an exchange failed: %v, status %d", err, done.Answer.Status)
				}
			})
		}
		wait.Wait()
		if _, reused, _, most := f.idp.counts(); reused != 0 || most != 1 {
			t.Errorf("%d refresh tokens came twice, %d calls at once; want none, one", reused, most)
		}
		f.works(ort)
	})
}

// TestExchangeGrantsApart: grants do not wait for one another.
func TestExchangeGrantsApart(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var orts []string
		for i := range 8 {
			orts = append(orts, f.login(login{client: fmt.Sprint("app-", i), browser: "b", tells: user("u", "s", time.Time{})}).Token)
		}
		f.active(1)
		f.idp.with(takes(time.Second), nil)
		began := time.Now()
		var wait sync.WaitGroup
		for _, ort := range orts {
			wait.Go(func() { f.works(ort) })
		}
		wait.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("8 exchanges of 8 grants took %v at an upstream that takes a second", took)
		}
	})
}

// TestExchangeClientLeaves: who waits is dropped with its client; a call once
// sent is seen through, and its credential kept.
func TestExchangeClientLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(takes(10*time.Second), nil)
		ctx, leave := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { f.useIn(ctx, ort) })
		synctest.Wait()
		waiting, giveUp := context.WithCancel(t.Context())
		wait.Go(func() {
			_, err := f.useIn(waiting, ort)
			f.refused(err, 503, "temporarily_unavailable", "The client left", "busy")
		})
		synctest.Wait()
		leave()
		giveUp()
		wait.Wait()
		if calls, _, _, _ := f.idp.counts(); calls != 2 { // the code and one refresh
			t.Errorf("%d calls of the upstream, want 2: an exchange whose client left while it waited is not sent", calls)
		}
		f.works(ort)
		if _, reused, _, _ := f.idp.counts(); reused != 0 {
			t.Error("the credential of the client that left was lost")
		}
	})
}

// TestExchangeLateAnswer: after the time-out the client gets 503; the answer is
// still read, its credential kept, and until then nothing else is sent.
func TestExchangeLateAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(takes(2*patience-time.Second), nil)
		began := time.Now()
		_, err := f.use(ort)
		f.refused(err, 503, "temporarily_unavailable", "The identity provider does not answer in time", "upstream_unavailable")
		if took := time.Since(began); took != patience {
			t.Errorf("503 after %v, want %v", took, patience)
		}
		meanwhile, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		_, err = f.useIn(meanwhile, ort)
		f.refused(err, 503, "temporarily_unavailable", "", "busy")
		if calls, _, _, _ := f.idp.counts(); calls != 2 {
			t.Errorf("%d calls of the upstream, want 2: none while an answer is outstanding", calls)
		}
		f.idp.with(nil, nil)
		f.works(ort)
		if _, reused, _, _ := f.idp.counts(); reused != 0 {
			t.Error("the late credential was lost")
		}
	})
}

// TestExchangeNeverAnswered: who waits for a call that gets no answer gets 503
// after the time-out, and the grant works again when the upstream does.
func TestExchangeNeverAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(takes(time.Hour), nil)
		var wait sync.WaitGroup
		for i := range 3 {
			synctest.Wait() // one after the other
			wait.Go(func() {
				began := time.Now()
				_, err := f.use(ort)
				if i == 0 {
					f.refused(err, 503, "temporarily_unavailable", "The identity provider does not answer in time", "upstream_unavailable")
				} else {
					f.refused(err, 503, "temporarily_unavailable", "Another exchange of this token is still waiting", "busy")
				}
				if took := time.Since(began); took != patience {
					t.Errorf("503 after %v, want %v", took, patience)
				}
			})
		}
		wait.Wait()
		time.Sleep(patience)
		f.idp.with(nil, nil)
		f.works(ort)
	})
}

// TestExchangeEndedMeanwhile: a session that ended during the call answers
// invalid_grant, whatever the upstream said.
func TestExchangeEndedMeanwhile(t *testing.T) {
	for name, after := range map[string]ortengine.Answer{
		"success": {Status: 200, Credential: "new"}, "malformed": {Status: 200, Malformed: true}, "refusal": refusal("invalid_grant"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				ort := f.login(login{}).Token
				o := f.open(ort)
				f.idp.with(func(ctx context.Context) error { return f.Revoke(ctx, &o) }, answers(after))
				f.dead(ort, "the session ended by revocation", "ended_meanwhile")
				f.dead(ort, "the session ended by revocation", "ended")
				f.active(0)
				if got := f.log.events(t, "session_ended", "reason"); len(got) != 1 {
					t.Errorf("audit events %q, want one end", got)
				}
				if grants, err := f.store.Grants(t.Context(), o.Session); err != nil || len(grants) != 0 {
					t.Errorf("%d grants are left of an ended session, %v", len(grants), err)
				}
			})
		})
	}
}

// TestExchangePastAbsoluteMeanwhile: an answer that comes after the absolute
// deadline gives nothing.
func TestExchangePastAbsoluteMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		start := time.Now()
		ort := f.login(login{}).Token
		for time.Since(start) < absolute-time.Minute {
			time.Sleep(min(idle-time.Minute, absolute-time.Since(start)-10*time.Second))
			f.works(ort)
		}
		f.idp.with(takes(20*time.Second), nil)
		f.dead(ort, "the session reached its maximum age", "ended_meanwhile")
		f.dead(ort, "the session reached its maximum age", "absolute")
	})
}

// TestExchangeIdleRace: an exchange that was in time moves the deadline, and
// another that looked before and comes to end the session ends nothing.
func TestExchangeIdleRace(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		time.Sleep(idle - time.Second)
		f.idp.with(takes(2*time.Second), nil)
		var wait sync.WaitGroup
		wait.Go(func() { f.works(ort) })
		time.Sleep(1500 * time.Millisecond)
		// The second one finds the deadline passed. Before it can end the session, the
		// first has its answer.
		var held atomic.Bool
		hold := func() {
			if held.CompareAndSwap(false, true) {
				time.Sleep(time.Second)
			}
		}
		f.store.before.Store(&hold)
		f.works(ort)
		wait.Wait()
		if !held.Load() {
			t.Error("the second exchange did not try to end the session")
		}
		f.active(1)
	})
}
