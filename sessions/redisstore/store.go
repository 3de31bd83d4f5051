package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	defaultTransactions = 200_000
	readyFor            = time.Second // so long a write that succeeded answers Ready
)

// Config says how to open a store. Every field but URL works at zero.
type Config struct {
	// URL is redis://… or rediss://…: one server, Sentinel (master_name=) or Cluster
	// (addr=), in go-redis's own forms; key_prefix=, ca_file= and wait_replicas= are
	// ours.
	URL string
	// Now is the clock, nil: time.Now.
	Now func() time.Time
	// MaxTransactions bounds the waiting transactions, and as many ties of
	// request_uris, codes seen and codes exchanged. 0: 200000.
	MaxTransactions int
	// Logger gets what nobody is told otherwise. nil: nothing is logged.
	Logger *slog.Logger
	// Observe is told of every operation: its name (those of the Store's methods in
	// snake case), its duration, and an error only where the store could not do its
	// work. "Not found" is an answer.
	Observe func(op string, err error, d time.Duration)

	// ForImport opens a store that an earlier import was left in the middle of, too.
	ForImport bool

	leaseFor time.Duration // 0: leaseFor
	settle   time.Duration // 0: settleFor
}

// Store is a sessions.Store in Redis, shared by any number of gateways.
type Store struct {
	rdb    redis.UniversalClient
	prefix string
	wait   int // wait_replicas
	limit  int
	now    func() time.Time
	log    *slog.Logger
	seen   func(string, error, time.Duration)
	me     string // this replica, in messages

	leaseFor, settle time.Duration
	ownClock         bool // now is this machine's
	filling          bool // Config.ForImport

	laid      atomic.Bool // the format was looked at, and is ours
	readyAt   atomic.Int64
	turns     sessions.Turns
	wakes     sessions.Signals[string] // leases that another replica has
	watches   sessions.Signals[sessions.ID]
	figures   figures
	recent    recent
	replay    atomic.Pointer[Replay]
	pushedOut atomic.Int64

	mu      sync.Mutex // guards closed against background, and laying
	closed  bool
	laying  *looking      // nil: nobody looks at the format now
	closing chan struct{} // closed by Close
	stop    context.CancelFunc
	running sync.WaitGroup
	end     func() error
}

var _ sessions.Store = (*Store)(nil)

// ErrFault is in an error of Open that trying again does not mend: the URL, the
// password, the certificate, the rights of the user or the content of the store.
var ErrFault = errors.New("redis store")

// Open opens the store. A Redis that does not answer is no error: the store is
// not ready until it does. What a person must mend is one, on one line, without a
// secret.
func Open(ctx context.Context, c Config) (*Store, error) {
	logging.Disable() // it writes to stderr what is an error of a call, too
	t, err := parseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFault, err)
	}
	ownClock := c.Now == nil
	if ownClock {
		c.Now = time.Now
	}
	if c.MaxTransactions <= 0 {
		c.MaxTransactions = defaultTransactions
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.leaseFor == 0 {
		c.leaseFor = leaseFor
	}
	if c.settle == 0 {
		c.settle = settleFor
	}
	s := &Store{
		rdb: t.client(), prefix: t.prefix, wait: t.replicas, limit: c.MaxTransactions,
		now: c.Now, ownClock: ownClock, log: c.Logger, seen: c.Observe, me: newToken()[:8],
		leaseFor: c.leaseFor, settle: c.settle, filling: c.ForImport, closing: make(chan struct{}),
	}
	s.end = sync.OnceValue(func() error {
		if err := s.rdb.Close(); err != nil {
			return fmt.Errorf("closing the session store: %w", plain(err))
		}
		return nil
	})
	switch err := s.lay(ctx); {
	case isFault(err):
		_ = s.end()
		return nil, err
	case err != nil:
		about := []any{"error", err.Error()}
		if strings.HasPrefix(c.URL, "rediss:") {
			about = append(about, "hint", "rediss:// asks for TLS: a server without is silent")
		}
		s.log.Warn("the session store does not answer; it is tried again", about...)
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.listen(background) })
	s.running.Go(func() { s.look(background) })
	return s, nil
}

// Close lets the store go. Twice is fine.
func (s *Store) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
		s.stop()
	}
	s.mu.Unlock()
	s.running.Wait()
	return s.end()
}

// behind runs f beside its caller; Close waits for it. It says whether it is too
// late for that.
func (s *Store) behind(f func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Go(func() {
		ctx, cancel := s.within(context.Background())
		defer cancel()
		f(ctx)
	})
	return true
}

// begin is what every operation looks at first.
func (s *Store) begin(ctx context.Context) error {
	select {
	case <-s.closing:
		return sessions.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.laid.Load() {
		return nil
	}
	return s.lay(ctx)
}

// Ready writes. A write of the last second is proof enough, so that probes cost
// nothing.
func (s *Store) Ready(ctx context.Context) (err error) {
	defer s.observe("ready", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return err
	}
	if at := s.readyAt.Load(); at != 0 && time.Since(time.Unix(0, at)) < readyFor {
		return nil
	}
	within, cancel := s.within(ctx)
	defer cancel()
	if err = s.rdb.Set(within, s.readyKey(), s.me, time.Minute).Err(); err != nil {
		return s.fault(ctx, err)
	}
	s.wrote(nil)
	return nil
}

// wrote notes how the newest write went.
func (s *Store) wrote(err error) {
	if err != nil {
		s.readyAt.Store(0)
		return
	}
	s.readyAt.Store(time.Now().UnixNano())
}

func (s *Store) observe(op string, start time.Time, err *error) {
	if s.seen == nil {
		return
	}
	e := *err
	for _, answer := range []error{sessions.ErrNotFound, sessions.ErrDifferent, sessions.ErrLeaseLost, context.Canceled} {
		if errors.Is(e, answer) {
			e = nil
		}
	}
	s.seen(op, e, time.Since(start))
}
