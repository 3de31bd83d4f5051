package boltstore

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// storeFile is the file of a store with some sessions in it.
func storeFile(t *testing.T, n int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), fileName)
	s := mustOpen(t, path)
	now := time.Now()
	for range n {
		ses := sessions.Session{ID: sessions.NewID(), Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour), Browsers: []sessions.BrowserID{"b"}}
		if err := s.Create(t.Context(), ses, sessions.Grant{ID: sessions.NewGrantID(), Credential: make([]byte, 1000)}, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func edit(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rewrite(t *testing.T, path string, f func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		file func(t *testing.T, path string)
		want string
	}{
		{"text", func(t *testing.T, path string) {
			edit(t, path, func([]byte) []byte { return []byte(strings.Repeat("no store\n", 10_000)) })
		}, "no session store, or damaged"},
		{"a short text", func(t *testing.T, path string) {
			edit(t, path, func([]byte) []byte { return []byte("no store\n") })
		}, "no session store, or damaged"},
		{"noise", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { _, _ = rand.Read(b[:1<<20]); return b })
		}, "no session store, or damaged"},
		{"zeros", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { return make([]byte, len(b)) })
		}, "no session store, or damaged"},
		{"cut in the middle", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { return b[:30*os.Getpagesize()] })
		}, "no session store, or damaged"},
		{"cut behind its first pages", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { return b[:2*os.Getpagesize()] })
		}, "no session store, or damaged"},
		{"cut within a page", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { return b[:40*os.Getpagesize()+100] })
		}, "no session store, or damaged"},
		{"noise behind its first pages", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { _, _ = rand.Read(b[2*os.Getpagesize():]); return b })
		}, "no session store, or damaged"},
		{"a bbolt file of another program", func(t *testing.T, path string) {
			edit(t, path, func([]byte) []byte { return nil })
			rewrite(t, path, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
		}, "of another program"},
		{"another program's bucket of the same name", func(t *testing.T, path string) {
			rewrite(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte("mine 1")) })
		}, "of another program"},
		{"a newer format", func(t *testing.T, path string) {
			rewrite(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte(magic+"3")) })
		}, "newer version of the gateway (format 3, this one knows 2)"},
		{"a record of a newer version", func(t *testing.T, path string) {
			rewrite(t, path, func(tx *bolt.Tx) error {
				b := tx.Bucket(bucketSessions)
				k, v := b.Cursor().First()
				newer := bytes.Clone(v)
				newer[9]++
				return b.Put(k, newer)
			})
		}, "newer version of the gateway (version 3, this one knows 2)"},
		{"a damaged record", func(t *testing.T, path string) {
			rewrite(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucketSessions).Put([]byte("!"), []byte("y")) })
		}, "no session store, or damaged"},
		{"a missing bucket", func(t *testing.T, path string) {
			rewrite(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketDue) })
		}, "bucket d is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := storeFile(t, 100)
			c.file(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(Config{Path: path})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			t.Log(err)
			if got := err.Error(); !strings.Contains(got, c.want) || !strings.Contains(got, path) || strings.Contains(got, "\n") {
				t.Errorf("got error %q, want one line with %q", got, c.want)
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
			// Nothing holds the file: a backup can be put in its place.
			db, err := bolt.Open(path+".other", 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
		})
	}
}

func TestOpenElsewhere(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		"":                                  "no path given",
		dir:                                 "is a directory",
		filepath.Join(dir, "missing", "x"):  "no such file or directory",
		filepath.Join(os.DevNull, "no-dir"): "not a directory",
	} {
		s, err := Open(Config{Path: path})
		if err == nil {
			_ = s.Close()
			t.Fatalf("%q was opened", path)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %q, want %q", path, err, want)
		}
	}
}

func TestOpenLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), fileName)
	s := mustOpen(t, path)
	start := time.Now()
	_, err := Open(Config{Path: path, OpenTimeout: 100 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "another process has it open; stop that one first") {
		t.Errorf("got error %v", err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("it took %s", d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), fileName)
	start := time.Now()
	s := mustOpen(t, path)
	t.Logf("an empty store took %s", time.Since(start))
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the file has mode %o", info.Mode())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOpenOneMeta damages the newer of bbolt's two first pages, as a power cut
// in the middle of writing it does: the commit before is found.
func TestOpenOneMeta(t *testing.T) {
	for page := range 2 {
		path := storeFile(t, 100)
		edit(t, path, func(b []byte) []byte {
			_, _ = rand.Read(b[page*os.Getpagesize()+16 : page*os.Getpagesize()+80])
			return b
		})
		s := mustOpen(t, path)
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if n := s.Stats().Active; n != 99 && n != 100 {
			t.Errorf("%d sessions", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
