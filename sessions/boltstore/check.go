package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
		k.run(s.active.Load())
		return errors.Join(k.faults...)
	}}
	if err := s.submit(ctx, c); err != nil {
		return err
	}
	return <-c.done
}

type checker struct {
	tx     *bolt.Tx
	faults []error
}

func (k *checker) fault(format string, args ...any) {
	if len(k.faults) < maxFaults {
		k.faults = append(k.faults, fmt.Errorf(format, args...))
	}
}

func (k *checker) run(active int64) {
	for err := range k.tx.Check() {
		k.fault("bbolt: %w", err)
	}
	var alive int64
	c := k.tx.Bucket(bucketSessions).Cursor()
	for key, v := c.First(); key != nil; key, v = c.Next() {
		if err := decodes(key, v); err != nil {
			k.fault("%w", err)
			continue
		}
		if id, _, isGrant := bytes.Cut(key, []byte{0}); isGrant {
			k.grant(id, key, v)
		} else if k.session(key, v) {
			alive++
		}
	}
	k.index()
	k.due()
	k.waiting()
	if stored := k.tx.Bucket(bucketMeta).Get(keyActive); alive != active || string(stored) != string(number(uint64(alive))) {
		k.fault("%d sessions are alive, %d are counted", alive, active)
	}
}

func (k *checker) session(key, v []byte) (alive bool) {
	ses, filed, _ := decodeFiled(v)
	if string(ses.ID) != string(key) {
		k.fault("session %q calls itself %q", key, ses.ID)
	}
	if d := deadline(&ses); filed > d {
		k.fault("session %q is filed %d ms after its deadline", key, filed-d)
	}
	if k.tx.Bucket(bucketDue).Get(dueKey(filed, ses.ID)) == nil {
		k.fault("session %q is filed nowhere", key)
	}
	for i := range indexKeys(&ses) {
		if k.tx.Bucket(bucketIndex).Get([]byte(i)) == nil {
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
		if len(key) <= 1+indexHash {
			k.fault("index entry %q is too short", key)
			continue
		}
		v := k.tx.Bucket(bucketSessions).Get(key[1+indexHash:])
		ses, _, err := decodeFiled(v)
		if _, ok := indexKeys(&ses)[string(key)]; v == nil || err == nil && !ok {
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

func (k *checker) waiting() {
	m := newMemory(defaultTransactions)
	c := k.tx.Bucket(bucketWaiting).Cursor()
	for key, v := c.First(); key != nil; key, v = c.Next() {
		if err := m.loadOne(key, v); err != nil {
			k.fault("record %x: %w", key, err)
		}
	}
}
