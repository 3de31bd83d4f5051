package ortengine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// aliceIn is alice's ORT in browser b, with login cookie k1.
func (f *fixture) aliceIn(b sessions.BrowserID) string {
	f.Helper()
	return f.login(login{browser: b, tells: user("alice", "sid-"+string(b), time.Now()), cookies: cookies("k-" + string(b))}).Token
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func TestLogoutEndsByTheExpiredCookie(t *testing.T) {
	for _, row := range []struct {
		name   string
		marked bool
		at     bool
		ends   bool
	}{
		{"at the end-session endpoint without a mark", false, true, true},
		{"anywhere after a logout request", true, false, true},
		{"anywhere without one", false, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				ort, other := f.aliceIn("b"), f.aliceIn("other")
				if row.marked {
					f.ok(f.LogoutBegan(f.Context(), []string{place}, "b", nil))
				}
				f.ok(f.CookiesExpired(f.Context(), "", cookies("k-b"), row.at))
				if row.ends {
					f.dead(ort, "the user logged out", "ended")
					f.withheld([]string{"k-b"}, true)
				} else {
					f.works(ort)
				}
				f.works(other)
			})
		})
	}
}

// A login whose code came in no redirect (form_post) has no cookie that is known:
// what a logout of its browser expires is then its own.
func TestLogoutWithoutAKnownCookie(t *testing.T) {
	for _, row := range []struct {
		name    string
		marked  bool
		browser sessions.BrowserID
		sent    []sessions.CookieHash
		ends    bool
	}{
		{"after a logout request of its browser", true, "b", cookies("unknown"), true},
		{"without one", false, "b", cookies("unknown"), false},
		{"in another browser", true, "other", cookies("unknown"), false},
		{"without a browser", true, "", cookies("unknown"), false},
		{"another session's cookie", true, "b", cookies("k-c"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				ort := f.login(login{browser: "b", unseen: true, tells: user("alice", "sid", time.Now())}).Token
				f.aliceIn("c")
				other := f.aliceIn("other")
				if row.marked {
					f.ok(f.LogoutBegan(f.Context(), []string{"elsewhere", place}, "b", nil))
				}
				f.ok(f.CookiesExpired(f.Context(), row.browser, row.sent, true))
				if row.ends {
					f.dead(ort, "the user logged out", "ended")
				} else {
					f.works(ort)
				}
				f.works(other)
			})
		})
	}
}

// The user logs out in another tab before the app has exchanged its first code:
// there is no session yet that could end.
func TestLogoutBeforeTheFirstCodeExchange(t *testing.T) {
	for _, row := range []struct {
		name    string
		expires []sessions.CookieHash
		at      bool
		ends    bool
	}{
		{"the cookie that the code came with", cookies("k1"), true, true},
		{"one that took its place", cookies("k2"), true, true},
		{"another's", cookies("k3"), true, false},
		{"no logout", cookies("k1"), false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				l := login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}
				tx := f.begin(&l) // all in one millisecond
				f.sets(cookies("k1"), cookies("k2"))
				f.ok(f.CookiesExpired(f.Context(), "b", row.expires, row.at))
				issued, err := f.redeem(&l, tx)
				if row.ends {
					f.refused(err, 400, ortengine.InvalidGrant, "The login that this authorization code came of has ended", "refused_ended")
				} else {
					f.ok(err)
					f.works(issued.Token)
				}
				time.Sleep(time.Second)
				f.works(f.login(login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}).Token) // used again
			})
		})
	}
}

func TestLogoutMarkLastsTenMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.aliceIn("b")
		f.ok(f.LogoutBegan(f.Context(), []string{place}, "", cookies("k-b"))) // a cross-site POST has no Lax cookie
		time.Sleep(10*time.Minute + time.Second)
		f.ok(f.CookiesExpired(f.Context(), "", cookies("k-b"), false))
		f.works(ort)
	})
}

