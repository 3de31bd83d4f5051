package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

func signalled(c <-chan struct{}, d time.Duration) bool {
	select {
	case <-c:
		return true
	case <-time.After(d):
		return false
	}
}

// TestWatchersHearOfOtherReplicas: within a second, and also of what happened
// while the subscription was gone.
func TestWatchersHearOfOtherReplicas(t *testing.T) {
	c := newCutter(t, sharedServer(t).addr())
	a := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
	b := closing(t, openAt(t, c.url(), Config{}, t.Name()))
	ses, _ := login(t, a, 1)
	other, _ := login(t, a, 2)
	word, stop := b.Watch(ses.ID)
	defer stop()
	within(t, 5*time.Second, "b has subscribed", func() bool {
		if err := use(t.Context(), a, ses.ID, "none", nil); err == nil {
			t.Fatal("a grant that is not there was used")
		}
		_ = a.Update(t.Context(), ses.ID, nil, func(d *sessions.Draft) error { d.Session.LastUsed = time.Now(); return nil })
		return signalled(word, 50*time.Millisecond)
	})
	began := time.Now()
	if _, err := endIt(t.Context(), a, ses.ID); err != nil {
		t.Fatal(err)
	}
	if !signalled(word, time.Second) {
		t.Error("nothing was heard within a second")
	}
	t.Logf("heard after %v", time.Since(began))

	word, stop2 := b.Watch(other.ID)
	defer stop2()
	c.down.Store(true)
	c.cut()
	if _, err := endIt(t.Context(), a, other.ID); err != nil {
		t.Fatal(err)
	}
	if signalled(word, 100*time.Millisecond) {
		t.Error("b heard without a connection")
	}
	c.down.Store(false)
	if !signalled(word, 3*time.Second) {
		t.Error("b did not read again after it had subscribed again")
	}
	if got, err := b.Session(t.Context(), other.ID); err != nil || got.End == nil {
		t.Errorf("b reads %+v, error %v", got.End, err)
	}
}

// TestLeasesBetweenReplicas: one at a time, in every replica, and the next one
// does not wait long.
func TestLeasesBetweenReplicas(t *testing.T) {
	url := sharedServer(t).url()
	a, b := closing(t, openAt(t, url, Config{}, t.Name())), closing(t, openAt(t, url, Config{}, t.Name()))
	ses, g := login(t, a, 1)
	l, _, _, err := a.LeaseGrant(t.Context(), ses.ID, g.ID)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		l, _, now, err := b.LeaseGrant(t.Context(), ses.ID, g.ID)
		if err == nil {
			if now.Uses != 1 {
				err = errors.New("it reads what was there before")
			}
			l.Release()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("both have it, error %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	l.Last()
	if err := use(t.Context(), a, ses.ID, g.ID, l); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 500*time.Millisecond {
		t.Errorf("the next one waited for %v", d)
	}
	if err := use(t.Context(), a, ses.ID, g.ID, l); !errors.Is(err, sessions.ErrLeaseLost) {
		t.Errorf("after the last change: got error %v", err)
	}
	l.Release()
}

// TestLeaseOutlivesAnOutage: a holder that went on while the store did not answer
// writes what it has; where somebody else had the lease meanwhile, it does not.
func TestLeaseOutlivesAnOutage(t *testing.T) {
	const lease = 600 * time.Millisecond
	for _, taken := range []bool{false, true} {
		c := newCutter(t, sharedServer(t).addr())
		a := closing(t, openAt(t, c.url(), Config{leaseFor: lease}, t.Name()))
		b := closing(t, openAt(t, sharedServer(t).url(), Config{leaseFor: lease}, t.Name()))
		ses, g := login(t, a, 1)
		l, _, _, err := a.LeaseGrant(t.Context(), ses.ID, g.ID)
		if err != nil {
			t.Fatal(err)
		}
		c.down.Store(true)
		c.cut()
		time.Sleep(2 * lease)
		want := error(nil)
		if taken {
			want = sessions.ErrLeaseLost
			other, _, _, err := b.LeaseGrant(t.Context(), ses.ID, g.ID)
			if err != nil {
				t.Fatal(err)
			}
			other.Release()
			within(t, time.Second, "it is given back", func() bool {
				v := sharedServer(t).cli(t, "hget", b.grantLeaseKey(ses.ID, g.ID), "u")
				return v == "0"
			})
		}
		c.down.Store(false)
		within(t, 5*time.Second, "the store answers", func() bool { return a.Ready(t.Context()) == nil })
		if err := use(t.Context(), a, ses.ID, g.ID, l); !errors.Is(err, want) {
			t.Errorf("taken by another: %t: got error %v, want %v", taken, err, want)
		}
		l.Release()
	}
}

// TestALeaseIsRenewed: as long as its holder lives, however long that is.
func TestALeaseIsRenewed(t *testing.T) {
	const lease = 300 * time.Millisecond
	url := sharedServer(t).url()
	a := closing(t, openAt(t, url, Config{leaseFor: lease}, t.Name()))
	b := closing(t, openAt(t, url, Config{leaseFor: lease}, t.Name()))
	ses, g := login(t, a, 1)
	l, _, _, err := a.LeaseGrant(t.Context(), ses.ID, g.ID)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*lease)
	defer cancel()
	if _, _, _, err := b.LeaseGrant(ctx, ses.ID, g.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("b, after five lives of a lease: got error %v", err)
	}
	if err := use(t.Context(), a, ses.ID, g.ID, l); err != nil {
		t.Error(err)
	}
	l.Release()
}
