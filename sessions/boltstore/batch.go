package boltstore

import (
	"bytes"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// batch is one bbolt transaction of the writer. Each change's writes are
// collected first and applied only when its function has returned nil.
type batch struct {
	s  *Store
	tx *bolt.Tx

	now step // of the change that runs
	all step // of those that succeeded

	dirty   bool  // something was written
	damaged error // a read met a page or record that cannot be
	refused error // bbolt did not take a write of this change
}

// step is what a change does beside its answer.
type step struct {
	writes  []write
	counts  tally         // how many more
	changed []sessions.ID // to be told to watchers
	codes   []sessions.Code
}

type write struct {
	bucket, key []byte
	value       []byte // nil: deleted
}

func (t *batch) put(bucket, key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	t.now.writes = append(t.now.writes, write{bucket, key, value})
}

func (t *batch) del(bucket, key []byte) {
	t.now.writes = append(t.now.writes, write{bucket, key, nil})
}

// run runs one change and applies its writes.
func (t *batch) run(c *change) error {
	t.now = step{writes: t.now.writes[:0]}
	if err := c.run(t); err != nil {
		return err
	}
	if t.refused = t.write(t.now.writes); t.refused != nil {
		return t.refused
	}
	t.all.counts.add(t.now.counts)
	t.all.changed = append(t.all.changed, t.now.changed...)
	t.all.codes = append(t.all.codes, t.now.codes...)
	return nil
}

func (t *batch) write(writes []write) error {
	for _, w := range writes {
		b := t.tx.Bucket(w.bucket)
		if w.key[0] == waitingTransaction && bytes.Equal(w.bucket, bucketWaiting) {
			b.FillPercent = 0.9 // they come in the order of their keys
		}
		var err error
		if w.value == nil {
			err = b.Delete(w.key)
		} else {
			err = b.Put(w.key, w.value)
		}
		if err != nil {
			return err
		}
		t.dirty = true
	}
	return nil
}

// finish writes what concerns the whole commit.
func (t *batch) finish() error {
	return writeCounts(t.tx, t.s.counts.tally(), t.all.counts)
}

// committed lets everybody else know.
func (t *batch) committed() {
	t.s.counts.add(t.all.counts)
	for _, c := range t.all.codes {
		t.s.memory.exchanged(c, t.s.now())
	}
	for _, id := range t.all.changed {
		t.s.watches.Send(id)
	}
}

// guard turns a panic of bbolt into an error that gives the whole commit up.
func (t *batch) guard(err *error) {
	if p := recover(); p != nil {
		t.damaged = fmt.Errorf("%w: %v", errDamaged, p)
		*err = t.damaged
	}
}

// call runs a caller's function, which may panic without harm to the writer.
func (t *batch) call(f func(*sessions.Draft) error, d *sessions.Draft) (err error) {
	defer func() {
		if p := recover(); p != nil {
			t.s.log.Error("a change of a session panicked", "fault", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("changing a session: panic: %v", p)
		}
	}()
	return f(d)
}

// code marks a code as exchanged; what was seen of it stays.
func (t *batch) code(c sessions.Code) {
	c.Until = exact(c.Until)
	known, ok := t.s.memory.code(c.Hash, t.s.now())
	if ok {
		c = merge(known, c)
	}
	t.put(bucketWaiting, waitingKey(waitingCode, c.Hash), sessions.EncodeCode(&c))
	t.now.codes = append(t.now.codes, c)
}

func waitingKey(kind byte, hash [32]byte) []byte {
	return append([]byte{kind}, hash[:]...)
}

// reader reads sessions and grants, in a View or in the writer.
type reader struct{ b *bolt.Bucket }

// session is a session and the deadline that it is filed under.
func (r reader) session(id sessions.ID) (s sessions.Session, filed uint64, ok bool, err error) {
	v := r.b.Get(sessionKey(id))
	if v == nil {
		return s, 0, false, nil
	}
	s, filed, err = decodeFiled(v)
	return s, filed, err == nil, err
}

func (r reader) grant(id sessions.ID, grant sessions.GrantID) (g sessions.Grant, ok bool, err error) {
	v := r.b.Get(grantKey(id, grant))
	if v == nil {
		return g, false, nil
	}
	g, err = sessions.DecodeGrant(v)
	return g, err == nil, err
}

func (r reader) grants(id sessions.ID) ([]sessions.Grant, error) {
	var out []sessions.Grant
	prefix := grantPrefix(id)
	c := r.b.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		g, err := sessions.DecodeGrant(v)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// grantKeys are the keys of a session's grants, copied.
func (r reader) grantKeys(id sessions.ID) [][]byte {
	var out [][]byte
	prefix := grantPrefix(id)
	c := r.b.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		out = append(out, bytes.Clone(k))
	}
	return out
}

func encodeFiled(s *sessions.Session, filed uint64) []byte {
	return append(number(filed), sessions.EncodeSession(s)...)
}

func decodeFiled(v []byte) (sessions.Session, uint64, error) {
	if len(v) < 8 {
		return sessions.Session{}, 0, fmt.Errorf("reading a session: %w", sessions.ErrDamaged)
	}
	s, err := sessions.DecodeSession(v[8:])
	return s, filedAt(v), err
}
