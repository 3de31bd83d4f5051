package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
)

const (
	replayMost  = 1_000_000
	replaySlack = 33 * time.Second      // replicas' clocks differ by less than 30 s
	replayEarly = 3 * time.Second       // so long before its end a bucket is taken out
	replayWidth = 10 * time.Second      // entries that end in it end together
	followEvery = 10 * time.Millisecond // strangers' nonces make us ask
	replayLife  = 24 * time.Hour        // of the generation, which is renewed all the time
)

// ReplayConfig says what a Replay is for.
type ReplayConfig struct {
	// Limit bounds the proofs that are remembered. 0: 1,000,000.
	Limit int
	// Generations is true where the gateways ask for nonces of their own.
	Generations bool
	// Lifetime is how long after its iat a proof without a nonce of ours can be
	// accepted. One that was made before the memory began (Redis may have lost it)
	// is refused: it may have been there. 0: 60 s.
	Lifetime time.Duration
}

// Replay is a dpop.ReplayCache that all replicas share. When it is full, a new
// generation of nonces starts everywhere; without nonces of our own it is
// dpop.ErrFull until enough entries have ended.
type Replay struct {
	s *Store
	c ReplayConfig

	generation atomic.Uint64 // 0: not known yet; the first one is the time of its making, in ms
	count      atomic.Int64

	following sync.Mutex
	followed  time.Time // when the last Follow ended
}

var (
	_ dpop.ReplayCache = (*Replay)(nil)
	_ dpop.Follower    = (*Replay)(nil)
)

// Replay is the store's memory of proofs. There is one.
func (s *Store) Replay(c ReplayConfig) *Replay {
	if c.Limit <= 0 {
		c.Limit = replayMost
	}
	if c.Lifetime <= 0 {
		c.Lifetime = time.Minute
	}
	r := &Replay{s: s, c: c}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.laid.Load() {
		r.follow(ctx)
	}
	s.replay.Store(r)
	return r
}

// Generation implements dpop.ReplayCache. It is 0 without generations, and not
// known until Redis was asked.
func (r *Replay) Generation() uint64 {
	if !r.c.Generations {
		return 0
	}
	if n := r.generation.Load(); n != 0 {
		return n
	}
	return dpop.UnknownGeneration
}

// Len is how many proofs are remembered, as it was a second ago.
func (r *Replay) Len() int { return int(r.count.Load()) }

var errForgotten = errors.New("the memory of proofs began after this one was made: it cannot be told from a repeated one")

// Remember implements dpop.ReplayCache.
func (r *Replay) Remember(ctx context.Context, generation uint64, key [32]byte, until time.Time) (result dpop.ReplayResult, err error) {
	s := r.s
	defer s.observe("remember", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return 0, err
	}
	within, cancel := s.within(ctx)
	defer cancel()
	v, err := s.run(within, call{scriptRemember, []string{s.replayKey()}, []any{
		generation, key[:16], newToken()[:8], s.ttl(until, replaySlack), until.UnixNano() / int64(max(replayWidth, r.c.Lifetime/8)),
		r.c.Limit, mark(r.c.Generations), replayLife.Milliseconds(), s.channel(), s.message(renewed, ""),
	}})
	if err != nil {
		return 0, s.fault(ctx, err)
	}
	list, _ := v.([]any)
	if len(list) != 2 {
		return 0, s.fault(ctx, errAnswer)
	}
	if inForce := r.learn(list[1]); generation == 0 && r.forgot(inForce, until) {
		return 0, errForgotten
	}
	switch list[0] {
	case int64(1):
		return dpop.Fresh, nil
	case int64(2):
		return dpop.Repeated, nil
	case int64(3):
		return dpop.StaleGeneration, nil
	}
	return 0, fmt.Errorf("remembering a proof: %w", dpop.ErrFull)
}

// learn follows the generation in force.
func (r *Replay) learn(v any) (generation uint64) {
	text, _ := v.(string)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return r.generation.Load()
	}
	r.generation.Store(n)
	return n
}

// forgot says whether a proof without a nonce may have been here before the memory
// began, which then tells the time by its only generation. iat is in whole seconds.
func (r *Replay) forgot(generation uint64, until time.Time) bool {
	began := time.UnixMilli(int64(generation)).Truncate(time.Second).Add(time.Second)
	return !r.c.Generations && until.Add(-r.c.Lifetime).Before(began)
}

// Follow implements dpop.Follower. All who came while it was asked share the answer.
func (r *Replay) Follow(ctx context.Context) {
	if !r.c.Generations {
		return
	}
	came := time.Now()
	r.following.Lock()
	defer r.following.Unlock()
	if came.Sub(r.followed) < followEvery {
		return
	}
	r.follow(context.WithoutCancel(ctx))
	r.followed = time.Now()
}

// follow asks for the generation and the count. A server that is not the one of
// before (a failover, a start from its file) begins a new generation with that: it
// may have lost the newest proofs.
func (r *Replay) follow(parent context.Context) {
	ctx, cancel := r.s.within(parent)
	defer cancel()
	if r.s.begin(ctx) != nil {
		return
	}
	v, err := r.s.run(ctx, call{scriptGeneration, []string{r.s.replayKey()}, []any{replayLife.Milliseconds(), r.s.channel(), r.s.message(renewed, ""), replayEarly.Milliseconds()}})
	list, _ := v.([]any)
	if err != nil || len(list) != 2 {
		return
	}
	r.learn(list[0])
	n, _ := list[1].(int64)
	r.count.Store(n)
}
