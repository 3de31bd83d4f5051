package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// maxFaults is how many faults Check names.
const maxFaults = 20

// Check reads the whole file and says every fault in it: of bbolt's pages,
// records that cannot be read, index entries without their record, and records
// without their index entry. Nothing is written meanwhile.
func (s *Store) Check(ctx context.Context) (err error) {
	defer s.observe("check", time.Now(), &err)
	c := &change{alone: true, run: func(t *batch) (err error) {
		defer t.guard(&err)
		k := &checker{tx: t.tx}
		k.run(s.counts.tally())
		return errors.Join(k.faults...)
	}}
	if err := s.submit(ctx, c); err != nil {
		return err
	}
	return <-c.done
}

type checker struct {
	tx     *bolt.Tx
	found  tally
	faults []error
}

func (k *checker) fault(format string, args ...any) {
	if len(k.faults) < maxFaults {
		k.faults = append(k.faults, fmt.Errorf(format, args...))
	}
}

func (k *checker) run(counted tally) {
	for err := range k.tx.Check() {
		k.fault("bbolt: %w", err)
	}
	c := k.tx.Bucket(bucketSessions).Cursor()
	for key, v := c.First(); key != nil; key, v = c.Next() {
		if err := decodes(key, v); err != nil {
			k.fault("%w", err)
			continue
		}
		if id, _, isGrant := bytes.Cut(key, []byte{0}); isGrant {
			k.grant(id, key, v)
		} else if k.session(key, v) {
			k.found[countActive]++
		}
	}
	k.index()
	k.due()
	k.waiting()
	k.notes()
	k.owing()
	k.counts(counted)
}

func (k *checker) session(key, v []byte) (alive bool) {
	ses, filed, _ := decodeFiled(v)
	if string(ses.ID) != string(key) {
		k.fault("session %q calls itself %q", key, ses.ID)
	}
	if d := due(&ses); filed > d {
		k.fault("session %q is filed %d ms after its deadline", key, filed-d)
	}
	if k.tx.Bucket(bucketDue).Get(dueKey(filed, ses.ID)) == nil {
		k.fault("session %q is filed nowhere", key)
	}
	if owes, filed := len(ses.Owed) > 0, k.tx.Bucket(bucketOwing).Get(key) != nil; owes != filed || owes && ses.End == nil {
		k.fault("session %q owes %d credentials, is filed so: %t, has ended: %t", key, len(ses.Owed), filed, ses.End != nil)
	}
	for _, i := range ses.IndexKeys() {
		if k.tx.Bucket(bucketIndex).Get(indexEntry(i, ses.ID)) == nil {
			k.fault("session %q misses index entry %q", key, i)
		}
	}
	return ses.End == nil
}

func (k *checker) grant(id, key, v []byte) {
	g, _ := sessions.DecodeGrant(v)
	if string(grantKey(g.Session, g.ID)) != string(key) {
		k.fault("grant %q calls itself %q of %q", key, g.ID, g.Session)
	}
	owner := k.tx.Bucket(bucketSessions).Get(id)
	if owner == nil {
		k.fault("grant %q has no session", key)
	} else if ses, _, err := decodeFiled(owner); err == nil && ses.End != nil {
		k.fault("grant %q is of an ended session", key)
	}
}

func (k *checker) index() {
	c := k.tx.Bucket(bucketIndex).Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		if len(key) <= indexSize {
			k.fault("index entry %q is too short", key)
			continue
		}
		v := k.tx.Bucket(bucketSessions).Get(key[indexSize:])
		ses, _, err := decodeFiled(v)
		if v == nil || err == nil && !slices.Contains(ses.IndexKeys(), sessions.IndexKey(key)) {
			k.fault("index entry %q has no session", key)
		}
	}
}

func (k *checker) due() {
	c := k.tx.Bucket(bucketDue).Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		if len(key) <= 8 {
			k.fault("due entry %q is too short", key)
			continue
		}
		v := k.tx.Bucket(bucketSessions).Get(key[8:])
		if len(v) < 8 || filedAt(v) != binary.BigEndian.Uint64(key) {
			k.fault("due entry %q has no session", key)
		}
	}
}

// notes holds bucket n against bucket e, both ways: as many entries here as
// there, and each finds its note.
func (k *checker) notes() {
	due := 0
	c := k.tx.Bucket(bucketNotesDue).Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		due++
		if len(key) != 8+noteKeySize {
			k.fault("due entry %q is no note's", key)
		} else if _, until, err := noteTimes(k.tx.Bucket(bucketNotes).Get(key[8:])); err != nil || until != binary.BigEndian.Uint64(key) {
			k.fault("due entry %q has no note", key)
		}
	}
	c = k.tx.Bucket(bucketNotes).Cursor()
	for key, v := c.First(); key != nil; key, v = c.Next() {
		k.found[countNotes]++
		if _, _, err := noteTimes(v); err != nil || len(key) != noteKeySize {
			k.fault("note %x cannot be read", key)
		}
	}
	if due != int(k.found[countNotes]) {
		k.fault("%d notes, %d due entries of notes", k.found[countNotes], due)
	}
}

func (k *checker) owing() {
	c := k.tx.Bucket(bucketOwing).Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		k.found[countOwing]++
		if k.tx.Bucket(bucketSessions).Get(key) == nil {
			k.fault("session %q owes and is not there", key)
		}
	}
}

func (k *checker) counts(counted tally) {
	stored, err := readCounts(k.tx)
	if err != nil {
		k.fault("%w", err)
	} else if k.found != counted || k.found != stored {
		k.fault("%d sessions alive, notes and sessions that owe are there; %d are counted, %d in the file", k.found, counted, stored)
	}
}

func (k *checker) waiting() {
	m := newMemory(defaultTransactions)
	c := k.tx.Bucket(bucketWaiting).Cursor()
	for key, v := c.First(); key != nil; key, v = c.Next() {
		if err := m.loadOne(key, v); err != nil {
			k.fault("record %x: %w", key, err)
		}
	}
}
