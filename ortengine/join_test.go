package ortengine_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// sessionOf reads the session of an ORT as it is stored.
func (f *fixture) sessionOf(token string) sessions.Session {
	f.Helper()
	s, err := f.store.Session(f.Context(), f.open(token).Session)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// TestJoin: how a second login stands to the first, section 5.
func TestJoin(t *testing.T) {
	long := time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC) // an hour before the bubble's time
	type second int
	const (
		joins   second = iota // one session
		beside                // two
		instead               // the first ended, another user signed in
	)
	for _, row := range []struct {
		name          string
		first, second login
		want          second
	}{
		{"another app in the browser, public subjects",
			login{browser: "b", tells: user("u", "s", long)},
			login{browser: "b", client: "app-two", tells: user("u", "s", long)}, joins},
		{"another app in the browser, another sid and auth_time, public subjects",
			login{browser: "b", tells: user("u", "s1", long)},
			login{browser: "b", client: "app-two", tells: user("u", "s2", long.Add(time.Minute))}, joins},
		{"another app, another user, public subjects",
			login{browser: "b", tells: user("u", "s", long)},
			login{browser: "b", client: "app-two", tells: user("v", "s2", long)}, instead},
		{"the same app in the browser",
			login{browser: "b", tells: user("u", "s", long)},
			login{browser: "b", tells: user("u", "s", long)}, joins},
		{"the same app, pairwise, without sid and auth_time",
			login{browser: "b", tells: pairwise("u1", "", time.Time{})},
			login{browser: "b", tells: pairwise("u1", "", time.Time{})}, joins},
		{"the same app, another user, pairwise",
			login{browser: "b", tells: pairwise("u1", "s", long)},
			login{browser: "b", tells: pairwise("v1", "s", long)}, instead},
		{"another app, pairwise, the same sid",
			login{browser: "b", tells: pairwise("u1", "s", time.Time{})},
			login{browser: "b", client: "app-two", tells: pairwise("u2", "s", time.Time{})}, joins},
		{"another app, pairwise, the same auth_time",
			login{browser: "b", tells: pairwise("u1", "s1", long)},
			login{browser: "b", client: "app-two", tells: pairwise("u2", "s2", long)}, joins},
		{"another app, pairwise, nothing the same",
			login{browser: "b", tells: pairwise("u1", "s1", long)},
			login{browser: "b", client: "app-two", tells: pairwise("u2", "s2", long.Add(time.Second))}, beside},
		{"another app, pairwise, nothing told",
			login{browser: "b", tells: pairwise("u1", "", time.Time{})},
			login{browser: "b", client: "app-two", tells: pairwise("u2", "", time.Time{})}, beside},
		{"another browser, the same sid",
			login{browser: "b", tells: user("u", "s", long)},
			login{browser: "c", tells: user("u", "s", long)}, joins},
		{"another browser, the same sid, another user",
			login{browser: "b", tells: user("u", "s", long)},
			login{browser: "c", tells: user("v", "s", long)}, beside},
		{"another browser, another sid, the same user",
			login{browser: "b", tells: user("u", "s1", long)},
			login{browser: "c", tells: user("u", "s2", long)}, beside},
		{"no browser, the same sid",
			login{browser: "b", tells: user("u", "s", long)},
			login{tells: user("u", "s", long)}, beside},
		{"no browser, another user",
			login{browser: "b", tells: user("u", "s", long)},
			login{tells: user("v", "s", long)}, beside},
		{"the second has no ID token",
			login{browser: "b", tells: user("u", "s", long)},
			login{browser: "b", client: "app-two"}, beside},
		{"the first has no ID token",
			login{browser: "b"},
			login{browser: "b", client: "app-two", tells: user("u", "s", long)}, beside},
		{"neither has an ID token",
			login{browser: "b"},
			login{browser: "b", client: "app-two"}, beside},
		{"another login place",
			login{browser: "b", tells: user("u", "s", long)},
			login{browser: "b", tells: user("u", "s", long), asked: func(a *ortengine.Authorization) { a.Place = "https://id.example/other" }}, beside},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				one := f.login(row.first).Token
				var two string
				if row.second.asked != nil { // elsewhere
					row.second.fill(f)
					begun, err := f.Begin(t.Context(), f.authorization(&row.second))
					if err != nil {
						t.Fatal(err)
					}
					f.idp.grants(row.second.code, begun.Challenge, row.second.tells, true)
					if err := f.SawCode(t.Context(), row.second.code, row.second.browser, nil); err != nil {
						t.Fatal(err)
					}
					transaction, _, err := f.TransactionOf(t.Context(), row.second.verifier, []string{"https://id.example/other"})
					if err != nil {
						t.Fatal(err)
					}
					issued, err := f.redeem(&row.second, transaction)
					if err != nil {
						t.Fatal(err)
					}
					two = issued.Token
				} else {
					two = f.login(row.second).Token
				}
				together := f.open(one).Session == f.open(two).Session
				f.works(two)
				switch row.want {
				case joins:
					if !together {
						t.Error("two sessions")
					}
					f.works(one)
					f.active(1)
				case beside:
					if together {
						t.Error("one session")
					}
					f.works(one)
					f.active(2)
				case instead:
					f.dead(one, "another user signed in", "ended")
					f.active(1)
					if got := f.counted("sessions_ended_total", "user_switch"); got != 1 {
						t.Errorf("counted %v ends", got)
					}
				}
			})
		})
	}
}

