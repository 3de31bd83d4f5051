package dpop

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

type clock struct{ at atomic.Int64 }

func newClock(at time.Time) *clock {
	c := new(clock)
	c.at.Store(at.UnixNano())
	return c
}
func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func remember(t testing.TB, m *MemoryReplay, generation, n uint64, until time.Time) (ReplayResult, error) {
	t.Helper()
	return m.Remember(context.Background(), generation, entryKey(n), until)
}

func TestMemoryReplayExpires(t *testing.T) {
	c := newClock(time.Unix(1<<30, 0)) // a round number: nothing is kept longer than asked
	m := NewMemoryReplay(0, c.now, false)
	until := c.now().Add(64 * time.Second)
	for i, want := range []ReplayResult{Fresh, Repeated} {
		if got, err := remember(t, m, 0, 1, until); got != want || err != nil {
			t.Errorf("%d: got %v, %v; want %v", i, got, err, want)
		}
	}
	c.advance(64 * time.Second)
	if got, _ := remember(t, m, 0, 1, until); got != Repeated {
		t.Errorf("at its end: got %v, want Repeated", got)
	}
	if m.Len() != 1 {
		t.Errorf("at its end: %d entries, want 1", m.Len())
	}
	c.advance(10 * time.Second)
	if m.Len() != 0 {
		t.Errorf("%d entries left after their time", m.Len())
	}
	if got, _ := remember(t, m, 0, 1, until); got != Repeated {
		t.Errorf("after its end: got %v; what may have been here is not fresh", got)
	}
}

func TestMemoryReplayFull(t *testing.T) {
	c := newClock(testNow)
	m := NewMemoryReplay(100, c.now, false)
	until := testNow.Add(time.Minute)
	for n := range uint64(100) {
		if got, err := remember(t, m, 0, n, until); got != Fresh || err != nil {
			t.Fatalf("%d: %v, %v", n, got, err)
		}
	}
	if _, err := remember(t, m, 0, 100, until); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if got, err := remember(t, m, 0, 5, until); got != Repeated || err != nil {
		t.Errorf("full: got %v, %v; want Repeated", got, err)
	}
	c.advance(2 * time.Minute)
	if got, err := remember(t, m, 0, 100, c.now().Add(time.Minute)); got != Fresh || err != nil {
		t.Errorf("emptied: got %v, %v; want Fresh", got, err)
	}
}

