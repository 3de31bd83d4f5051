package boltstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// crashFile tells this test binary to be the process that is killed.
const crashFile = "BOLTSTORE_TEST_CRASH_FILE"

// crashWriter makes, uses and ends sessions from many goroutines, and says what
// the store has acknowledged.
func crashWriter(path string) {
	s, err := Open(Config{Path: path})
	if err != nil {
		fmt.Println("fault", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(args...)
	}
	for range 16 {
		go func() {
			for {
				if err := crashOne(s, say); err != nil {
					say("fault", err)
				}
			}
		}()
	}
	select {}
}

func crashOne(s *Store, say func(...any)) error {
	ctx, now := context.Background(), time.Now()
	ses := sessions.Session{
		ID: sessions.NewID(), Created: now, Idle: now.Add(time.Hour), Absolute: now.Add(2 * time.Hour),
		Browsers: []sessions.BrowserID{sessions.BrowserOf("shared")},
	}
	g := sessions.Grant{ID: sessions.NewGrantID(), CodeHash: sessions.HashCode(string(ses.ID))}
	if err := s.Create(ctx, ses, g, now.Add(time.Hour)); err != nil {
		return err
	}
	say("made", ses.ID, g.ID)
	for n := range 5 {
		err := s.Update(ctx, ses.ID, nil, func(d *sessions.Draft) error {
			g, _ := d.Grant(g.ID)
			g.Uses++
			g.Credential = fmt.Append(nil, "credential ", g.Uses)
			d.Put(g)
			return nil
		})
		if err != nil {
			return err
		}
		say("used", ses.ID, n+1)
	}
	if now.UnixNano()%2 == 0 {
		return nil
	}
	err := s.Update(ctx, ses.ID, nil, func(d *sessions.Draft) error {
		d.EndSessionOwing(sessions.End{At: now, Reason: sessions.EndRevoked, SingleSignOn: true})
		d.AddNote(sessions.Note{Kind: sessions.NoteDeadCookie, Key: string(ses.ID), At: now, Until: now.Add(time.Hour)})
		return nil
	})
	if err == nil {
		say("ended", ses.ID)
	}
	return err
}

// acked is what was said of one session before the process was killed.
type acked struct {
	grant sessions.GrantID
	uses  uint64
	ended bool
}

// TestKilled kills a process that writes, again and again on the same file:
// nothing that was acknowledged is lost, nothing is half there.
func TestKilled(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	path := filepath.Join(t.TempDir(), fileName)
	all := map[sessions.ID]*acked{}
	for round := range rounds {
		killOne(t, path, all, 60+round*10)
		s, err := Open(Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		for id, a := range all {
			a.check(t, s, id)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d sessions were acknowledged in %d lives", len(all), rounds)
}

// killOne lets a process write until it has said so many lines.
func killOne(t *testing.T, path string, all map[sessions.ID]*acked, lines int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashFile+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for n := 0; in.Scan(); n++ {
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		f := strings.Fields(in.Text())
		switch {
		case len(f) == 3 && f[0] == "made":
			all[sessions.ID(f[1])] = &acked{grant: sessions.GrantID(f[2])}
		case len(f) == 3 && f[0] == "used":
			_, _ = fmt.Sscan(f[2], &all[sessions.ID(f[1])].uses)
		case len(f) == 2 && f[0] == "ended":
			all[sessions.ID(f[1])].ended = true
		case f[0] == "fault":
			t.Fatal(in.Text())
		}
	}
	_ = cmd.Wait()
}

func (a *acked) check(t *testing.T, s *Store, id sessions.ID) {
	t.Helper()
	ses, g, err := s.Grant(t.Context(), id, a.grant)
	if _, noted := s.Note(t.Context(), sessions.NoteDeadCookie, string(id)); (noted == nil) != (ses.End != nil) || len(ses.Owed) > 0 != (ses.End != nil) {
		t.Errorf("session %s: ended %v, its note: %v, owes %d", id, ses.End, noted, len(ses.Owed))
	}
	if ses.End != nil && errors.Is(err, sessions.ErrNotFound) {
		return // whether or not the last answer was heard
	}
	if err != nil || a.ended {
		t.Errorf("session %s: got %v, error %v, was told that it ended: %t", id, ses.End, err, a.ended)
		return
	}
	if g.Uses != a.uses && g.Uses != a.uses+1 || g.Uses > 0 && string(g.Credential) != fmt.Sprint("credential ", g.Uses) {
		t.Errorf("session %s: used %d times with %q, acknowledged %d", id, g.Uses, g.Credential, a.uses)
	}
	if c, err := s.Code(t.Context(), sessions.HashCode(string(id))); err != nil || !c.Exchanged {
		t.Errorf("session %s: its code is %+v, error %v", id, c, err)
	}
}
