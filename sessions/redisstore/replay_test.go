package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
)

func proofKey(n int) (key [32]byte) {
	copy(key[:], fmt.Sprintf("%016d", n))
	return key
}

func remember(t *testing.T, r *Replay, generation uint64, n int) dpop.ReplayResult {
	t.Helper()
	got, err := r.Remember(t.Context(), generation, proofKey(n), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func is(t *testing.T, what string, got, want dpop.ReplayResult) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %d, want %d", what, got, want)
	}
}

// TestReplaysAreSharedByReplicas: a proof is taken once, wherever it is sent.
func TestReplaysAreSharedByReplicas(t *testing.T) {
	url := sharedServer(t).url()
	a := closing(t, openAt(t, url, Config{}, t.Name())).Replay(ReplayConfig{Generations: true})
	b := closing(t, openAt(t, url, Config{}, t.Name())).Replay(ReplayConfig{Generations: true})
	if a.Generation() == 0 || a.Generation() != b.Generation() {
		t.Fatalf("generations %d and %d", a.Generation(), b.Generation())
	}
	is(t, "at a", remember(t, a, a.Generation(), 1), dpop.Fresh)
	is(t, "again at b", remember(t, b, b.Generation(), 1), dpop.Repeated)
	is(t, "another one", remember(t, b, b.Generation(), 2), dpop.Fresh)
	is(t, "a nonce that was never given", remember(t, b, b.Generation()+1, 3), dpop.StaleGeneration)
	var fresh atomic.Int32
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			r := []*Replay{a, b}[i%2]
			if got, err := r.Remember(t.Context(), r.Generation(), proofKey(100), time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			} else if got == dpop.Fresh {
				fresh.Add(1)
			}
		})
	}
	all.Wait()
	if fresh.Load() != 1 {
		t.Errorf("one proof was taken %d times", fresh.Load())
	}
}

// TestANonceFromAnotherReplicaIsAskedAbout: a replica that has not heard of a new generation learns it at once, and does
// not ask each time that a stranger makes it.
func TestANonceFromAnotherReplicaIsAskedAbout(t *testing.T) {
	url := sharedServer(t).url()
	a := closing(t, openAt(t, url, Config{}, t.Name())).Replay(ReplayConfig{Generations: true})
	b := closing(t, openAt(t, url, Config{}, t.Name())).Replay(ReplayConfig{Generations: true})
	b.generation.Store(1)
	b.Follow(t.Context())
	if a.Generation() != b.Generation() {
		t.Fatalf("generations %d and %d", a.Generation(), b.Generation())
	}
	b.followed = time.Now().Add(time.Minute)
	b.generation.Store(1)
	if b.Follow(t.Context()); b.generation.Load() != 1 {
		t.Error("it was asked again within a moment")
	}
	b.followed = time.Now().Add(-followEvery)
	gone, leave := context.WithCancel(t.Context())
	leave()
	if b.Follow(gone); b.Generation() != a.Generation() {
		t.Error("one who left kept the others from the answer")
	}
}

// TestAFullMemoryBeginsANewGeneration: at every replica; nothing is forgotten
// early, and the memory does not grow.
func TestAFullMemoryBeginsANewGeneration(t *testing.T) {
	url := sharedServer(t).url()
	a := closing(t, openAt(t, url, Config{}, t.Name())).Replay(ReplayConfig{Generations: true, Limit: 50})
	b := closing(t, openAt(t, url, Config{}, t.Name())).Replay(ReplayConfig{Generations: true, Limit: 50})
	first := a.Generation()
	n := 0
	for ; a.Generation() == first; n++ {
		got := remember(t, a, first, n)
		if want := dpop.Fresh; n < 50 && got != want || n > 50 {
			t.Fatalf("proof %d: got %d", n, got)
		}
	}
	if n != 51 {
		t.Errorf("it was full after %d proofs", n-1)
	}
	is(t, "an old nonce at b, which had not heard", remember(t, b, first, 7), dpop.StaleGeneration)
	if b.Generation() != a.Generation() || a.Generation() <= first {
		t.Errorf("generations %d and %d after %d", a.Generation(), b.Generation(), first)
	}
	is(t, "the new generation", remember(t, b, b.Generation(), 7), dpop.Fresh)
	within(t, 5*time.Second, "one is counted", func() bool { return a.Len() == 1 })
}