func TestMemoryReplayGenerations(t *testing.T) {
	c := newClock(testNow)
	m := NewMemoryReplay(100, c.now, true)
	until := testNow.Add(time.Minute)
	remember(t, m, 0, 1000, until) // without a nonce of ours: stays
	for n := range uint64(99) {
		remember(t, m, 1, n, until)
	}
	if got, err := remember(t, m, 1, 99, until); got != StaleGeneration || err != nil {
		t.Errorf("full: got %v, %v; want StaleGeneration", got, err)
	}
	if m.Generation() != 2 || m.Len() != 1 {
		t.Errorf("generation %d with %d entries, want 2 with 1", m.Generation(), m.Len())
	}
	for _, tt := range []struct {
		name          string
		generation, n uint64
		want          ReplayResult
	}{
		{"old nonce, old proof", 1, 5, StaleGeneration},
		{"new nonce", 2, 99, Fresh},
		{"new nonce, again", 2, 99, Repeated},
		{"generation to come", 3, 7, StaleGeneration},
		{"no nonce of ours", 0, 1000, Repeated},
	} {
		if got, err := remember(t, m, tt.generation, tt.n, until); got != tt.want || err != nil {
			t.Errorf("%s: got %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

// Full of proofs that no new generation ends: nothing is forgotten early.
func TestMemoryReplayFullOfOthers(t *testing.T) {
	m := NewMemoryReplay(10, newClock(testNow).now, true)
	for n := range uint64(10) {
		remember(t, m, 0, n, testNow.Add(time.Minute))
	}
	if _, err := remember(t, m, 0, 10, testNow.Add(time.Minute)); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if m.Len() != 10 {
		t.Errorf("%d entries, want 10", m.Len())
	}
}

// What was dropped while the clock was ahead could be accepted again when it is
// set back: then all nonces end instead.
func TestMemoryReplayClockSetBack(t *testing.T) {
	for _, generations := range []bool{true, false} {
		c := newClock(testNow)
		m := NewMemoryReplay(0, c.now, generations)
		generation, until := m.Generation(), testNow.Add(time.Minute)
		remember(t, m, generation, 1, until)
		c.advance(time.Hour)
		if m.Len() != 0 {
			t.Fatalf("%d entries left after an hour", m.Len())
		}
		c.advance(-time.Hour)
		want, wantGeneration := Repeated, generation
		if generations {
			want, wantGeneration = StaleGeneration, generation+1
		}
		got, err := remember(t, m, generation, 1, until)
		if got != want || err != nil || m.Generation() != wantGeneration {
			t.Errorf("generations %v: got %v, %v, generation %d; want %v, generation %d",
				generations, got, err, m.Generation(), want, wantGeneration)
		}
		if !generations {
			continue
		}
		if got, err := remember(t, m, m.Generation(), 1, until); got != Fresh || err != nil {
			t.Errorf("with a nonce of the new generation: got %v, %v; want Fresh", got, err)
		}
	}
}

func TestMemoryReplayConcurrent(t *testing.T) {
	m := NewMemoryReplay(1000, nil, true)
	until := time.Now().Add(time.Minute)
	var fresh [200]atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range fresh {
				if got, err := m.Remember(context.Background(), 1, entryKey(uint64(n)), until); err != nil {
					t.Error(err)
				} else if got == Fresh {
					fresh[n].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for n := range fresh {
		if got := fresh[n].Load(); got != 1 {
			t.Errorf("key %d was fresh %d times", n, got)
		}
	}
}

// keeps writes down until when it was asked to remember.
type keeps struct{ until time.Time }

func (*keeps) Generation() uint64 { return 1 }
func (k *keeps) Remember(_ context.Context, _ uint64, _ [32]byte, until time.Time) (ReplayResult, error) {
	k.until = until
	return Fresh, nil
}

// A known fault of this field: the jti is kept for a shorter time than the proof
// is accepted. Here, a moment after the time for which it is kept, and at any
// time later, the proof is refused without the replay memory.
func TestKeptAsLongAsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := func(low, high int, label string) time.Duration {
			return time.Duration(rapid.IntRange(low*1000, high*1000).Draw(t, label)) * time.Millisecond
		}
		c, kept := newClock(testNow), new(keeps)
		cfg := Config{
			Now: c.now, Replay: kept,
			ProofLifetime: seconds(1, 300, "lifetime"), Future: seconds(1, 300, "future"),
		}
		offset := seconds(-int(cfg.ProofLifetime/time.Second), int(cfg.Future/time.Second), "iat offset")
		p := proof{id: "a", algorithm: &algorithms[0], issuedAt: testNow.Add(offset)}
		if rapid.Bool().Draw(t, "nonces") {
			cfg.Nonces = NewNonces(NoncesConfig{Lifetime: seconds(1, 600, "nonce lifetime")})
		}
		v, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p.nonce = v.Nonce()
		var a acceptance
		if !v.inTime(t.Context(), &p, &a, Request{}, c.now()) {
			t.Fatalf("iat %v from now: %v", offset, p.refused)
		}
		if _, err := v.remember(context.Background(), &p, a); err != nil {
			t.Fatal(err)
		}
		later := kept.until.Add(1 + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "later")))
		if v.inTime(t.Context(), &p, &a, Request{}, later) {
			t.Errorf("kept until %v, but accepted at %v", kept.until, later)
		}
	})
}

// Whatever the lifetimes, the dates of the proofs, the clock (also set back) and
// the bound, with and without nonces: nothing is accepted twice.
func TestNothingIsAcceptedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock(testNow)
		generations := rapid.Bool().Draw(t, "generations")
		cfg := Config{
			Now:           c.now,
			Replay:        NewMemoryReplay(rapid.IntRange(1, 40).Draw(t, "limit"), c.now, generations),
			ProofLifetime: time.Duration(rapid.IntRange(1, 300).Draw(t, "lifetime")) * time.Second,
			Future:        time.Duration(rapid.IntRange(1, 60).Draw(t, "future")) * time.Second,
		}
		if rapid.Bool().Draw(t, "nonces") {
			cfg.Nonces = NewNonces(NoncesConfig{
				Keys: testKeys, Now: c.now,
				Lifetime: time.Duration(rapid.IntRange(1, 600).Draw(t, "nonce lifetime")) * time.Second,
			})
		}
		v, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var made []proof
		accepted := map[string]bool{}
		// The signature plays no part here: the proof comes as it is after it.
		accept := func(p proof) {
			var a acceptance
			if !v.inTime(t.Context(), &p, &a, Request{}, c.now()) {
				return
			}
			if _, err := v.remember(context.Background(), &p, a); err == nil {
				if accepted[p.id] {
					t.Fatalf("proof %s of %v accepted twice, again at %v", p.id, p.issuedAt, c.now())
				}
				accepted[p.id] = true
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"new": func(t *rapid.T) {
				offset := time.Duration(rapid.IntRange(-320, 70).Draw(t, "iat offset")) * time.Second
				p := proof{
					id: string(rune('A' + len(made))), nonce: v.Nonce(), issuedAt: c.now().Add(offset).Truncate(time.Second),
					algorithm: &algorithms[0], jwk: jwk{kty: "EC"},
				}
				made = append(made, p)
				accept(p)
			},
			"again": func(t *rapid.T) {
				if len(made) > 0 {
					accept(rapid.SampledFrom(made).Draw(t, "proof"))
				}
			},
			"wait": func(t *rapid.T) {
				c.advance(time.Duration(rapid.IntRange(0, 200_000).Draw(t, "ms")) * time.Millisecond)
			},
			"clock set": func(t *rapid.T) {
				c.advance(time.Duration(rapid.IntRange(-400, 400).Draw(t, "s")) * time.Second)
			},
		})
	})
}