// TestJoinBrowserOfTheRedirect: the browser whose request was answered with the
// code decides; a link with somebody else's challenge ties nobody to a stranger's
// login.
func TestJoinBrowserOfTheRedirect(t *testing.T) {
	for _, row := range []struct {
		name       string
		asked      []sessions.BrowserID // authorization requests with the challenge
		redirected sessions.BrowserID
		seen       bool
		joinsB     bool
	}{
		{name: "the one that asked", asked: []sessions.BrowserID{"b"}, redirected: "b", seen: true, joinsB: true},
		{name: "another one asked too", asked: []sessions.BrowserID{"c", "b"}, redirected: "b", seen: true, joinsB: true},
		{name: "redirected without a cookie", asked: []sessions.BrowserID{"b"}, redirected: "", seen: true},
		{name: "unseen, one browser", asked: []sessions.BrowserID{"b", "b"}, joinsB: true},
		{name: "unseen, two browsers", asked: []sessions.BrowserID{"b", "c"}},
		{name: "unseen, two browsers and back", asked: []sessions.BrowserID{"b", "c", "b"}},
		{name: "unseen, no browser", asked: []sessions.BrowserID{""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				victim := f.login(login{browser: "b", tells: user("u", "s", time.Time{})}).Token
				l := login{unseen: true, browser: row.asked[0], tells: user("u", "s", time.Time{})}
				f.begin(&l)
				for _, b := range row.asked[1:] {
					l.browser = b
					if _, err := f.Begin(t.Context(), f.authorization(&l)); err != nil {
						t.Fatal(err)
					}
				}
				transaction, _, err := f.TransactionOf(t.Context(), l.verifier, []string{place})
				if err != nil {
					t.Fatal(err)
				}
				if row.seen {
					if err := f.SawCode(t.Context(), l.code, row.redirected, nil); err != nil {
						t.Fatal(err)
					}
				}
				issued, err := f.redeem(&l, transaction)
				if err != nil {
					t.Fatal(err)
				}
				if got := issued.Session.ID == f.open(victim).Session; got != row.joinsB {
					t.Errorf("joined the session of browser b: %v", got)
				}
				f.works(victim)
			})
		})
	}
}

