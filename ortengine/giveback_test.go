package ortengine_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// taker is an upstream that takes credentials back.
type taker struct {
	mu    sync.Mutex
	down  bool
	taken []string
}

func (k *taker) give(_ context.Context, issuer, client, credential string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down {
		return true
	}
	k.taken = append(k.taken, issuer+" "+client+" "+credential)
	return false
}

func (k *taker) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.taken)
}

// giving runs the worker until the function that it returns is called.
func (f *fixture) giving(k *taker) (stop func()) {
	ctx, cancel := context.WithCancel(f.Context())
	tick := time.NewTicker(30 * time.Second)
	var running sync.WaitGroup
	running.Go(func() { f.GiveBackOwed(ctx, tick.C, k.give) })
	return func() {
		cancel()
		running.Wait()
		tick.Stop()
	}
}

func TestCredentialsAreGivenBackWhenSingleSignOnEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		k := &taker{}
		defer f.giving(k)()
		ort := f.aliceIn("b")
		f.login(login{client: "app-two", browser: "b", tells: user("alice", "sid-b", time.Now())})
		f.revoke(ort)
		synctest.Wait()
		if got := k.all(); len(got) != 2 || !strings.HasPrefix(got[0], issuer+" app-") {
			t.Errorf("given back: %v, want both credentials", got)
		}
		time.Sleep(time.Minute)
		if got := k.all(); len(got) != 2 {
			t.Errorf("given back twice: %v", got)
		}
	})
}

func TestCredentialsWaitForAnUpstreamThatIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		k := &taker{down: true}
		stop := f.giving(k)
		f.revoke(f.aliceIn("b"))
		synctest.Wait()
		stop() // and a restart
		k.down = false
		defer f.giving(k)()
		synctest.Wait()
		if got := k.all(); len(got) != 1 {
			t.Errorf("given back: %v, want one", got)
		}
	})
}

// A new process does not wait for the next tick once it knows where credentials go.
func TestCredentialsAreGivenBackOnceTheEndpointsAreKnown(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		k := &taker{down: true}
		defer f.giving(k)()
		f.revoke(f.aliceIn("b"))
		synctest.Wait()
		k.mu.Lock()
		k.down = false
		k.mu.Unlock()
		f.GiveBackSoon()
		synctest.Wait()
		if got := k.all(); len(got) != 1 {
			t.Errorf("given back: %v, want one", got)
		}
	})
}

func TestCredentialIsDeletedAtTheAbsoluteDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		k := &taker{down: true}
		f.revoke(f.aliceIn("b"))
		time.Sleep(absolute + time.Second)
		if _, err := f.store.Sweep(f.Context(), time.Now(), 1000); err != nil {
			t.Fatal(err)
		}
		k.down = false
		defer f.giving(k)()
		synctest.Wait()
		if got := k.all(); len(got) != 0 {
			t.Errorf("given back: %v", got)
		}
	})
}

// Upstreams revoke by client, grant or login: the next login of this sid would go
// with the credential.
func TestCredentialIsNotGivenBackAfterALaterLoginOfItsSid(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.revoke(f.aliceIn("b"))
		time.Sleep(time.Second)
		again := f.aliceIn("b")
		k := &taker{}
		defer f.giving(k)()
		synctest.Wait()
		if got := k.all(); len(got) != 0 {
			t.Errorf("given back: %v", got)
		}
		if owing, err := f.store.Owing(f.Context(), "", 10); err != nil || len(owing) != 0 {
			t.Errorf("%d sessions owe still, %v", len(owing), err)
		}
		f.works(again)
	})
}

func TestOtherEndsGiveNothingBack(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		k := &taker{}
		defer f.giving(k)()
		for range 33 { // one page load too many
			f.aliceIn("b")
		}
		f.login(login{browser: "b", tells: user("bob", "sid-bob", time.Now())})
		time.Sleep(idle + time.Minute)
		if _, err := f.store.Sweep(f.Context(), time.Now(), 1000); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := k.all(); len(got) != 0 {
			t.Errorf("given back: %v", got)
		}
	})
}

// TestReplicasGiveACredentialBackOnce: one that waited for another replica, which
// was giving it back to a slow upstream, finds that nothing is owed any more.
func TestReplicasGiveACredentialBackOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		k := &taker{}
		slowly := func(ctx context.Context, issuer, client, credential string) bool {
			time.Sleep(40 * time.Second)
			return k.give(ctx, issuer, client, credential)
		}
		ctx, cancel := context.WithCancel(f.Context())
		var running sync.WaitGroup
		for range 2 {
			tick := time.NewTicker(30 * time.Second)
			defer tick.Stop()
			running.Go(func() { f.GiveBackOwed(ctx, tick.C, slowly) })
		}
		synctest.Wait()
		f.revoke(f.aliceIn("b"))
		time.Sleep(5 * time.Minute)
		if got := k.all(); len(got) != 1 {
			t.Errorf("given back: %v, want one", got)
		}
		cancel()
		running.Wait()
	})
}