func TestLogoutRedirect(t *testing.T) {
	alice := &ortengine.Hint{Issuer: issuer, Subject: "alice", SID: "sid-b"}
	for _, row := range []struct {
		name    string
		hint    *ortengine.Hint
		hinted  bool
		cookies []sessions.CookieHash
		ends    bool
	}{
		{"a verified hint of the session", alice, true, cookies("k-b"), true},
		{"a hint without sid", &ortengine.Hint{Issuer: issuer, Subject: "alice"}, true, cookies("k-b"), true},
		{"another user's hint", &ortengine.Hint{Issuer: issuer, Subject: "bob"}, true, cookies("k-b"), false},
		{"another login's hint", &ortengine.Hint{Issuer: issuer, Subject: "alice", SID: "sid-other"}, true, cookies("k-b"), false},
		{"another issuer's hint", &ortengine.Hint{Issuer: "https://other.example", Subject: "alice"}, true, cookies("k-b"), false},
		{"a hint that does not verify", nil, true, nil, false},
		{"no hint, a login cookie went up", nil, false, cookies("k-b"), false},
		{"neither hint nor login cookie", nil, false, nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				ort, other := f.aliceIn("b"), f.aliceIn("other")
				f.ok(f.LogoutRedirected(f.Context(), []string{place}, "b", row.cookies, row.hint, row.hinted))
				if row.ends {
					f.dead(ort, "the user logged out", "ended")
				} else {
					f.works(ort)
				}
				f.works(other)
			})
		})
	}
}

// logoutToken names alice's login in browser b.
func logoutToken() ortengine.LogoutToken {
	now := time.Now()
	return ortengine.LogoutToken{Issuer: issuer, Place: place, Audiences: []string{"app-one"}, Subject: "alice", SID: "sid-b",
		ID: fmt.Sprint(now.UnixNano()), IssuedAt: now, Expires: now.Add(2 * time.Minute)}
}

func TestLogoutToken(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*ortengine.LogoutToken)
		b, c   bool // ends the session in b, in the other browser
		code   string
	}{
		{"by sid", func(l *ortengine.LogoutToken) {}, true, false, ""},
		{"by sid alone", func(l *ortengine.LogoutToken) { l.Subject = "" }, true, false, ""},
		{"by sub: all sessions of the user", func(l *ortengine.LogoutToken) { l.SID = "" }, true, true, ""},
		{"an unknown sid is no error", func(l *ortengine.LogoutToken) { l.SID = "unknown" }, false, false, ""},
		{"an unknown sub is no error", func(l *ortengine.LogoutToken) { l.SID, l.Subject = "", "nobody" }, false, false, ""},
		{"a sub that is not the sid's", func(l *ortengine.LogoutToken) { l.Subject = "bob" }, false, false, "invalid_request"},
		{"another issuer's sid", func(l *ortengine.LogoutToken) { l.Issuer = "https://other.example" }, false, false, ""},
		{"a client that was never here", func(l *ortengine.LogoutToken) { l.Audiences = []string{"stranger"} }, false, false, "invalid_request"},
		{"one of several clients", func(l *ortengine.LogoutToken) { l.Audiences = []string{"stranger", "app-one"} }, true, false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				b, c := f.aliceIn("b"), f.aliceIn("c")
				time.Sleep(time.Second)
				token := logoutToken()
				row.change(&token)
				err := f.LoggedOut(f.Context(), token)
				if row.code == "" {
					f.ok(err)
				} else {
					f.refused(err, 400, row.code, "", "other")
				}
				for ort, ends := range map[string]bool{b: row.b, c: row.c} {
					if ends {
						f.dead(ort, "the user logged out", "ended")
					} else {
						f.works(ort)
					}
				}
			})
		})
	}
}

func TestLogoutTokenIsTakenOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.aliceIn("b")
		token := logoutToken()
		f.ok(f.LoggedOut(f.Context(), token))
		time.Sleep(time.Second)
		again := f.aliceIn("b") // the upstream uses the sid again
		f.refused(f.LoggedOut(f.Context(), token), 400, "invalid_request", "This logout token was used before", "other")
		f.works(again)
	})
}