// TestJoinAtOnce: apps that start at once in a fresh browser come into one
// session, whether they share its cookie or only the sid.
func TestJoinAtOnce(t *testing.T) {
	for name, browser := range map[string]func(int) sessions.BrowserID{
		"one browser":           func(int) sessions.BrowserID { return "b" },
		"cookies set at once":   func(i int) sessions.BrowserID { return sessions.BrowserID(fmt.Sprint("b", i)) },
		"two cookies, crossing": func(i int) sessions.BrowserID { return sessions.BrowserID(fmt.Sprint("b", i%2)) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				const apps = 16
				var ready [apps]login
				var begun [apps]sessions.Transaction
				for i := range ready {
					ready[i] = login{client: fmt.Sprint("app-", i), browser: browser(i), tells: pairwise(fmt.Sprint("u", i), "s", time.Now())}
					begun[i] = f.begin(&ready[i])
				}
				f.idp.with(takes(time.Second), nil)
				var tokens [apps]string
				var wait sync.WaitGroup
				for i := range ready {
					wait.Go(func() {
						issued, err := f.redeem(&ready[i], begun[i])
						if err != nil {
							t.Error(err)
						}
						tokens[i] = issued.Token
					})
				}
				wait.Wait()
				f.active(1)
				if got := len(f.log.events(t, "session_started", "session")); got != 1 {
					t.Errorf("%d sessions started", got)
				}
				for _, token := range tokens {
					f.works(token)
				}
			})
		})
	}
}

// TestJoinStart: the absolute timeout counts from auth_time, and only a newer
// login of the same user moves it.
func TestJoinStart(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		t0 := time.Now()
		start := func(token string) time.Duration { return f.sessionOf(token).Start.Sub(t0) }
		old := t0.Add(-2 * time.Hour)
		token := f.login(login{browser: "b", tells: user("u", "s", old)}).Token
		if got := start(token); got != -2*time.Hour {
			t.Errorf("start %v, want auth_time", got)
		}
		if s := f.sessionOf(token); !s.Absolute.Equal(old.Add(absolute)) || !s.Idle.Equal(t0.Add(idle)) {
			t.Errorf("deadlines %v and %v", s.Idle, s.Absolute)
		}
		time.Sleep(10 * time.Minute)
		for _, row := range []struct {
			name string
			at   time.Time
			want time.Duration
		}{
			{"the same login", old, -2 * time.Hour},
			{"no auth_time", time.Time{}, -2 * time.Hour},
			{"an older one", old.Add(-time.Hour), -2 * time.Hour},
			{"a newer one", t0.Add(5 * time.Minute), 5 * time.Minute},
			{"one in the future", t0.Add(3 * time.Hour), 10 * time.Minute},
			{"the same again", t0.Add(3 * time.Hour), 10 * time.Minute},
		} {
			again := f.login(login{browser: "b", client: "app-two", tells: user("u", "s", row.at)}).Token
			if f.open(again).Session != f.open(token).Session {
				t.Fatalf("%s: another session", row.name)
			}
			if got := start(again); got != row.want {
				t.Errorf("%s: start %v, want %v", row.name, got, row.want)
			}
			if s := f.sessionOf(again); !s.Absolute.Equal(s.Start.Add(absolute)) {
				t.Errorf("%s: absolute deadline %v", row.name, s.Absolute)
			}
		}
	})
}

// TestJoinStartFirst: auth_time of the first login; one in the future counts as
// now, none as now too, and an old login that is told later moves nothing back.
func TestJoinStartFirst(t *testing.T) {
	for name, row := range map[string]struct {
		tells *ortengine.Login
		want  time.Duration
	}{
		"past":        {user("u", "s", time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)), -time.Hour},
		"future":      {user("u", "s", time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)), 0},
		"none":        {user("u", "s", time.Time{}), 0},
		"no ID token": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				t0 := time.Now()
				token := f.login(login{browser: "b", tells: row.tells}).Token
				s := f.sessionOf(token)
				if got := s.Start.Sub(t0); got != row.want || !s.Absolute.Equal(s.Start.Add(absolute)) {
					t.Errorf("start %v, deadline %v", got, s.Absolute)
				}
				if row.tells == nil {
					return
				}
				time.Sleep(time.Minute)
				f.login(login{browser: "b", client: "app-two", tells: user("u", "s", t0.Add(-3*time.Hour))})
				if got := f.sessionOf(token).Start.Sub(t0); got != row.want {
					t.Errorf("an older login moved the start to %v", got)
				}
			})
		})
	}
}

