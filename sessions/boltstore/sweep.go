package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	sweepStep  = 100       // sessions in one commit
	setAside   = time.Hour // a session that cannot be read is looked at again
	maxExpired = 1000      // records of memory forgotten under one lock
)

// Sweep ends sessions whose limit has passed and removes records past their
// time. Its steps share commits with whatever else is written.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (out sessions.Swept, err error) {
	defer s.observe("sweep", time.Now(), &err)
	if err = s.closedError(); err != nil {
		return out, err
	}
	left := limit
	for left > 0 {
		want := min(left, maxExpired)
		n := s.memory.expire(now, want)
		out.Removed += n
		left -= n
		if n < want {
			break
		}
	}
	for left > 0 {
		var step swept
		want := min(left, sweepStep)
		err := s.change(ctx, func(t *batch) (err error) {
			defer t.guard(&err)
			step, err = t.sweep(now, want)
			if err == nil {
				t.sweepNotes(now, want-step.looked, &step)
			}
			return err
		})
		if err != nil {
			return out, err
		}
		out.Ended = append(out.Ended, step.ended...)
		out.Removed += step.removed
		left -= step.looked
		if step.looked < want {
			break
		}
	}
	if left <= 0 {
		out.More, err = s.due(now)
	}
	return out, err
}

// due says whether a sweep would find something.
func (s *Store) due(now time.Time) (more bool, err error) {
	if s.memory.hasExpired(now) {
		return true, nil
	}
	err = s.view(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketDue, bucketNotesDue} {
			k, _ := tx.Bucket(b).Cursor().First()
			more = more || k != nil && binary.BigEndian.Uint64(k) <= millis(now)
		}
		return nil
	})
	return more, err
}

// swept is what one step did; looked counts sessions, whatever became of them.
type swept struct {
	ended           []sessions.Session
	removed, looked int
}

// sweep looks at the sessions that are due, the longest due first.
func (t *batch) sweep(now time.Time, limit int) (out swept, err error) {
	var due [][]byte
	c := t.tx.Bucket(bucketDue).Cursor()
	for k, _ := c.First(); k != nil && len(due) < limit && binary.BigEndian.Uint64(k) <= millis(now); k, _ = c.Next() {
		due = append(due, bytes.Clone(k))
	}
	for _, k := range due {
		out.looked++
		t.sweepOne(k, now, &out)
	}
	return out, nil
}

// sweepOne deals with one entry of bucket d.
func (t *batch) sweepOne(entry []byte, now time.Time, out *swept) {
	r := reader{t.tx.Bucket(bucketSessions)}
	id := sessions.ID(entry[8:])
	v := r.b.Get(sessionKey(id))
	if len(v) < 8 || filedAt(v) != binary.BigEndian.Uint64(entry) {
		t.del(bucketDue, entry) // no session, or filed elsewhere
		return
	}
	ses, _, err := decodeFiled(v)
	if err != nil {
		// Unknown is not gone: it is kept, and does not hold up the others.
		t.s.log.Error("a session cannot be read", "session", string(id), "error", err)
		t.refile(entry, id, millis(now.Add(setAside)), bytes.Clone(v[8:]))
		return
	}
	if reason, passed := ses.Deadline(now); passed && ses.End == nil {
		ses.End = &sessions.End{At: exact(now), Reason: reason}
		t.now.counts[countActive]--
		t.now.changed = append(t.now.changed, id)
		for _, k := range r.grantKeys(id) {
			t.del(bucketSessions, k)
		}
		out.ended = append(out.ended, ses)
	}
	if ses.End == nil || now.Before(ses.Absolute) {
		t.refile(entry, id, due(&ses), sessions.EncodeSession(&ses))
		return
	}
	for _, k := range r.grantKeys(id) { // an ended session has none; whatever is there goes too
		t.del(bucketSessions, k)
	}
	for _, k := range ses.IndexKeys() {
		t.del(bucketIndex, indexEntry(k, id))
	}
	t.owing(&ses, &sessions.Session{ID: id})
	t.del(bucketSessions, sessionKey(id))
	t.del(bucketDue, entry)
	out.removed++
}

// refile moves a session's entry to a later time.
func (t *batch) refile(entry []byte, id sessions.ID, due uint64, record []byte) {
	t.del(bucketDue, entry)
	t.put(bucketDue, dueKey(due, id), nil)
	t.put(bucketSessions, sessionKey(id), append(number(due), record...))
}
