package boltstore

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	defaultTransactions = 200_000
	defaultOpenTimeout  = time.Second
	readyFor            = time.Second // so long a commit that succeeded answers Ready
)

// Config says how to open a store. Every field but Path works at zero.
type Config struct {
	// Path is the file. It is made, readable by its owner alone, where it is
	// missing; its directory must be there.
	Path string
	// Now is the clock, nil: time.Now.
	Now func() time.Time
	// MaxTransactions bounds the waiting transactions, and as many ties of
	// request_uris, codes seen and codes exchanged. 0: 200000.
	MaxTransactions int
	// Logger gets what nobody is told otherwise. nil: nothing is logged.
	Logger *slog.Logger
	// Observe is told of every operation: its name (those of the Store's methods
	// in snake case; commit and flush are the writer's own), its duration, and an
	// error only where the store could not do its work. "Not found" is an answer.
	Observe func(op string, err error, d time.Duration)
	// OpenTimeout is how long to wait for another process that has the file.
	// 0: 1 s.
	OpenTimeout time.Duration
	// ForImport opens a store that an earlier import was left in the middle of,
	// so that the next one takes that back. Without it such a store is refused.
	ForImport bool
}

// Store is a sessions.Store in one bbolt file.
type Store struct {
	path string
	now  func() time.Time
	log  *slog.Logger
	seen func(string, error, time.Duration)
	wait time.Duration

	db   atomic.Pointer[bolt.DB]
	file *os.File // the writer's: bbolt's own handle

	memory  *memory
	leases  leases
	watches sessions.Signals[sessions.ID]
	counts  counters
	readyAt atomic.Int64 // ms of the last commit that succeeded; 0 after one that failed
	filling bool         // opened for an import
	copying sync.Mutex   // held while a backup copies: one at a time

	mu      sync.Mutex // guards queue and closed
	queue   []*change
	closed  bool
	closing chan struct{} // closed by Close
	wake    chan struct{} // something was queued, or Close called
	done    chan struct{} // the writer has ended
	end     func() error  // lets the file go, once

	// The writer's own.
	unsettled bool  // a commit failed: see settle
	broken    error // bbolt is in a state that only a new process leaves
}

var _ sessions.Store = (*Store)(nil)

// Open opens or makes the store. Its error is one line for people: what is
// wrong with the file and what to do. A file that is no store, is damaged or
// was written by a newer version is left as it is.
func Open(c Config) (*Store, error) {
	if c.Path == "" {
		return nil, errors.New("opening the session store: no path given")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxTransactions <= 0 {
		c.MaxTransactions = defaultTransactions
	}
	if c.OpenTimeout <= 0 {
		c.OpenTimeout = defaultOpenTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		path: c.Path, now: c.Now, log: c.Logger, seen: c.Observe, wait: c.OpenTimeout, filling: c.ForImport,
		memory:  newMemory(c.MaxTransactions),
		closing: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.leases.closing = s.closing
	s.end = sync.OnceValue(s.release)
	if err := s.open(); err != nil {
		return nil, err
	}
	go s.write()
	return s, nil
}

// Close writes what waits in memory and lets the file go. Changes handed over
// before are seen through, later ones are ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.signal()
	<-s.done
	return s.end()
}

// Ready writes, together with whatever else is being written. A commit of the
// last second is proof enough, so that probes cost nothing.
func (s *Store) Ready(ctx context.Context) (err error) {
	defer s.observe("ready", time.Now(), &err)
	select {
	case <-s.closing:
		return sessions.ErrClosed
	default:
	}
	now := s.now()
	if at := s.readyAt.Load(); at != 0 {
		if age := now.UnixMilli() - at; age >= 0 && age < readyFor.Milliseconds() {
			return nil
		}
	}
	c := &change{run: func(t *batch) error {
		t.put(bucketMeta, keyReady, number(uint64(now.UnixMilli())))
		return nil
	}}
	if err := s.submit(ctx, c); err != nil {
		return err
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done(): // a disk that hangs is not ready either
		return ctx.Err()
	}
}

// Stats counts without a scan.
func (s *Store) Stats() sessions.Stats {
	waiting, pushed := s.memory.count()
	n := s.counts.tally()
	st := sessions.Stats{
		Active: int(n[countActive]), Transactions: waiting, PushedOut: pushed, Notes: int(n[countNotes]), Owing: int(n[countOwing]),
	}
	if info, err := os.Stat(s.path); err == nil {
		st.Bytes = info.Size()
	}
	return st
}

func (s *Store) observe(op string, start time.Time, err *error) {
	if s.seen == nil {
		return
	}
	fault := *err
	switch {
	case errors.Is(fault, sessions.ErrNotFound), errors.Is(fault, sessions.ErrDifferent),
		errors.Is(fault, sessions.ErrLeaseLost), errors.Is(fault, context.Canceled),
		errors.Is(fault, context.DeadlineExceeded):
		fault = nil
	}
	s.seen(op, fault, time.Since(start))
}

// signal wakes the writer.
func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
