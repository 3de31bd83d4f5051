package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// A note is 16 bytes under its key: since when it holds and until when, in ms.
const (
	noteKeySize   = 1 + len(sessions.NoteHash{})
	noteValueSize = 16
)

// noteKey is a note's key in bucket n: its kind, and the hash of the rest.
func noteKey(kind sessions.NoteKind, key string) [noteKeySize]byte {
	return hashedNoteKey(kind, sessions.HashNote(key))
}

func hashedNoteKey(kind sessions.NoteKind, hash sessions.NoteHash) [noteKeySize]byte {
	var k [noteKeySize]byte
	k[0] = byte(kind)
	copy(k[1:], hash[:])
	return k
}

func noteDueKey(until uint64, key []byte) []byte { return append(number(until), key...) }

func noteValue(at, until uint64) []byte {
	return binary.BigEndian.AppendUint64(number(at), until)
}

// noteTimes reads a note; nil is ErrNotFound. What cannot be read is unknown,
// never gone: a login cookie may be dead by it.
func noteTimes(v []byte) (at, until uint64, err error) {
	switch len(v) {
	case noteValueSize:
		return binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), nil
	case 0:
		return 0, 0, sessions.ErrNotFound
	}
	return 0, 0, fmt.Errorf("reading a note: %w", sessions.ErrDamaged)
}

// note keeps a note and says whether it is the first of its key. A change may add
// one twice, so what it wrote itself is looked at too. One that changes nothing
// costs no commit.
func (t *batch) note(n sessions.Note) (first bool) {
	k := noteKey(n.Kind, n.Key)
	return t.noteAs(k[:], millis(n.At), millis(n.Until))
}

func (t *batch) noteAs(key []byte, at, until uint64) (first bool) {
	v := t.tx.Bucket(bucketNotes).Get(key)
	for _, w := range t.now.writes {
		if bytes.Equal(w.bucket, bucketNotes) && bytes.Equal(w.key, key) {
			v = w.value
		}
	}
	oldAt, oldUntil, err := noteTimes(v)
	there := err == nil // a damaged one is written anew
	first = !there || oldUntil <= millis(t.s.now())
	if !first {
		at, until = max(at, oldAt), max(until, oldUntil)
	}
	if there && at == oldAt && until == oldUntil {
		return first
	}
	if there && until != oldUntil {
		t.del(bucketNotesDue, noteDueKey(oldUntil, key))
	}
	if v == nil {
		t.now.counts[countNotes]++
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
	k := noteKey(kind, key)
	var at, until uint64
	err = s.view(func(tx *bolt.Tx) (err error) {
		at, until, err = noteTimes(tx.Bucket(bucketNotes).Get(k[:]))
		return err
	})
	switch {
	case err != nil:
		return sessions.Note{}, err
	case until <= millis(s.now()):
		return sessions.Note{}, sessions.ErrNotFound
	}
	return sessions.Note{Kind: kind, Key: key, At: time.UnixMilli(int64(at)).UTC(), Until: time.UnixMilli(int64(until)).UTC()}, nil
}

// DropNote forgets a note.
func (s *Store) DropNote(ctx context.Context, kind sessions.NoteKind, key string) (err error) {
	defer s.observe("drop_note", time.Now(), &err)
	return s.change(ctx, func(t *batch) (err error) {
		defer t.guard(&err)
		k := noteKey(kind, key)
		t.dropNote(k[:])
		return nil
	})
}

// dropNote removes a note and its entry in bucket e.
func (t *batch) dropNote(key []byte) {
	v := t.tx.Bucket(bucketNotes).Get(key)
	if v == nil {
		return
	}
	if _, until, err := noteTimes(v); err == nil {
		t.del(bucketNotesDue, noteDueKey(until, key))
	}
	t.del(bucketNotes, key)
	t.now.counts[countNotes]--
}

// sweepNotes removes notes whose time has passed, the longest past first.
func (t *batch) sweepNotes(now time.Time, limit int, out *swept) {
	c := t.tx.Bucket(bucketNotesDue).Cursor()
	for k, _ := c.First(); k != nil && limit > 0 && binary.BigEndian.Uint64(k) <= millis(now); k, _ = c.Next() {
		limit--
		out.looked++
		entry, key := bytes.Clone(k), bytes.Clone(k[8:])
		if _, until, err := noteTimes(t.tx.Bucket(bucketNotes).Get(key)); err == nil && until == binary.BigEndian.Uint64(entry) {
			t.dropNote(key)
			out.removed++
			continue
		}
		t.del(bucketNotesDue, entry) // no note, or one that holds for longer
	}
}
