package redisstore

import (
	"strings"
	"testing"
	"time"
)

// A gateway whose clock is wrong leaves the sessions of all others alone, and says so.
func TestClocksApart(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]bool{0: true, 4 * time.Minute: true, -4 * time.Minute: true, 6 * time.Minute: false, -3 * time.Hour: false} {
		err := apart(now.Add(d), now)
		if (err == nil) != want {
			t.Errorf("%v: got error %v", d, err)
		}
		if err != nil && !strings.Contains(err.Error(), d.Abs().String()) {
			t.Errorf("%v: the error does not tell: %v", d, err)
		}
	}
}

// TestASweepByAWrongClock ends nobody's session.
func TestASweepByAWrongClock(t *testing.T) {
	ahead := func() time.Time { return time.Now().Add(90 * time.Minute) } // login's sessions are idle after an hour
	s := closing(t, openAt(t, sharedServer(t).url(), Config{Now: ahead}, t.Name()))
	ses, _ := login(t, s, 1)
	s.ownClock = true
	if swept, err := s.Sweep(t.Context(), ahead(), 10); err == nil || len(swept.Ended) > 0 {
		t.Errorf("it ended %d sessions, error %v", len(swept.Ended), err)
	}
	if got, err := s.Session(t.Context(), ses.ID); err != nil || got.End != nil {
		t.Errorf("the session ended by %+v, error %v", got.End, err)
	}
	s.ownClock = false // a clock that a test gives is asked for no other
	if swept, err := s.Sweep(t.Context(), ahead(), 10); err != nil || len(swept.Ended) != 1 {
		t.Errorf("it ended %d sessions, error %v, want 1", len(swept.Ended), err)
	}
}