func TestLogoutTokenForAClientThatWaitsForItsFirstCode(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{browser: "b", tells: user("alice", "sid-b", time.Now())}
		tx := f.begin(&l)
		time.Sleep(time.Second)
		f.ok(f.LoggedOut(f.Context(), logoutToken()))
		_, err := f.redeem(&l, tx)
		f.refused(err, 400, ortengine.InvalidGrant, "The login that this authorization code came of has ended", "refused_ended")
	})
}

func TestSidThatIsUsedAgainIsNotTouched(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.aliceIn("b")
		time.Sleep(time.Second)
		token := logoutToken()
		time.Sleep(5 * time.Second)
		later := f.aliceIn("b") // logged in after the token was made
		f.ok(f.LoggedOut(f.Context(), token))
		f.works(later)
		time.Sleep(time.Second)
		l := login{browser: "b", tells: user("alice", "sid-b", time.Now()), cookies: cookies("k-b")}
		if issued, err := f.redeem(&l, f.begin(&l)); err != nil || issued.Token == "" {
			t.Errorf("a login after the logout: %v", err)
		}
	})
}

func TestLogoutOfAUserWithAThousandSessions(t *testing.T) {
	f := newFixture(t, nil)
	orts := make([]string, 1000)
	for i := range orts {
		orts[i] = f.aliceIn(sessions.BrowserID(fmt.Sprint("b", i)))
	}
	token := logoutToken()
	token.SID, token.IssuedAt = "", time.Now().Add(time.Second)
	began := time.Now()
	f.ok(f.LoggedOut(f.Context(), token))
	t.Logf("1000 sessions ended in %v", time.Since(began))
	f.active(0)
	f.dead(orts[999], "the user logged out", "ended")
}

// An auth_time in the future counts as now: it makes no session newer than a logout
// token or a later login, nor younger each time it is told.
func TestAuthTimeInTheFuture(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		began := time.Now()
		at := began.Add(time.Hour)
		ort := f.login(login{browser: "b", tells: user("alice", "s1", at)}).Token
		s := f.sessionOf(ort)
		if !s.Start.Equal(began.UTC().Truncate(time.Millisecond)) {
			t.Errorf("start %v, now %v", s.Start, began)
		}
		time.Sleep(10 * time.Minute)
		f.login(login{client: "app-two", browser: "b", tells: user("alice", "s1", at)})
		if again := f.sessionOf(ort); !again.Absolute.Equal(s.Absolute) {
			t.Errorf("the same login moved the absolute deadline from %v to %v", s.Absolute, again.Absolute)
		}
		today := time.Now().Add(-time.Minute).UTC().Truncate(time.Second)
		f.login(login{client: "app-two", browser: "b", tells: user("alice", "s1", today)})
		if again := f.sessionOf(ort); !again.Start.Equal(today) {
			t.Errorf("a login of %v after it: start %v", today, again.Start)
		}
		token := logoutToken()
		token.SID, token.Subject, token.IssuedAt = "s1", "alice", time.Now()
		f.ok(f.LoggedOut(f.Context(), token))
		f.dead(ort, "the user logged out", "ended")
	})
}

// A clock that is a moment ahead of ours is honest: two apps of one login find each
// other by it.
func TestAuthTimeOfAClockThatIsAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		at := time.Now().Add(20 * time.Second)
		ort := f.login(login{browser: "b", tells: pairwise("alice-1", "", at)}).Token
		time.Sleep(time.Second)
		other := f.login(login{client: "app-two", browser: "b", tells: pairwise("alice-2", "", at)}).Token
		if a, b := f.sessionOf(ort), f.sessionOf(other); a.ID != b.ID || a.Start.After(time.Now()) {
			t.Errorf("%s and %s, start %v", a.ID, b.ID, a.Start)
		}
	})
}
