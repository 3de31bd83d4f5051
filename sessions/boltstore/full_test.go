//go:build linux

package boltstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

// TestDiskFull fills a small file system, and frees it again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("mounting a small file system:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	filler := filepath.Join(dir, "filler")
	testFull(t, dir, syscall.ENOSPC, func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}, func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBackupLeavesRoom: a copy is refused where the store would have no room to
// go on, and names what is missing.
func TestBackupLeavesRoom(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=20m"); err != nil {
		t.Skip("mounting a small file system:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	s, err := Open(Config{Path: filepath.Join(dir, fileName)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := createOne(t, s)
	if _, _, err := s.Backup(t.Context()); err == nil || !strings.Contains(err.Error(), "MiB free") {
		t.Errorf("got error %v, want one that says how much is free", err)
	}
	if err := s.Update(t.Context(), id, nil, func(*sessions.Draft) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestFileLimit does the same by a limit of the process: a page cannot be
// written, or the file cannot grow.
func TestFileLimit(t *testing.T) {
	for name, room := range map[string]uint64{"writing": 1 << 20, "growing": 0} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var old syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
				t.Fatal(err)
			}
			set := func(l syscall.Rlimit) {
				if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
					t.Fatal(err)
				}
			}
			defer set(old)
			testFull(t, dir, syscall.EFBIG, func() {
				info, err := os.Stat(filepath.Join(dir, fileName))
				if err != nil {
					t.Fatal(err)
				}
				set(syscall.Rlimit{Cur: uint64(info.Size()) - room, Max: old.Max})
			}, func() { set(old) })
		})
	}
}

// filled is what a store had while there was no room for more.
type filled struct {
	mu    sync.Mutex
	kept  []sessions.Session
	fault error
}

func testFull(t *testing.T, dir string, want error, fill, free func()) {
	clock := storetest.NewClock()
	s, err := Open(Config{Path: filepath.Join(dir, fileName), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	f := &filled{}
	for range 50 {
		f.create(t, s)
	}
	dead := sessions.Note{Kind: sessions.NoteDeadCookie, Key: "dead", At: exact(clock.Now()), Until: exact(clock.Now().Add(400 * 24 * time.Hour))}
	if _, err := s.AddNote(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	fill()
	for n := 0; f.fault == nil; n++ {
		if n > 1000 {
			t.Fatal("the disk never became full")
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() { f.create(t, s) })
		}
		all.Wait()
	}
	if !strings.Contains(f.fault.Error(), want.Error()) { // bbolt wraps not all of them
		t.Errorf("got error %v, want %v", f.fault, want)
	}
	f.check(t, s) // reading goes on
	for range 3 {
		if got, err := s.Note(t.Context(), dead.Kind, dead.Key); err != nil || got != dead {
			t.Errorf("Note: got %+v, error %v", got, err)
		}
		if _, err := s.Note(t.Context(), dead.Kind, "alive"); !errors.Is(err, sessions.ErrNotFound) {
			t.Errorf("Note: got error %v", err)
		}
		f.note(t, s)
	}
	for range 20 {
		f.create(t, s)
		clock.Advance(time.Minute)
		if err := s.Ready(t.Context()); err != nil && !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("Ready: %v", err)
		}
	}
	_, _, err = s.AddTransaction(t.Context(), sessions.Transaction{Until: clock.Now().Add(24 * time.Hour)})
	if err != nil {
		t.Errorf("AddTransaction: %v", err)
	}
	free()
	f.fault = nil
	for range 100 {
		f.create(t, s)
	}
	if f.fault != nil {
		t.Errorf("the disk is free again: %v", f.fault)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	f.check(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(Config{Path: filepath.Join(dir, fileName), Now: clock.Now}); err != nil {
		t.Fatal(err)
	}
	f.check(t, s)
	if n := s.Stats().Transactions; n != 1 {
		t.Errorf("%d transactions wait, want 1", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func (f *filled) create(t *testing.T, s *Store) {
	now := time.Now()
	ses := sessions.Session{ID: sessions.NewID(), Created: now, Idle: now.Add(time.Hour), Absolute: now.Add(2 * time.Hour)}
	ses.Subjects = []sessions.Subject{{Sub: string(ses.ID)}}
	g := sessions.Grant{ID: sessions.NewGrantID(), Credential: make([]byte, 2000)}
	err := s.Create(t.Context(), ses, g, time.Time{})
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.fault = err
		if _, err := s.Session(t.Context(), ses.ID); !errors.Is(err, sessions.ErrNotFound) {
			t.Errorf("a session that could not be made: got error %v", err)
		}
		return
	}
	f.kept = append(f.kept, ses)
}

// note is kept or not, as it was told.
func (f *filled) note(t *testing.T, s *Store) {
	n := sessions.Note{Kind: sessions.NoteDeadCookie, Key: string(sessions.NewID()), Until: time.Now().Add(400 * 24 * time.Hour)}
	_, added := s.AddNote(t.Context(), n)
	if _, err := s.Note(t.Context(), n.Kind, n.Key); (err == nil) != (added == nil) {
		t.Errorf("AddNote: %v; Note: %v", added, err)
	}
}

func (f *filled) check(t *testing.T, s *Store) {
	t.Helper()
	for _, ses := range f.kept {
		list, err := s.Find(t.Context(), sessions.Finder{Subject: string(ses.ID)})
		if err != nil || len(list) != 1 {
			t.Fatalf("session %s: found %d, error %v", ses.ID, len(list), err)
		}
	}
	if got := s.Stats().Active; got != len(f.kept) {
		t.Errorf("%d sessions are counted, %d were made", got, len(f.kept))
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(fmt.Errorf("Check: %w", err))
	}
}
