package boltstore

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// What the file counts, so that nobody has to scan it.
const (
	countActive = iota // sessions without an end
	countNotes         // notes, those past their time too until a sweep
	countOwing         // sessions that owe credentials
	countKinds
)

// counts are where they stand in bucket meta, and what they are called.
var counts = [countKinds]struct {
	key  []byte
	name string
}{
	countActive: {[]byte("active"), "sessions"},
	countNotes:  {[]byte("notes"), "notes"},
	countOwing:  {[]byte("owing"), "sessions that owe"},
}

// tally is one figure of each kind.
type tally [countKinds]int64

func (t *tally) add(o tally) {
	for i, n := range o {
		t[i] += n
	}
}

// counters are a tally for everybody to read; the writer alone changes it.
type counters [countKinds]atomic.Int64

func (c *counters) tally() (t tally) {
	for i := range c {
		t[i] = c[i].Load()
	}
	return t
}

func (c *counters) add(t tally) {
	for i, n := range t {
		c[i].Add(n)
	}
}

// writeCounts keeps those that a commit changes.
func writeCounts(tx *bolt.Tx, before, more tally) error {
	for i, n := range more {
		if n == 0 {
			continue
		}
		if err := tx.Bucket(bucketMeta).Put(counts[i].key, number(uint64(max(0, before[i]+n)))); err != nil {
			return err
		}
	}
	return nil
}

func readCounts(tx *bolt.Tx) (t tally, err error) {
	for i, count := range counts {
		v := tx.Bucket(bucketMeta).Get(count.key)
		if len(v) != 8 {
			return t, unusable(fmt.Errorf("the count of %s is missing", count.name))
		}
		t[i] = int64(binary.BigEndian.Uint64(v))
	}
	return t, nil
}

func (s *Store) readCounts(tx *bolt.Tx) error {
	t, err := readCounts(tx)
	if err != nil {
		return err
	}
	for i, n := range t {
		s.counts[i].Store(n)
	}
	return nil
}
