package redisstore

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// died leaves a session as a process would that died between its end and the
// delivery of what the end writes elsewhere.
func died(t *testing.T, s *Store, n int) (sessions.Session, sessions.Note) {
	t.Helper()
	ses, _ := login(t, s, n)
	note := sessions.Note{Kind: sessions.NoteDeadCookie, Key: "of " + string(ses.ID), At: time.Now(), Until: time.Now().Add(time.Hour)}
	b := outbox{Token: newToken()}
	b.note(note)
	is := ses.Apart()
	is.End = &sessions.End{At: time.Now().UTC().Truncate(time.Millisecond), Reason: sessions.EndRevoked, SingleSignOn: true}
	h, err := s.whole(t.Context(), ses.ID)
	if err != nil {
		t.Fatal(err)
	}
	c := &change{was: &ses, is: &is, outbox: b.pack(), token: newToken()}
	if _, err := s.runAll(t.Context(), s.before(c)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.run(t.Context(), s.changeCall(ses.ID, h, c, nil, 0)); err != nil || got != "ok" {
		t.Fatal(got, err)
	}
	if _, err := s.Note(t.Context(), note.Kind, note.Key); err != sessions.ErrNotFound {
		t.Fatalf("the note is there already: %v", err)
	}
	return ses, note
}

// TestWhatADeadProcessLeftIsDelivered: by the sweep of any replica, and by who
// changes the session next.
func TestWhatADeadProcessLeftIsDelivered(t *testing.T) {
	s := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
	for name, repair := range map[string]func(sessions.ID) error{
		"sweep": func(sessions.ID) error {
			_, err := s.Sweep(t.Context(), time.Now().Add(lookAgain), 100)
			return err
		},
		"update": func(id sessions.ID) error {
			return s.Update(t.Context(), id, nil, func(d *sessions.Draft) error { d.Session.Cookies = nil; return nil })
		},
	} {
		ses, note := died(t, s, 1)
		if err := repair(ses.ID); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.Note(t.Context(), note.Kind, note.Key); err != nil {
			t.Errorf("after %s: got error %v for the note", name, err)
		}
		if h, err := s.whole(t.Context(), ses.ID); err != nil || h.outbox != "" {
			t.Errorf("after %s: the outbox is %q, error %v", name, h.outbox, err)
		}
	}
	if _, err := s.Sweep(t.Context(), time.Now().Add(2*lookAgain), 100); err != nil {
		t.Fatal(err)
	}
	if err := (checked{s}).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStaleEntriesAreMended: what an index finds no more goes when it is read, but
// not while its session may be on the way.
func TestStaleEntriesAreMended(t *testing.T) {
	s := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
	ses, _ := login(t, s, 1)
	index, _ := sessions.Finder{Subject: "user1"}.IndexKey()
	key := s.indexKey(index)
	now := float64(time.Now().UnixMilli())
	for id, at := range map[string]float64{"long gone": now - 2*float64(settleFor.Milliseconds()), "on the way": now} {
		if err := s.rdb.ZAdd(t.Context(), key, redis.Z{Member: id, Score: at}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.Find(t.Context(), sessions.Finder{Subject: "user1"}); err != nil || len(list) != 1 || list[0].ID != ses.ID {
		t.Fatalf("found %d sessions, error %v", len(list), err)
	}
	within(t, 5*time.Second, "the stale entry is gone", func() bool {
		return s.rdb.ZCard(t.Context(), key).Val() == 2
	})
	if s.rdb.ZScore(t.Context(), key, "on the way").Err() != nil {
		t.Error("an entry whose session may be on the way was taken out")
	}
}

// TestADeadProcessBesideALivingOne: who delivers its own outbox does not tell the
// sweeper that there is nothing to do, where another change has one since.
func TestADeadProcessBesideALivingOne(t *testing.T) {
	s := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
	ses, _ := login(t, s, 1)
	begin := func(is *sessions.Session, key string) (*change, sessions.Note) {
		n := sessions.Note{Kind: sessions.NoteDeadCookie, Key: key, At: time.Now(), Until: time.Now().Add(time.Hour)}
		b := outbox{Token: newToken()}
		b.note(n)
		c := &change{was: &ses, is: is, outbox: b.pack(), token: newToken()}
		if err := s.lead(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c, n
	}
	write := func(c *change) {
		h, err := s.whole(t.Context(), ses.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.run(t.Context(), s.changeCall(ses.ID, h, c, nil, 0)); err != nil || got != "ok" {
			t.Fatal(got, err)
		}
	}
	ended := ses.Apart()
	ended.End = &sessions.End{At: time.Now().UTC().Truncate(time.Millisecond), Reason: sessions.EndRevoked}
	living, _ := begin(&ses, "living")
	write(living)
	dying, lost := begin(&ended, "dying")
	if err := s.deliver(t.Context(), &ses, living.outbox, living.filed); err != nil {
		t.Fatal(err)
	}
	write(dying)
	if _, err := s.Sweep(t.Context(), time.Now().Add(lookAgain), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Note(t.Context(), lost.Kind, lost.Key); err != nil {
		t.Errorf("after the sweep: got error %v", err)
	}
	if err := (checked{s}).Check(t.Context()); err != nil {
		t.Error(err)
	}
}
