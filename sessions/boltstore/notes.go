package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// noteKey is a note's key in bucket n; its length is fixed.
func noteKey(kind sessions.NoteKind, key string) []byte { return indexPrefix(byte(kind), key) }

func noteDueKey(until uint64, key []byte) []byte { return append(number(until), key...) }

// noteValue is what bucket n has under it: since when, until when, in ms.
func noteValue(at, until uint64) []byte {
	return binary.BigEndian.AppendUint64(number(at), until)
}

func noteTimes(v []byte) (at, until uint64, ok bool) {
	if len(v) != 16 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), true
}

// note keeps a note and says whether it is the first of its key. A change may add
// one twice, so what it wrote itself is looked at too.
func (t *batch) note(n sessions.Note) (first bool) {
	key := noteKey(n.Kind, n.Key)
	at, until := millis(n.At), millis(n.Until)
	v := t.tx.Bucket(bucketNotes).Get(key)
	for _, w := range t.now.writes {
		if bytes.Equal(w.bucket, bucketNotes) && bytes.Equal(w.key, key) {
			v = w.value
		}
	}
	oldAt, oldUntil, there := noteTimes(v)
	if there {
		t.del(bucketNotesDue, noteDueKey(oldUntil, key))
	}
	first = !there || oldUntil <= millis(t.s.now())
	if !first {
		at, until = max(at, oldAt), max(until, oldUntil)
	}
	t.put(bucketNotes, key, noteValue(at, until))
	t.put(bucketNotesDue, noteDueKey(until, key), nil)
	return first
}

// AddNote keeps a note.
func (s *Store) AddNote(ctx context.Context, n sessions.Note) (first bool, err error) {
	defer s.observe("add_note", time.Now(), &err)
	err = s.change(ctx, func(t *batch) (err error) {
		defer t.guard(&err)
		first = t.note(n)
		return nil
	})
	return first && err == nil, err
}

// Note is a note that holds now.
func (s *Store) Note(_ context.Context, kind sessions.NoteKind, key string) (n sessions.Note, err error) {
	defer s.observe("note", time.Now(), &err)
	err = s.view(func(tx *bolt.Tx) error {
		at, until, ok := noteTimes(tx.Bucket(bucketNotes).Get(noteKey(kind, key)))
		if !ok || until <= millis(s.now()) {
			return sessions.ErrNotFound
		}
		n = sessions.Note{Kind: kind, Key: key, At: time.UnixMilli(int64(at)).UTC(), Until: time.UnixMilli(int64(until)).UTC()}
		return nil
	})
	return n, err
}

// DropNote forgets a note.
func (s *Store) DropNote(ctx context.Context, kind sessions.NoteKind, key string) (err error) {
	defer s.observe("drop_note", time.Now(), &err)
	return s.change(ctx, func(t *batch) (err error) {
		defer t.guard(&err)
		k := noteKey(kind, key)
		if _, until, ok := noteTimes(t.tx.Bucket(bucketNotes).Get(k)); ok {
			t.del(bucketNotes, k)
			t.del(bucketNotesDue, noteDueKey(until, k))
		}
		return nil
	})
}

// sweepNotes removes notes whose time has passed.
func (t *batch) sweepNotes(now time.Time, limit int, out *swept) {
	c := t.tx.Bucket(bucketNotesDue).Cursor()
	for k, _ := c.First(); k != nil && limit > 0 && binary.BigEndian.Uint64(k) <= millis(now); k, _ = c.Next() {
		t.del(bucketNotesDue, bytes.Clone(k))
		t.del(bucketNotes, bytes.Clone(k[8:]))
		out.looked++
		out.removed++
		limit--
	}
}

// owing follows whether a session owes credentials.
func (t *batch) owing(old, ses *sessions.Session) {
	switch was, is := len(old.Owed) > 0, len(ses.Owed) > 0; {
	case is && !was:
		t.put(bucketOwing, sessionKey(ses.ID), nil)
	case was && !is:
		t.del(bucketOwing, sessionKey(ses.ID))
	}
}

// Owing are sessions that owe upstream credentials.
func (s *Store) Owing(_ context.Context, after sessions.ID, limit int) (list []sessions.Session, err error) {
	defer s.observe("owing", time.Now(), &err)
	err = s.view(func(tx *bolt.Tx) error {
		r := reader{tx.Bucket(bucketSessions)}
		c := tx.Bucket(bucketOwing).Cursor()
		k, _ := c.Seek(sessionKey(after))
		if k != nil && string(k) == string(after) {
			k, _ = c.Next()
		}
		for ; k != nil && len(list) < limit; k, _ = c.Next() {
			ses, _, ok, err := r.session(sessions.ID(k))
			if err != nil {
				return err
			}
			if ok {
				list = append(list, ses)
			}
		}
		return nil
	})
	return list, err
}

// Waits says whether a transaction of a client waits.
func (s *Store) Waits(_ context.Context, client string) (waits bool, err error) {
	if err := s.closedError(); err != nil {
		return false, err
	}
	return s.memory.waitsFor(client), nil
}
