package redisstore

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// sentinels are a master, its replica, and three that watch over them.
type sentinels struct {
	master, replica *server
	url             string
}

func newSentinels(t *testing.T) *sentinels {
	t.Helper()
	f := &sentinels{master: newServer(t)}
	f.replica = newServer(t, "--replicaof", "127.0.0.1", fmt.Sprint(f.master.port))
	linked(t, f.replica)
	f.url = ""
	for n := range 3 {
		s := &server{port: freePort(t), dir: t.TempDir()}
		conf := filepath.Join(s.dir, "sentinel.conf")
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nlogfile %s/log\nsentinel monitor mymaster 127.0.0.1 %d 2\n"+
			"sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n", s.port, s.dir, s.dir, f.master.port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.cmd = exec.Command("redis-server", conf, "--sentinel")
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.stop)
		s.awaitAnswer(t)
		if n == 0 {
			f.url = s.url() + "?master_name=mymaster"
		} else {
			f.url += "&addr=" + s.addr()
		}
		if n == 2 {
			within(t, 20*time.Second, "the Sentinels know each other and the replica", func() bool {
				info := fmt.Sprint(s.cli(t, "sentinel", "master", "mymaster"))
				return strings.Contains(info, "num-slaves:1") && strings.Contains(info, "num-other-sentinels:2")
			})
		}
	}
	return f
}

func linked(t *testing.T, replica *server) {
	t.Helper()
	within(t, 20*time.Second, "the replica has all", func() bool {
		info, _ := replica.cli(t, "info", "replication").(string)
		return strings.Contains(info, "master_link_status:up")
	})
}

// TestFailover: the master dies with the end of a session that its replica does
// not have. The store goes on with the replica, and the end is written again by
// who made it; a lease that is held meanwhile is still good.
func TestFailover(t *testing.T) {
	f := newSentinels(t)
	log := &proctest.Output{}
	nobody := closing(t, openAt(t, strings.Replace(f.url, "mymaster", "nobody", 1), Config{}, t.Name()))
	if err := nobody.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "know no master of the URL's master_name") {
		t.Errorf("a wrong master_name: %v", err)
	}
	s := closing(t, openAt(t, f.url, Config{Logger: slog.New(slog.NewTextHandler(log, nil))}, t.Name()))
	ended, _ := login(t, s, 1)
	kept, g := login(t, s, 2)
	late, lateGrant := login(t, s, 3)
	l, _, _, err := s.LeaseGrant(t.Context(), kept.ID, g.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	within(t, 5*time.Second, "the replica has the lease", func() bool {
		return f.replica.cli(t, "exists", s.grantLeaseKey(kept.ID, g.ID)) == int64(1)
	})
	f.master.cli(t, "acl", "setuser", "default", "-psync", "-sync") // no replica comes back after this
	f.master.cli(t, "client", "kill", "type", "replica")
	unheard, _, _, err := s.LeaseGrant(t.Context(), late.ID, lateGrant.ID) // of this one the replica never hears
	if err != nil {
		t.Fatal(err)
	}
	defer unheard.Release()
	if first, err := endIt(t.Context(), s, ended.ID); err != nil || !first {
		t.Fatalf("the end: first %t, error %v", first, err)
	}
	f.master.stop()
	began := time.Now()
	if err := use(t.Context(), s, kept.ID, g.ID, nil); err != nil {
		unknown(t, "while nobody is master", err)
	}
	within(t, 20*time.Second, "the store is ready again", func() bool { return s.Ready(t.Context()) == nil })
	t.Logf("ready after %v", time.Since(began))
	within(t, 10*time.Second, "the end is written again", func() bool {
		got, err := s.Session(t.Context(), ended.ID)
		return err == nil && got.End != nil && got.End.Reason == sessions.EndRevoked
	})
	within(t, 10*time.Second, "its login cookie is dead again", func() bool {
		_, err := s.Note(t.Context(), sessions.NoteDeadCookie, "of "+string(ended.ID))
		return err == nil
	})
	t.Logf("written again after %v", time.Since(began))
	if !strings.Contains(log.String(), "was lost is written again") {
		t.Errorf("the log does not say so: %s", log)
	}
	if err := use(t.Context(), s, kept.ID, g.ID, l); err != nil {
		t.Errorf("under the lease: got error %v", err)
	}
	if err := use(t.Context(), s, late.ID, lateGrant.ID, unheard); err != nil {
		t.Errorf("under the lease that was lost, and that nobody had since: got error %v", err)
	}
}

