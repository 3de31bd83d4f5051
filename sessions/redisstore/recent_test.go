package redisstore

import (
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// A login cookie that was revived is not known to be dead, and neither is one whose time is over.
func TestRecentKnowsWhatHoldsNow(t *testing.T) {
	var r recent
	now := time.Now()
	deadCookie := func(key string) outNote {
		return outNote{Kind: sessions.NoteDeadCookie, Hash: sessions.HashNote(key), At: now.UnixMilli(), Until: now.Add(time.Hour).UnixMilli()}
	}
	r.note(nil, &outbox{Notes: []outNote{deadCookie("dead"), deadCookie("revived"), deadCookie("again")}}, now)
	r.forget(sessions.NoteDeadCookie, sessions.HashNote("revived"))
	r.forget(sessions.NoteDeadCookie, sessions.HashNote("again"))
	r.note(nil, &outbox{Notes: []outNote{deadCookie("again")}}, now)
	for _, row := range []struct {
		key  string
		at   time.Time
		want bool
	}{{"dead", now, true}, {"revived", now, false}, {"again", now, true}, {"other", now, false}, {"dead", now.Add(time.Hour), false}} {
		if _, ok := r.knows(sessions.NoteDeadCookie, sessions.HashNote(row.key), row.at); ok != row.want {
			t.Errorf("%s after %v: known %v, want %v", row.key, row.at.Sub(now), ok, row.want)
		}
	}
	if _, ok := r.knows(sessions.NoteForceLogin, sessions.HashNote("dead"), now); ok {
		t.Error("a note of another kind is known")
	}
}
