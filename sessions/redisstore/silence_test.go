package redisstore

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// TestSilentFromTheStart: many requests at a gateway whose Redis never answered
// fail together, none after the other, and none later than its own deadline.
func TestSilentFromTheStart(t *testing.T) {
	c := newCutter(t, sharedServer(t).addr())
	c.silent.Store(true)
	s := closing(t, openAt(t, c.url(), Config{}, t.Name()))
	began := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := s.Session(t.Context(), "x")
			unknown(t, "Session", err)
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	time.Sleep(10 * time.Millisecond) // behind one that is under way
	if _, err := s.Session(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("one with a deadline took %v", d)
	}
	all.Wait()
	if d := time.Since(began); d > 3*opTimeout {
		t.Errorf("they took %v", d)
	}
	c.silent.Store(false)
	within(t, 10*time.Second, "ready", func() bool { return s.Ready(t.Context()) == nil })
}

// TestAForgottenSubscription: a network that forgets a connection without a word
// keeps the end of a session from nobody's open page.
func TestAForgottenSubscription(t *testing.T) {
	url := sharedServer(t).url()
	c := newCutter(t, sharedServer(t).addr())
	a, b := closing(t, openAt(t, url, Config{}, t.Name())), closing(t, openAt(t, c.url(), Config{}, t.Name()))
	ses, g := login(t, a, 1)
	changed, stop := b.Watch(ses.ID)
	defer stop()
	hears := func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	within(t, 5*time.Second, "b hears of a change", func() bool {
		if err := use(t.Context(), a, ses.ID, g.ID, nil); err != nil {
			t.Fatal(err)
		}
		return hears()
	})
	c.forget.Store(math.MaxInt64)
	time.Sleep(50 * time.Millisecond) // what was said before is heard
	hears()
	if _, err := endIt(t.Context(), a, ses.ID); err != nil {
		t.Fatal(err)
	}
	c.forget.Store(c.accepted.Load())
	within(t, 5*time.Second, "b hears of the end", hears)
	if got, err := b.Session(t.Context(), ses.ID); err != nil || got.End == nil || got.End.Reason != sessions.EndRevoked {
		t.Errorf("got end %v, error %v", got.End, err)
	}
}