// TestDroppedNotesStayDropped: what was taken back is not
// written again by who had made it.
func TestDroppedNotesStayDropped(t *testing.T) {
	url := sharedServer(t).url()
	a, b := closing(t, openAt(t, url, Config{}, t.Name())), closing(t, openAt(t, url, Config{}, t.Name()))
	n := sessions.Note{Kind: sessions.NoteDeadCookie, Key: "x", At: time.Now(), Until: time.Now().Add(time.Hour)}
	if _, err := a.AddNote(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := b.DropNote(t.Context(), n.Kind, n.Key); err != nil {
		t.Fatal(err)
	}
	if err := a.assert(t.Context(), a.recent.since(recentFor)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Note(t.Context(), n.Kind, n.Key); err != sessions.ErrNotFound {
		t.Errorf("got error %v", err)
	}
}

// TestDroppedNotesAreNotDeliveredAgain: an outbox that stayed with its session is
// delivered a second time. A login cookie that is alive again since stays so.
func TestDroppedNotesAreNotDeliveredAgain(t *testing.T) {
	url := sharedServer(t).url()
	a, b := closing(t, openAt(t, url, Config{}, t.Name())), closing(t, openAt(t, url, Config{}, t.Name()))
	ses, _ := login(t, a, 1)
	dead := sessions.Note{Kind: sessions.NoteDeadCookie, Key: "x", At: time.Now(), Until: time.Now().Add(time.Hour)}
	box := outbox{Token: newToken()}
	box.note(dead)
	deliver := func() {
		t.Helper()
		if err := a.deliver(t.Context(), &ses, box.pack(), ""); err != nil {
			t.Fatal(err)
		}
	}
	deliver()
	if _, err := b.Note(t.Context(), dead.Kind, dead.Key); err != nil {
		t.Fatal(err)
	}
	if err := b.DropNote(t.Context(), dead.Kind, dead.Key); err != nil {
		t.Fatal(err)
	}
	deliver()
	if _, err := b.Note(t.Context(), dead.Kind, dead.Key); err != sessions.ErrNotFound {
		t.Errorf("after the second delivery: got error %v", err)
	}
	box.Token = newToken()
	deliver()
	if _, err := b.Note(t.Context(), dead.Kind, dead.Key); err != nil {
		t.Errorf("dead once more: got error %v", err)
	}
}

// TestAnEndAskedForTwiceIsLookedAfter: the answer to the first attempt was lost, the
// second found the session ended and acknowledged it. Lost by a failover, it is
// written again, with its dead cookie.
func TestAnEndAskedForTwiceIsLookedAfter(t *testing.T) {
	s := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
	ses, note := died(t, s, 1)
	if err := s.Update(t.Context(), ses.ID, nil, func(d *sessions.Draft) error {
		d.EndSession(sessions.End{At: time.Now(), Reason: sessions.EndRevoked, SingleSignOn: true})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// What a failover may leave.
	if err := s.rdb.Del(t.Context(), s.noteKey(note.Kind, sessions.HashNote(note.Key))).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.rdb.HSet(t.Context(), s.sessionKey(ses.ID), fieldSession, sessions.EncodeSession(&ses)).Err(); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "the end is written again", func() bool {
		got, err := s.Session(t.Context(), ses.ID)
		return err == nil && got.End != nil
	})
	within(t, 10*time.Second, "its login cookie is dead again", func() bool {
		_, err := s.Note(t.Context(), note.Kind, note.Key)
		return err == nil
	})
}