// TestJoinPastItsLimit: a session whose limit has passed is not joined, though no
// sweep came yet.
func TestJoinPastItsLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		old := f.login(login{browser: "b", tells: user("u", "s", time.Time{})}).Token
		time.Sleep(idle)
		fresh := f.login(login{browser: "b", tells: user("u", "s", time.Time{})}).Token
		if f.open(old).Session == f.open(fresh).Session {
			t.Error("an expired session came back")
		}
		f.dead(old, "the session was idle for too long", "idle")
		f.works(fresh)
	})
}

// TestJoinOneIdleClock: one idle clock for all apps of a session.
func TestJoinOneIdleClock(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		tells := user("u", "s", time.Time{})
		one := f.login(login{browser: "b", tells: tells}).Token
		two := f.login(login{browser: "b", client: "app-two", tells: tells}).Token
		for range 3 {
			time.Sleep(idle - time.Minute)
			f.works(one)
		}
		f.works(two)
	})
}

// TestGrantsBound: a client holds 32 grants in a session; one more ends the one
// used longest ago, and no other client's.
func TestGrantsBound(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		tells := user("u", "s", time.Time{})
		other := f.login(login{client: "app-two", browser: "b", tells: tells}).Token
		var tokens []string
		for range 32 {
			time.Sleep(time.Second)
			tokens = append(tokens, f.login(login{browser: "b", tells: tells}).Token)
		}
		time.Sleep(time.Second)
		f.works(tokens[0]) // the oldest, but used
		time.Sleep(time.Second)
		tokens = append(tokens, f.login(login{browser: "b", tells: tells}).Token)
		f.dead(tokens[1], "its grant ended", "ended")
		f.works(other)
		for _, token := range slices.Delete(slices.Clone(tokens), 1, 2) {
			f.works(token)
		}
		grants, err := f.store.Grants(t.Context(), f.open(other).Session)
		if err != nil || len(grants) != 33 {
			t.Errorf("%d grants, %v; want 33", len(grants), err)
		}
		f.active(1)
	})
}

// TestNamesBound: what a session is found by does not grow for ever.
func TestNamesBound(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var token string
		for i := range 100 {
			token = f.login(login{browser: sessions.BrowserID(fmt.Sprint("b", i)), tells: user("u", "s", time.Time{})}).Token
		}
		for i := range 100 {
			token = f.login(login{browser: "b99", tells: user("u", fmt.Sprint("s", i), time.Time{})}).Token
		}
		s := f.sessionOf(token)
		if len(s.Browsers) > 64 || len(s.Upstream) > 64 || len(s.Subjects) != 1 {
			t.Errorf("%d browsers, %d upstream sessions, %d subjects", len(s.Browsers), len(s.Upstream), len(s.Subjects))
		}
		if !slices.Contains(s.Browsers, "b99") {
			t.Error("the newest browser is not in it")
		}
	})
}

// TestUserSwitchEndsOnce: two apps that tell of another user at once end the
// former session once.
func TestUserSwitchEndsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		old := f.login(login{browser: "b", tells: user("u", "s1", time.Time{})}).Token
		var wait sync.WaitGroup
		for i := range 4 {
			l := login{client: fmt.Sprint("app-", i), browser: "b", tells: user("v", "s2", time.Time{})}
			transaction := f.begin(&l)
			wait.Go(func() {
				if _, err := f.redeem(&l, transaction); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		synctest.Wait()
		f.dead(old, "another user signed in", "ended")
		f.active(1)
		if got := f.log.events(t, "session_ended", "reason"); len(got) != 1 || got[0] != "user_switch" {
			t.Errorf("audit events %q", got)
		}
	})
}
