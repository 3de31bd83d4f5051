package boltstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	maxGroup   = 512                    // changes in one commit
	flushAfter = 500 * time.Millisecond // how long a transaction waits in memory alone
	maxFlush   = 1000                   // records of a flush in one commit
)

// errDamaged is what a panic of bbolt becomes: it found a page that cannot be.
var errDamaged = errors.New("the session store's file is damaged")

// change is one atomic change, handed to the writer.
type change struct {
	run   func(*batch) error // reads by b, writes by b.put and b.del
	alone bool               // must not share its commit
	bulk  bool               // shares it with all its like that were handed over together
	done  chan error
	err   error
}

// submit hands changes over. An error means that none was taken.
func (s *Store) submit(ctx context.Context, changes ...*change) error {
	if err := ctx.Err(); err != nil || len(changes) == 0 {
		return err
	}
	for _, c := range changes {
		c.done = make(chan error, 1)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return sessions.ErrClosed
	}
	first := len(s.queue) == 0
	s.queue = append(s.queue, changes...)
	s.mu.Unlock()
	if first {
		s.signal()
	}
	return nil
}

// change makes one change and waits for its outcome, whatever becomes of the
// context meanwhile.
func (s *Store) change(ctx context.Context, run func(*batch) error) error {
	c := &change{run: run}
	if err := s.submit(ctx, c); err != nil {
		return err
	}
	return <-c.done
}

// take is the next group.
func (s *Store) take() (group []*change, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.queue) && (n < maxGroup || s.queue[n].bulk) {
		if s.queue[n].alone {
			if n == 0 {
				n = 1
			}
			break
		}
		n++
	}
	group, s.queue = s.queue[:n:n], s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
	return group, s.closed
}

// write is the writer. It ends when the store was closed and nothing is left.
func (s *Store) write() {
	defer close(s.done)
	flush := time.NewTimer(time.Hour)
	flush.Stop()
	armed := false
	left := 0 // records that this flush has to write
	for {
		select {
		case <-s.wake:
		case <-s.memory.dirtied:
			if !armed {
				flush.Reset(flushAfter)
				armed = true
			}
			continue
		case <-flush.C:
			armed, left = false, s.memory.waits()
		}
		for {
			group, closed := s.take()
			if len(group) == 0 && left <= 0 && !closed {
				break
			}
			err := s.commit(group, left > 0 || closed)
			if left -= maxFlush; err != nil {
				left = 0 // again, but not at once
			}
			more := s.memory.waits()
			if more > 0 && left <= 0 && !armed {
				flush.Reset(flushAfter)
				armed = true
			}
			if closed && len(group) == 0 && (err != nil || more == 0) {
				flush.Stop()
				return
			}
		}
	}
}

// commit makes a group of changes durable and tells each its outcome. The
// error is that of the commit.
func (s *Store) commit(group []*change, flush bool) error {
	start := time.Now()
	var err error
	for {
		var bad *change
		if bad, err = s.try(group, flush); bad == nil {
			break
		}
		// bbolt would not take what it wanted to write; half of it may be in the
		// transaction, which was given up. The others run again without it.
		group = without(group, bad)
		bad.done <- bad.err
	}
	for _, c := range group {
		if err != nil {
			c.err = err
		}
		c.done <- c.err
	}
	if s.seen != nil {
		op := "commit"
		if len(group) == 0 {
			op = "flush"
		}
		s.seen(op, err, time.Since(start))
	}
	return err
}

func without(group []*change, bad *change) []*change {
	var rest []*change
	for _, c := range group {
		if c != bad {
			rest = append(rest, c)
		}
	}
	return rest
}

// errNothing gives a transaction up that wrote nothing: there is no fsync to pay.
var errNothing = errors.New("nothing was written")

// try runs a group in one bbolt transaction. A change that it returns has to
// be left out.
func (s *Store) try(group []*change, flush bool) (bad *change, err error) {
	if err := s.settle(); err != nil {
		return nil, fmt.Errorf("writing the session store: %w", err)
	}
	var flushed *flushing
	if flush && !(len(group) == 1 && group[0].alone) {
		flushed = s.memory.flush(maxFlush)
	}
	var t *batch
	err = s.update(func(tx *bolt.Tx) (err error) {
		t = &batch{s: s, tx: tx}
		bad, err = t.runAll(group, flushed)
		return err
	})
	switch {
	case err == nil:
		s.readyAt.Store(s.now().UnixMilli())
		t.committed()
		return nil, nil
	case err == errNothing:
		return nil, nil
	case bad == nil:
		s.readyAt.Store(0)
		s.log.Error("the session store could not be written", "error", err)
		err = fmt.Errorf("writing the session store: %w", err)
	}
	s.memory.unflushed(flushed)
	return bad, err
}

// runAll runs every change of a group, each on what those before it wrote.
func (t *batch) runAll(group []*change, flushed *flushing) (bad *change, err error) {
	if flushed != nil {
		if err := t.write(flushed.writes); err != nil {
			return nil, err
		}
	}
	for _, c := range group {
		c.err = t.run(c)
		if t.damaged != nil {
			return nil, t.damaged
		}
		if t.refused != nil {
			return c, t.refused
		}
	}
	if !t.dirty {
		return nil, errNothing
	}
	return nil, t.finish()
}

// update is bbolt's Update. After any fault but that of f, what is on the disk
// is not known and has to be settled.
func (s *Store) update(f func(*bolt.Tx) error) (err error) {
	var tx *bolt.Tx
	ran := false
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
			s.log.Error("writing the session store panicked", "fault", fmt.Sprint(p), "stack", string(debug.Stack()))
			if tx != nil && tx.DB() != nil { // not even given up: bbolt's locks are held for ever
				s.broken = fmt.Errorf("%w; start the gateway again", err)
			}
			ran = false
		}
		s.unsettled = err != nil && !ran
	}()
	return s.db.Load().Update(func(t *bolt.Tx) error {
		tx = t
		err := f(t)
		ran = err != nil
		return err
	})
}

// settle makes the store fit for the next change after one that failed.
//
// A commit that failed at its very last step, the sync of bbolt's meta page,
// may count for bbolt and not be on the disk; the next commit would write over
// pages that the meta page on the disk still needs, and a power cut then would
// leave no good one. The kernel reports such a fault once and takes the page
// for clean: so the meta pages are written again, as they are, and synced.
func (s *Store) settle() error {
	if s.broken != nil {
		return s.broken
	}
	if !s.unsettled {
		return nil
	}
	err := s.view(func(*bolt.Tx) error { return nil })
	if errors.Is(err, berrors.ErrInvalidMapping) || errors.Is(err, berrors.ErrDatabaseNotOpen) {
		err = s.reopen()
	}
	if err != nil {
		return err
	}
	metas := make([]byte, 2*s.db.Load().Info().PageSize)
	if _, err := s.file.ReadAt(metas, 0); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(metas, 0); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := s.view(s.readCounts); err != nil { // the commit may have counted after all
		return err
	}
	s.unsettled = false
	return nil
}