// TestAFullMemoryWithoutNonces: it says so until entries have ended.
func TestAFullMemoryWithoutNonces(t *testing.T) {
	s := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
	r := s.Replay(ReplayConfig{Limit: 20, Lifetime: time.Minute})
	if r.Generation() != 0 {
		t.Errorf("generation %d", r.Generation())
	}
	soon := func() time.Time { return time.Now().Add(time.Minute + 3*time.Second) } // made after the memory began
	for n := range 20 {
		if got, err := r.Remember(t.Context(), 0, proofKey(n), soon()); err != nil || got != dpop.Fresh {
			t.Fatalf("proof %d: got %d, error %v", n, got, err)
		}
	}
	if got, err := r.Remember(t.Context(), 0, proofKey(3), soon()); err != nil || got != dpop.Repeated {
		t.Errorf("one that was there: got %d, error %v", got, err)
	}
	if _, err := r.Remember(t.Context(), 0, proofKey(20), soon()); !errors.Is(err, dpop.ErrFull) {
		t.Errorf("got error %v, want ErrFull", err)
	}
}

// TestALostMemoryTakesNoProofOfBefore: whatever Redis has forgotten, no proof is
// taken twice.
func TestALostMemoryTakesNoProofOfBefore(t *testing.T) {
	srv := newServer(t)
	s := closing(t, openAt(t, srv.url(), Config{}, t.Name()))
	with := s.Replay(ReplayConfig{Generations: true})
	nonce := with.Generation()
	is(t, "with a nonce", remember(t, with, nonce, 1), dpop.Fresh)
	srv.cli(t, "flushall")
	is(t, "with a nonce, after the loss", remember(t, with, nonce, 1), dpop.StaleGeneration)

	without := s.Replay(ReplayConfig{Lifetime: time.Minute})
	made, n := time.Now(), 1
	within(t, 3*time.Second, "proofs are taken", func() bool {
		made, n = time.Now(), n+1
		got, err := without.Remember(t.Context(), 0, proofKey(n), made.Add(time.Minute))
		return err == nil && got == dpop.Fresh
	})
	srv.cli(t, "flushall")
	_, err := without.Remember(t.Context(), 0, proofKey(n), made.Add(time.Minute))
	unknown(t, "without a nonce, after the loss", err)
}

// TestAnotherServerBeginsANewGeneration: one that was started from an older copy,
// or took over, may have lost proofs; those are not taken a second time.
func TestAnotherServerBeginsANewGeneration(t *testing.T) {
	srv := newServer(t)
	s := closing(t, openAt(t, srv.url(), Config{}, t.Name()))
	with := s.Replay(ReplayConfig{Generations: true})
	old := with.Generation()
	is(t, "one that is in the copy", remember(t, with, old, 1), dpop.Fresh)
	srv.cli(t, "save")
	is(t, "one that is not", remember(t, with, old, 2), dpop.Fresh)
	srv.stop()
	srv.start(t)
	within(t, 10*time.Second, "a new generation", func() bool { return with.Generation() > old })
	is(t, "it again, with its nonce", remember(t, with, old, 2), dpop.StaleGeneration)
	is(t, "one with a nonce of now", remember(t, with, with.Generation(), 2), dpop.Fresh)
	within(t, 10*time.Second, "the memory is a new one", func() bool { return with.Len() == 1 })

	without := s.Replay(ReplayConfig{Lifetime: time.Minute})
	now := with.Generation()
	if without.follow(t.Context()); without.generation.Load() != now {
		t.Error("a server that is the same began a new generation")
	}
	made := time.Now()
	srv.cli(t, "save")
	srv.stop()
	srv.start(t)
	within(t, 10*time.Second, "it is known", func() bool { return without.generation.Load() > now })
	_, err := without.Remember(t.Context(), 0, proofKey(3), made.Add(time.Minute))
	unknown(t, "without a nonce, made before", err)
}

// TestBucketsAreTakenOutBeforeTheyExpire: the server frees them beside its work.
func TestBucketsAreTakenOutBeforeTheyExpire(t *testing.T) {
	s := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
	r := s.Replay(ReplayConfig{Generations: true})
	is(t, "one that ends", remember(t, r, r.Generation(), 1), dpop.Fresh)
	list := s.replayKey() + "b:" + fmt.Sprint(r.Generation())
	ends, err := s.rdb.SMembers(t.Context(), list).Result()
	if err != nil || len(ends) != 1 {
		t.Fatal(ends, err)
	}
	if _, err := r.Remember(t.Context(), r.Generation(), proofKey(2), time.Now().Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := s.rdb.PExpire(t.Context(), list+":"+ends[0], replayEarly-time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	if r.follow(t.Context()); r.Len() != 1 {
		t.Errorf("%d are remembered, want 1", r.Len())
	}
	if n, err := s.rdb.Exists(t.Context(), list+":"+ends[0]).Result(); n != 0 || err != nil {
		t.Errorf("%d buckets that end are there, error %v", n, err)
	}
	is(t, "the other one", remember(t, r, r.Generation(), 2), dpop.Repeated)
}
