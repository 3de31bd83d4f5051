package boltstore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func createOne(t testing.TB, s *Store) sessions.ID {
	now := time.Now()
	ses := sessions.Session{ID: sessions.NewID(), Created: now, Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour),
		Subjects: []sessions.Subject{{Issuer: "i", Client: "c", Sub: string(sessions.NewID())}}}
	if err := s.Create(context.Background(), ses, sessions.Grant{ID: sessions.NewGrantID(), Credential: make([]byte, 500)}, time.Time{}); err != nil {
		t.Error(err)
	}
	return ses.ID
}

// restored is a store made of a backup.
func restored(t *testing.T, from *Store) *Store {
	t.Helper()
	copied, size, err := from.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	b, err := io.ReadAll(copied)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("%d bytes of %d, %v", len(b), size, err)
	}
	path := filepath.Join(t.TempDir(), fileName)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path)
	if err := s.Check(t.Context()); err != nil {
		t.Error("Check:", err)
	}
	return s
}

// Whatever was acknowledged before a backup is in it, whatever is written
// meanwhile, and nothing is left beside the store.
func TestBackupUnderLoad(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, fileName))
	var mu sync.Mutex
	var acknowledged []sessions.ID
	var writing sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		writing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := createOne(t, s)
				mu.Lock()
				acknowledged = append(acknowledged, id)
				mu.Unlock()
			}
		})
	}
	for range 5 {
		mu.Lock()
		before := acknowledged[:len(acknowledged):len(acknowledged)]
		mu.Unlock()
		to := restored(t, s)
		for _, id := range before {
			if ses, err := to.Session(t.Context(), id); err != nil || ses.ID != id {
				t.Fatalf("%s: %v", id, err)
			}
			if grants, err := to.Grants(t.Context(), id); err != nil || len(grants) != 1 {
				t.Fatalf("the grants of %s: %v", id, err)
			}
		}
	}
	close(stop)
	writing.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside the store: %v, %v", left, err)
	}
}

// Who reads a backup and never ends holds no transaction open, so that the file
// may be mapped anew.
func TestBackupThatNobodyReadsHoldsUpNothing(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), fileName))
	id := createOne(t, s)
	copied, _, err := s.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if n := s.db.Load().Stats().OpenTxN; n != 0 {
		t.Errorf("%d transactions are open", n)
	}
	if other, _, err := s.Backup(t.Context()); err != nil {
		t.Error("a second one beside it:", err)
	} else {
		other.Close()
	}
	if err := s.Update(t.Context(), id, nil, func(d *sessions.Draft) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestBackupRefused(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), fileName))
	createOne(t, s)
	s.copying.Lock()
	if _, _, err := s.Backup(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("two at once: got %v, want ErrBusy", err)
	}
	s.copying.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Backup(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody wants it: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Backup(t.Context()); !errors.Is(err, sessions.ErrClosed) {
		t.Errorf("closed: got %v, want ErrClosed", err)
	}
}

// A gateway does not serve half of what was to be imported, and is told what to do.
func TestHalfAnImportIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), fileName)
	s := openAt(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyImporting, []byte{}) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(Config{Path: path})
	if err == nil || !strings.Contains(err.Error(), "run `ort-gateway sessions import` again") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

// A session that cannot be read hides no other from a list, and lets no export
// look whole.
func TestListAndExportMeetADamagedSession(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), fileName))
	id, other := createOne(t, s), createOne(t, s)
	err := s.alone(t.Context(), func(b *batch) error {
		b.put(bucketSessions, sessionKey(id), append(number(1), "no session"...))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), "", 10)
	if err != nil || len(list) != 1 || list[0].ID != other {
		t.Errorf("got %d sessions, %v, want the other one", len(list), err)
	}
	err = s.Export(t.Context(), func(sessions.Moved) error { return nil })
	if !errors.Is(err, sessions.ErrDamaged) || !strings.Contains(err.Error(), string(id)) {
		t.Errorf("export: got %v", err)
	}
}
