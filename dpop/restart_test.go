package dpop

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

// A proof that was taken is not taken again after a restart, although its client's
// clock is ahead and the memory of it is gone.
func TestProofFromTheFutureAcrossARestart(t *testing.T) {
	for ahead := -2 * time.Second; ahead <= defaultFuture; ahead += 500 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			start := func() *Verifier {
				v, err := New(Config{Replay: NewMemoryReplay(0, nil, false), NotBefore: time.Now()})
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			v := start()
			time.Sleep(10 * time.Second)
			r := Request{Method: "POST", URL: testURL, Proofs: []string{testKey.Proof("POST", testURL, dpoptest.IssuedAt(time.Now().Add(ahead)))}}
			began := time.Now()
			if _, err := v.Verify(t.Context(), r); err != nil {
				t.Fatalf("%v ahead: %v", ahead, err)
			}
			if waited := time.Since(began); waited > max(0, ahead) {
				t.Errorf("%v ahead: it waited for %v", ahead, waited)
			}
			for range 100 { // a start at any time after
				time.Sleep(100 * time.Millisecond)
				var refused *Error
				if _, err := start().Verify(t.Context(), r); !errors.As(err, &refused) {
					t.Fatalf("%v ahead, taken again %v later: %v", ahead, time.Since(began), err)
				}
			}
		})
	}
}

// Who leaves while his proof waits has not used it.
func TestProofFromTheFutureOfAClientThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _ := New(Config{Replay: NewMemoryReplay(0, nil, false), NotBefore: time.Now()})
		r := Request{Method: "POST", URL: testURL, Proofs: []string{testKey.Proof("POST", testURL, dpoptest.IssuedAt(time.Now().Add(4*time.Second)))}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Verify(ctx, r); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if _, err := v.Verify(t.Context(), r); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}
