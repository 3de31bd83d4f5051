package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var _ sessions.Mover = (*Store)(nil)

var (
	errHalfImported = errors.New("an import into it was stopped in the middle; run `ort-gateway sessions import` again, which begins anew, or move the file away to start empty")
)

// How many records are written in one commit, at first and at most. Ids are random,
// so each commit writes most pages of a large file again: the fewer, the better.
const (
	firstWindow  = 500
	importWindow = 4_000
)

// contentBuckets are what sessions and notes are kept in.
var contentBuckets = [][]byte{bucketSessions, bucketIndex, bucketDue, bucketNotes, bucketNotesDue, bucketOwing}

// Export calls f with every session and every note that holds. It reads at one
// moment: no gateway should write meanwhile, or the file grows by all it writes.
func (s *Store) Export(ctx context.Context, f func(sessions.Moved) error) (err error) {
	var own error // f's
	defer func(start time.Time) {
		fault := err
		if own != nil {
			fault = nil
		}
		s.observe("export", start, &fault)
	}(time.Now())
	give := func(m sessions.Moved) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		own = f(m)
		return own
	}
	return s.view(func(tx *bolt.Tx) error {
		if err := exportSessions(tx, give); err != nil {
			return err
		}
		return exportNotes(tx, millis(s.now()), give)
	})
}

func exportSessions(tx *bolt.Tx, give func(sessions.Moved) error) error {
	r := reader{tx.Bucket(bucketSessions)}
	c := r.b.Cursor()
	for k, v := nextSession(c, ""); k != nil; k, v = nextSession(c, string(k)) {
		ses, _, err := decodeFiled(v)
		if err != nil {
			return fmt.Errorf("session %q: %w", k, err)
		}
		grants, err := r.grants(ses.ID)
		if err != nil {
			return fmt.Errorf("session %q: %w", k, err)
		}
		if err := give(sessions.Moved{Session: &ses, Grants: grants}); err != nil {
			return err
		}
	}
	return nil
}

func exportNotes(tx *bolt.Tx, now uint64, give func(sessions.Moved) error) error {
	c := tx.Bucket(bucketNotes).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		at, until, err := noteTimes(v)
		if err == nil && len(k) != noteKeySize {
			err = sessions.ErrDamaged
		}
		if err != nil {
			return fmt.Errorf("note %x: %w", k, err)
		}
		if until <= now {
			continue
		}
		n := sessions.HashedNote{
			Kind: sessions.NoteKind(k[0]), Hash: sessions.NoteHash(k[1:]),
			At: time.UnixMilli(int64(at)).UTC(), Until: time.UnixMilli(int64(until)).UTC(),
		}
		if err := give(sessions.Moved{Note: &n}); err != nil {
			return err
		}
	}
	return nil
}

// Import keeps all records, or none.
func (s *Store) Import(ctx context.Context, records iter.Seq2[sessions.Moved, error]) (err error) {
	defer s.observe("import", time.Now(), &err)
	if err := s.alone(ctx, (*batch).beginImport); err != nil {
		return err
	}
	if err = s.importAll(ctx, records); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = s.alone(ctx, (*batch).endImport)
	}
	if err == nil {
		return nil
	}
	if back := s.alone(context.WithoutCancel(ctx), (*batch).takeBack); back != nil {
		return errors.Join(err, fmt.Errorf("taking the import back (the next one will): %w", back))
	}
	return err
}

// alone makes one change in a commit of its own, so that it may write what it
// reads again.
func (s *Store) alone(ctx context.Context, run func(*batch) error) error {
	c := &change{alone: true, run: func(t *batch) (err error) {
		defer t.guard(&err)
		return run(t)
	}}
	if err := s.submit(ctx, c); err != nil {
		return err
	}
	return <-c.done
}

// importAll hands the records over, so many together that their commits are few.
func (s *Store) importAll(ctx context.Context, records iter.Seq2[sessions.Moved, error]) error {
	var window []*change
	full := firstWindow
	flush := func() (err error) {
		if err := s.submit(ctx, window...); err != nil {
			return err
		}
		for _, c := range window {
			if failed := <-c.done; err == nil {
				err = failed
			}
		}
		window, full = window[:0], min(2*full, importWindow)
		return err
	}
	for m, err := range records {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		window = append(window, &change{bulk: true, run: func(t *batch) (err error) {
			defer t.guard(&err)
			return t.take(&m)
		}})
		if len(window) >= full {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// take keeps one record.
func (t *batch) take(m *sessions.Moved) error {
	if err := m.Check(); err != nil {
		return err
	}
	if m.Note != nil {
		k := hashedNoteKey(m.Note.Kind, m.Note.Hash)
		t.noteAs(k[:], millis(m.Note.At), millis(m.Note.Until))
		return nil
	}
	ses := m.Session
	if !validName(string(ses.ID)) {
		return errName
	}
	for _, g := range m.Grants {
		if !validName(string(g.ID)) {
			return errName
		}
	}
	return t.create(ses, m.Grants)
}

// beginImport marks the store, after taking back what an import has left that
// was stopped in the middle.
func (t *batch) beginImport() error {
	if t.tx.Bucket(bucketMeta).Get(keyImporting) != nil {
		if err := t.empty(); err != nil {
			return err
		}
	}
	for _, b := range [][]byte{bucketSessions, bucketNotes} {
		if k, _ := t.tx.Bucket(b).Cursor().First(); k != nil {
			return sessions.ErrNotEmpty
		}
	}
	t.put(bucketMeta, keyImporting, nil)
	return nil
}

func (t *batch) endImport() error {
	t.del(bucketMeta, keyImporting)
	return nil
}

func (t *batch) takeBack() error {
	if err := t.empty(); err != nil {
		return err
	}
	return t.endImport()
}

// empty removes every session and note. What fails half-way gives the whole
// transaction up.
func (t *batch) empty() error {
	for _, b := range contentBuckets {
		if t.refused = t.tx.DeleteBucket(b); t.refused != nil {
			return t.refused
		}
		if _, t.refused = t.tx.CreateBucket(bytes.Clone(b)); t.refused != nil {
			return t.refused
		}
	}
	t.dirty = true
	t.now.counts = tally{}
	for i, n := range t.s.counts.tally() {
		t.now.counts[i] = -n
	}
	return nil
}
