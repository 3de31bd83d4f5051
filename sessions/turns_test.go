package sessions

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Turns
		first, err := l.Take(t.Context(), nil, "k")
		if err != nil {
			t.Fatal(err)
		}
		var order []int
		leave, left := context.WithCancel(t.Context())
		for i := range 10 {
			ctx := t.Context()
			if i%3 == 0 {
				ctx = leave
			}
			go func() {
				done, err := l.Take(ctx, nil, "k")
				if err != nil {
					if i%3 != 0 || !errors.Is(err, context.Canceled) {
						t.Errorf("waiter %d: %v", i, err)
					}
					return
				}
				order = append(order, i) // the turn guards it
				done()
			}()
			synctest.Wait()
		}
		left()
		synctest.Wait()
		first()
		synctest.Wait()
		if got := fmt.Sprint(order); got != "[1 2 4 5 7 8]" {
			t.Errorf("got the turn in order %s", got)
		}
		if n := l.Waiting(); n != 0 {
			t.Errorf("%d keys are kept for nobody", n)
		}
	})
}

// TestTurnLeftWhenItCame: who leaves in the very moment of being next hands the
// turn on.
func TestTurnLeftWhenItCame(t *testing.T) {
	var l Turns
	for range 500 {
		first, err := l.Take(t.Context(), nil, "k")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if done, err := l.Take(ctx, nil, "k"); err == nil {
					done()
				}
			})
		}
		go cancel()
		first()
		all.Wait()
	}
	if n := l.Waiting(); n != 0 {
		t.Errorf("%d keys are kept for nobody", n)
	}
}

// TestTurnLeftByMany: waiters that leave cost no more than each for itself.
func TestTurnLeftByMany(t *testing.T) {
	took := func(n int) time.Duration {
		var l Turns
		if _, err := l.Take(t.Context(), nil, "k"); err != nil {
			t.Fatal(err)
		}
		queue := l.waiting["k"]
		places := make([]*list.Element, n)
		for i := range places {
			places[i] = queue.PushBack(make(chan struct{}))
		}
		began := time.Now()
		for i := range places { // the newest first: they would be looked for through all others
			l.leave("k", places[n-1-i])
		}
		if queue.Len() != 0 {
			t.Errorf("%d of %d are still waiting", queue.Len(), n)
		}
		return time.Since(began)
	}
	took(1000)
	// A hundred times as many take about a hundred times as long; looked for one by one, it would be ten thousand times. A busy
	// machine makes any single try longer.
	for try := 1; ; try++ {
		few, many := took(2000), took(200000)
		if many <= 500*max(few, time.Millisecond) {
			return
		}
		if try == 5 {
			t.Fatalf("2,000 left in %v, 200,000 in %v", few, many)
		}
	}
}

// TestTurnsEnd: nobody gets a turn, or goes on waiting for one, of what was closed.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Turns
		closing := make(chan struct{})
		if _, err := l.Take(t.Context(), closing, "k"); err != nil {
			t.Fatal(err)
		}
		waits := make(chan error, 1)
		go func() {
			_, err := l.Take(t.Context(), closing, "k")
			waits <- err
		}()
		synctest.Wait()
		close(closing)
		for i, err := range []error{<-waits, func() error { _, err := l.Take(t.Context(), closing, "other"); return err }()} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%d: got error %v", i, err)
			}
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := l.Take(gone, nil, "other"); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
	})
}

// TestTurnPassedOnOnce: passing on twice gives nobody a turn that somebody has.
func TestTurnPassedOnOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Turns
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		first, _ := l.Take(ctx, nil, "k")
		had := 0
		for range 2 {
			go func() {
				if _, err := l.Take(ctx, nil, "k"); err == nil {
					had++
				}
			}()
			synctest.Wait()
		}
		first()
		first()
		synctest.Wait()
		if had != 1 {
			t.Errorf("%d have the turn", had)
		}
	})
}
