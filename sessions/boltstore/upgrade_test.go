package boltstore

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// goldenV1 is a record as version 1 wrote it.
func goldenV1(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", name+".v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestUpgrade opens a file of format 1 with records of version 1: nothing of it
// is lost, and what is new works.
func TestUpgrade(t *testing.T) {
	path := storeFile(t, 3)
	record := goldenV1(t, "session")
	old, err := sessions.DecodeSession(record)
	if err != nil {
		t.Fatal(err)
	}
	code := goldenV1(t, "code")
	rewrite(t, path, func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketNotes, bucketNotesDue, bucketOwing} {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
		}
		for bucket, entries := range map[string]map[string][]byte{
			"s":    {string(old.ID): append(number(millis(old.Absolute)), record...)},
			"d":    {string(dueKey(millis(old.Absolute), old.ID)): {}},
			"w":    {string(append([]byte{waitingCode}, code[2:34]...)): code},
			"meta": {string(keyFormat): []byte(magic + "1")},
		} {
			for k, v := range entries {
				if err := tx.Bucket([]byte(bucket)).Put([]byte(k), v); err != nil {
					return err
				}
			}
		}
		for _, k := range old.IndexKeys() {
			if err := tx.Bucket(bucketIndex).Put(indexEntry(k, old.ID), nil); err != nil {
				return err
			}
		}
		for _, key := range []string{"notes", "owing"} {
			if err := tx.Bucket(bucketMeta).Delete([]byte(key)); err != nil {
				return err
			}
		}
		return nil
	})
	for range 2 {
		s := mustOpen(t, path)
		if n := s.Stats().Active; n != 3 {
			t.Errorf("%d sessions are counted, want 3", n)
		}
		got, err := s.Session(t.Context(), old.ID)
		if err != nil || got.End == nil || *got.End != *old.End || got.Place != old.Place {
			t.Errorf("got %+v, error %v", got, err)
		}
		if _, err := s.AddNote(t.Context(), sessions.Note{Kind: sessions.NoteDeadCookie, Key: "a", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Error(err)
		}
		err = s.Update(t.Context(), old.ID, nil, func(d *sessions.Draft) error {
			d.Session.Cookies = []sessions.CookieHash{"c"}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if list, err := s.Find(t.Context(), sessions.Finder{Cookie: "c"}); err != nil || len(list) != 1 {
			t.Errorf("found %v, error %v", list, err)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(t, path, func(tx *bolt.Tx) error {
		if got := string(tx.Bucket(bucketMeta).Get(keyFormat)); got != magic+"2" {
			t.Errorf("the file says %q", got)
		}
		return nil
	})
}

// TestCheckFinds: each fault of what notes and owing credentials rest on is said.
func TestCheckFinds(t *testing.T) {
	key := noteKey(sessions.NoteDeadCookie, "a")
	until := millis(time.Now().Add(time.Hour))
	for _, c := range []struct {
		name string
		harm func(tx *bolt.Tx, owes []byte) error
		want string
	}{
		{"a note that is never due", func(tx *bolt.Tx, _ []byte) error {
			return tx.Bucket(bucketNotesDue).Delete(noteDueKey(until, key[:]))
		}, "1 notes, 0 due entries of notes"},
		{"a due entry without its note", func(tx *bolt.Tx, _ []byte) error { return tx.Bucket(bucketNotes).Delete(key[:]) }, "has no note"},
		{"a due entry of another time", func(tx *bolt.Tx, _ []byte) error {
			return tx.Bucket(bucketNotes).Put(key[:], noteValue(0, until+1))
		}, "has no note"},
		{"a due entry that is none", func(tx *bolt.Tx, _ []byte) error { return tx.Bucket(bucketNotesDue).Put([]byte("x"), nil) }, "is no note's"},
		{"a damaged note", func(tx *bolt.Tx, _ []byte) error { return tx.Bucket(bucketNotes).Put(key[:], []byte("x")) }, "cannot be read"},
		{"a session that owes and is filed nowhere", func(tx *bolt.Tx, owes []byte) error { return tx.Bucket(bucketOwing).Delete(owes) }, "owes 1 credentials, is filed so: false"},
		{"a session that is filed and gone", func(tx *bolt.Tx, _ []byte) error { return tx.Bucket(bucketOwing).Put([]byte("gone"), nil) }, "owes and is not there"},
		{"a wrong count", func(tx *bolt.Tx, _ []byte) error { return tx.Bucket(bucketMeta).Put([]byte("owing"), number(7)) }, "are counted"},
		{"an index entry too few", func(tx *bolt.Tx, owes []byte) error {
			key, _ := sessions.Finder{Cookie: "cookie"}.IndexKey()
			return tx.Bucket(bucketIndex).Delete(indexEntry(key, sessions.ID(owes)))
		}, "misses index entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mustOpen(t, filepath.Join(t.TempDir(), fileName))
			defer s.Close()
			id, _ := mustCreate(t, s)
			err := s.Update(t.Context(), id, nil, func(d *sessions.Draft) error {
				for _, g := range d.Grants() {
					g.Credential = []byte{1}
					d.Put(g)
				}
				d.Session.Cookies = []sessions.CookieHash{"cookie"}
				d.EndSessionOwing(sessions.End{Reason: sessions.EndRevoked, SingleSignOn: true})
				d.AddNote(sessions.Note{Kind: sessions.NoteDeadCookie, Key: "a", Until: time.UnixMilli(int64(until))})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.db.Load().Update(func(tx *bolt.Tx) error { return c.harm(tx, sessionKey(id)) }); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

// TestDamagedNote: unknown is not gone, and one that cannot be read holds up
// neither the next of its kind nor a sweep.
func TestDamagedNote(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), fileName))
	defer s.Close()
	n := sessions.Note{Kind: sessions.NoteDeadCookie, Key: "a", At: exact(time.Now()), Until: exact(time.Now().Add(time.Hour))}
	if _, err := s.AddNote(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	key := noteKey(n.Kind, n.Key)
	if err := s.db.Load().Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketNotes).Put(key[:], []byte("x")) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Note(t.Context(), n.Kind, n.Key); err == nil || strings.Contains(err.Error(), sessions.ErrNotFound.Error()) {
		t.Errorf("got error %v", err)
	}
	longer := n
	longer.Until = n.Until.Add(time.Hour)
	if first, err := s.AddNote(t.Context(), longer); err != nil || !first {
		t.Errorf("got %t, error %v", first, err)
	}
	if _, err := s.Sweep(t.Context(), n.Until, 10); err != nil {
		t.Error(err)
	}
	if got, err := s.Note(t.Context(), n.Kind, n.Key); err != nil || got != longer {
		t.Errorf("got %+v, error %v", got, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNoteCostsNothing: a note that says nothing new costs no commit.
func TestNoteCostsNothing(t *testing.T) {
	commits := 0
	s, err := Open(Config{Path: filepath.Join(t.TempDir(), fileName)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := sessions.Note{Kind: sessions.NoteClient, Key: "a", At: time.Now(), Until: time.Now().Add(time.Hour)}
	for i := range 3 {
		before := s.readyAt.Swap(0)
		if first, err := s.AddNote(t.Context(), n); err != nil || first != (i == 0) {
			t.Errorf("got %t, error %v", first, err)
		}
		if s.readyAt.Load() != 0 {
			commits++
		} else {
			s.readyAt.Store(before)
		}
	}
	if commits != 1 {
		t.Errorf("%d commits, want 1", commits)
	}
}