// A client with a new proof and the nonce it was last told is accepted, unless
// the memory says that it has no room.
func TestFreshProofsAreAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock(testNow)
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		v, err := New(Config{
			Now: c.now, Replay: NewMemoryReplay(limit, c.now, true),
			Nonces: NewNonces(NoncesConfig{Keys: testKeys, Now: c.now, Lifetime: time.Minute}),
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			c.advance(time.Duration(rapid.IntRange(0, 90).Draw(t, "s")) * time.Second)
			if rapid.IntRange(0, 9).Draw(t, "set back") == 0 {
				c.advance(-10 * time.Minute)
			}
			p := proof{id: string(rune('A' + i)), algorithm: &algorithms[0], issuedAt: c.now()}
			for try := range 2 { // the second time with the nonce of the refusal
				var a acceptance
				p.nonce = v.Nonce()
				if !v.inTime(t.Context(), &p, &a, Request{}, c.now()) {
					t.Fatalf("refused: %v", p.refused)
				}
				_, err := v.remember(context.Background(), &p, a)
				if err == nil {
					break
				}
				if try == 1 {
					t.Fatalf("refused with the newest nonce: %v", err)
				}
			}
		}
	})
}

// ignorant is a replay memory that does not know its generation yet.
type ignorant struct{ ReplayCache }

func (ignorant) Generation() uint64 { return UnknownGeneration }

// TestUnknownGeneration: no nonce is handed out that would be of no use, and no
// proof is refused for a nonce that cannot be judged.
func TestUnknownGeneration(t *testing.T) {
	v, err := New(Config{Nonces: NewNonces(NoncesConfig{}), Replay: ignorant{NewMemoryReplay(0, nil, true)}})
	if err != nil {
		t.Fatal(err)
	}
	if n := v.Nonce(); n != "" {
		t.Errorf("got nonce %q", n)
	}
	if _, err := v.Verify(t.Context(), Request{Proofs: []string{"x"}, Method: "POST", URL: "https://as.example/token"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got error %v, want %v", err, ErrUnavailable)
	}
}

// followed is a replay memory whose generation another replica has ended.
type followed struct {
	*MemoryReplay
	asked int
}

func (f *followed) Follow(context.Context) {
	f.asked++
	f.generation.Store(8)
}

// A nonce of a generation that began elsewhere is good at once; one of nobody's is not, nor one of the generation before.
func TestNonceOfAGenerationThatBeganElsewhere(t *testing.T) {
	now := time.Unix(3000, 0)
	nonces := NewNonces(NoncesConfig{Keys: testKeys, Now: func() time.Time { return now }})
	for name, tt := range map[string]struct {
		nonce string
		asked int
		want  Reason
	}{
		"of the newest":         {nonces.issue(8, now), 1, ""},
		"of what is known":      {nonces.issue(7, now), 0, ""},
		"of one over":           {nonces.issue(6, now), 0, ReasonStaleNonce},
		"of one not begun":      {nonces.issue(9, now), 1, ReasonWrongNonce},
		"of no generation":      {strings.Repeat("A", 32), 1, ReasonWrongNonce},
		"none":                  {"", 0, ReasonNoNonce},
		"of another's keys":     {NewNonces(NoncesConfig{}).issue(8, now), 1, ReasonWrongNonce},
		"of two windows before": {nonces.issue(7, now.Add(-time.Hour)), 0, ReasonStaleNonce},
	} {
		t.Run(name, func(t *testing.T) {
			replay := &followed{MemoryReplay: NewMemoryReplay(0, func() time.Time { return now }, true)}
			replay.generation.Store(7)
			v, err := New(Config{Replay: replay, Nonces: nonces})
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(t.Context(), Request{Method: "POST", URL: testURL, Proofs: []string{testKey.Proof("POST", testURL, dpoptest.Nonce(tt.nonce))}})
			var refused *Error
			if errors.As(err, &refused); (err == nil) != (tt.want == "") || err != nil && (refused == nil || refused.Reason != tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if replay.asked != tt.asked {
				t.Errorf("asked %d times", replay.asked)
			}
		})
	}
}
