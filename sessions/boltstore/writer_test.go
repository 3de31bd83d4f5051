package boltstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

func mustCreate(t testing.TB, s *Store) (sessions.ID, sessions.GrantID) {
	t.Helper()
	now := time.Now()
	ses := sessions.Session{ID: sessions.NewID(), Idle: now.Add(time.Hour), Absolute: now.Add(2 * time.Hour)}
	g := sessions.Grant{ID: sessions.NewGrantID()}
	if err := s.Create(t.Context(), ses, g, time.Time{}); err != nil {
		t.Fatal(err)
	}
	return ses.ID, g.ID
}

// TestWriteBehind: half a second after it was added a transaction is on the
// disk; until then it costs no commit.
func TestWriteBehind(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, filepath.Join(dir, fileName))
		defer s.Close()
		onDisk := func() int {
			n := 0
			err := s.view(func(tx *bolt.Tx) error {
				n = tx.Bucket(bucketWaiting).Stats().KeyN
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for i := range 2500 {
			tx := sessions.Transaction{Key: sessions.TransactionKey{byte(i), byte(i >> 8)}, Until: time.Now().Add(time.Hour)}
			if _, added, err := s.AddTransaction(t.Context(), tx); err != nil || !added {
				t.Fatal(added, err)
			}
		}
		if err := s.AddCode(t.Context(), sessions.Code{Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(flushAfter - time.Millisecond)
		synctest.Wait()
		if n := onDisk(); n != 0 {
			t.Errorf("%d records on the disk too early", n)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if n := onDisk(); n != 2501 {
			t.Errorf("%d records on the disk, want 2501", n)
		}
		if err := s.DropTransaction(t.Context(), sessions.TransactionKey{1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(flushAfter)
		synctest.Wait()
		if n := onDisk(); n != 2500 {
			t.Errorf("%d records on the disk, want 2500", n)
		}
		if n := s.memory.waits(); n != 0 {
			t.Errorf("%d records wait for nothing", n)
		}
	})
}

// TestLeftAlone: a write that bbolt does not take fails its change alone, and
// none of its other writes is kept.
func TestLeftAlone(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), fileName))
	defer s.Close()
	var group []*change
	for i := range 5 {
		group = append(group, &change{done: make(chan error, 1), run: func(b *batch) error {
			b.put(bucketMeta, fmt.Appendf(nil, "key %d", i), []byte("x"))
			if i == 2 {
				b.put(bucketMeta, make([]byte, bolt.MaxKeySize+1), []byte("too long"))
			}
			return nil
		}})
	}
	s.mu.Lock()
	s.queue = group
	s.mu.Unlock()
	s.signal()
	for i, c := range group {
		if err := <-c.done; (err == nil) != (i != 2) {
			t.Errorf("change %d: got error %v", i, err)
		}
	}
	err := s.view(func(tx *bolt.Tx) error {
		for i := range group {
			if there := tx.Bucket(bucketMeta).Get(fmt.Appendf(nil, "key %d", i)) != nil; there != (i != 2) {
				t.Errorf("change %d is there: %t", i, there)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSettles: after a failed commit the file is made sound, or opened anew
// where bbolt has lost it, and the store goes on.
func TestSettles(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), fileName))
	defer s.Close()
	id, g := mustCreate(t, s)
	for name, harm := range map[string]func(){
		"a commit that may count": func() { s.counts[countActive].Store(7) },
		"lost its mapping":        func() { _ = s.db.Load().Close() },
	} {
		s.unsettled = true // the writer is idle
		harm()
		err := s.Update(t.Context(), id, nil, func(d *sessions.Draft) error { d.Session.Place += "x"; return nil })
		if err != nil || s.unsettled {
			t.Errorf("%s: got error %v, unsettled %t", name, err, s.unsettled)
		}
		if _, _, err := s.Grant(t.Context(), id, g); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.Stats().Active; n != 1 {
		t.Errorf("%d sessions are counted, want 1", n)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestReadyMemo: a probe within a second of a commit costs none.
func TestReadyMemo(t *testing.T) {
	clock := storetest.NewClock()
	commits := 0
	s, err := Open(Config{Path: filepath.Join(t.TempDir(), fileName), Now: clock.Now, Observe: func(op string, _ error, _ time.Duration) {
		if op == "commit" {
			commits++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		for range 10 {
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		clock.Advance(500 * time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if commits != 5 {
		t.Errorf("%d commits in 5 seconds of probes, want 5", commits)
	}
}

// TestObserve: an answer is no fault, and a fault is told.
func TestObserve(t *testing.T) {
	var mu sync.Mutex
	var told []string
	s, err := Open(Config{Path: filepath.Join(t.TempDir(), fileName), Observe: func(op string, err error, d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if op != "commit" && op != "flush" {
			told = append(told, fmt.Sprint(op, " ", err != nil))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := mustCreate(t, s)
	_, _ = s.Session(t.Context(), "none")
	_ = s.Update(t.Context(), id, nil, func(*sessions.Draft) error { return errors.New("mine") })
	_ = s.Close()
	_ = s.Update(t.Context(), id, nil, func(*sessions.Draft) error { return nil })
	if got, want := strings.Join(told, ", "), "create false, session false, update false, update true"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestClosedWhileWriting: what was handed over before Close is seen through.
func TestClosedWhileWriting(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), fileName)
		s := mustOpen(t, path)
		id, g := mustCreate(t, s)
		var all sync.WaitGroup
		var mu sync.Mutex
		var acked uint64
		for range 32 {
			all.Go(func() {
				err := s.Update(t.Context(), id, nil, func(d *sessions.Draft) error {
					g, _ := d.Grant(g)
					g.Uses++
					d.Put(g)
					return nil
				})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acked++
				} else if !errors.Is(err, sessions.ErrClosed) {
					t.Error(err)
				}
			})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		s = mustOpen(t, path)
		_, got, err := s.Grant(t.Context(), id, g)
		if err != nil || got.Uses != acked {
			t.Errorf("used %d times, acknowledged %d, error %v", got.Uses, acked, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
