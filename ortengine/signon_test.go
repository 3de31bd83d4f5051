package ortengine_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

func cookies(values ...string) (out []sessions.CookieHash) {
	for _, v := range values {
		out = append(out, sessions.HashLoginCookie("KEYCLOAK_IDENTITY", v))
	}
	return out
}

// dead checks which login cookies are withheld.
func (f *fixture) withheld(values []string, want ...bool) {
	f.Helper()
	got, err := f.DeadCookies(f.Context(), cookies(values...))
	if err != nil || !slices.Equal(got, want) {
		f.Errorf("dead cookies of %v: %v %v, want %v", values, got, err, want)
	}
}

func (f *fixture) revoke(token string) {
	f.Helper()
	o := f.open(token)
	if err := f.Revoke(f.Context(), &o); err != nil {
		f.Fatal("revoking:", err)
	}
}

func (f *fixture) sets(sent, set []sessions.CookieHash) {
	f.Helper()
	if err := f.CookiesSet(f.Context(), sent, set); err != nil {
		f.Fatal("following login cookies:", err)
	}
}

func TestRevocationKillsEveryLoginCookieOfTheSession(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}).Token
		f.sets(cookies("k1"), cookies("k2")) // renewed at a silent authorization
		f.withheld([]string{"k1", "k2", "other"}, false, false, false)
		f.revoke(ort)
		f.withheld([]string{"k1", "k2", "other"}, true, true, false)
		time.Sleep(399 * 24 * time.Hour)
		f.withheld([]string{"k1"}, true)
		time.Sleep(2 * 24 * time.Hour)
		f.withheld([]string{"k1"}, false)
	})
}

func TestTwoTabsThatRenewAtOnceAreBothFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}).Token
		f.sets(cookies("k1"), cookies("left"))
		f.sets(cookies("k1"), cookies("right"))
		f.revoke(ort)
		f.withheld([]string{"left", "right"}, true, true)
	})
}

func TestOnlyTheNewestSixteenCookiesAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k0")}).Token
		last := "k0"
		for i := range 20 {
			next := "k" + string(rune('a'+i))
			f.sets(cookies(last), cookies(next))
			last = next
		}
		f.revoke(ort)
		f.withheld([]string{"k0", "ka", last}, false, false, true)
	})
}

func TestRenewalThatWasInFlightWhenTheSessionEndedIsDead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}).Token
		f.revoke(ort)
		f.sets(cookies("k1"), cookies("k2")) // went up before the end
		f.withheld([]string{"k2"}, true)
	})
}

func TestValueThatTheUpstreamUsesAgainIsAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}).Token
		f.revoke(ort)
		f.withheld([]string{"k1"}, true)
		f.sets(nil, cookies("k1")) // a new login, its request carried no login cookie
		f.withheld([]string{"k1"}, false)
	})
}

func TestIdleEndAndUserSwitchLeaveSingleSignOnAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.login(login{browser: "b", tells: user("alice", "sid1", time.Now()), cookies: cookies("k1")})
		f.login(login{browser: "b", tells: user("bob", "sid2", time.Now()), cookies: cookies("k2")})
		idles := f.login(login{browser: "c", tells: user("carol", "sid3", time.Now()), cookies: cookies("k3")}).Token
		time.Sleep(idle + time.Second)
		f.dead(idles, "the session was idle", "idle")
		f.withheld([]string{"k1", "k2", "k3"}, false, false, false)
		if owing, err := f.store.Owing(f.Context(), "", 10); err != nil || len(owing) != 0 {
			t.Errorf("%d sessions owe credentials, %v: at these ends they are deleted", len(owing), err)
		}
	})
}

func TestSessionIsFoundByItsLoginCookie(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		first := f.login(login{browser: "b", tells: user("alice", "", time.Now()), cookies: cookies("k1")})
		// The browser lost the gateway's cookie and has a new one.
		second := f.login(login{client: "app-two", browser: "b2", tells: user("alice", "", time.Now()), cookies: cookies("k1")})
		if first.Session.ID != second.Session.ID {
			t.Error("two sessions for one login")
		}
	})
}

// must checks whether the browser has to show its password.
func (f *fixture) must(b sessions.BrowserID, want bool) {
	f.Helper()
	if got, err := f.MustLogIn(f.Context(), place, b); err != nil || got != want {
		f.Errorf("must %s log in: %v %v, want %v", b, got, err, want)
	}
}

func TestWithoutAKnownCookieTheBrowserLogsInAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		began := time.Now()
		ort := f.login(login{browser: "b", tells: user("alice", "sid", began)}).Token
		time.Sleep(time.Minute)
		f.revoke(ort)
		f.must("b", true)
		f.must("other", false)
		f.must("", false)
		time.Sleep(time.Minute)
		// Single sign-on slipped through with the old login: still to log in.
		f.login(login{browser: "b", tells: user("alice", "sid", began)})
		f.must("b", true)
		f.login(login{browser: "b", tells: user("alice", "sid", time.Now())})
		f.must("b", false)
	})
}

func TestWithoutAuthTimeALaterRequestIsEnough(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{browser: "b", tells: user("alice", "sid", time.Time{})}).Token
		f.revoke(ort)
		f.must("b", true)
		time.Sleep(time.Second)
		f.login(login{browser: "b", tells: user("alice", "sid2", time.Time{})})
		f.must("b", false)
	})
}

func TestLoginThatIsTooOldIsRenewedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		old := time.Now().Add(-absolute - time.Minute)
		l := login{browser: "b", tells: user("alice", "sid", old), none: true}
		if issued := f.login(l); issued.Token != "" {
			t.Error("an ORT for a login that is too old")
		}
		l = login{browser: "b", tells: user("alice", "sid", old)}
		issued, err := f.redeem(&l, f.begin(&l))
		if err != nil || issued.Token != "" {
			t.Errorf("ORT %q, %v", issued.Token, err)
		}
		f.must("b", true)
		f.login(login{browser: "b", tells: user("alice", "sid", time.Now())})
		f.must("b", false)
	})
}

// Times are kept to the millisecond: an end in the very one in which the code left may have come after it.
func TestCodeThatLeftBeforeSingleSignOnEnded(t *testing.T) {
	for name, end := range map[string]func(f *fixture, ort string){
		"a revocation":     func(f *fixture, ort string) { f.revoke(ort) },
		"a logout":         func(f *fixture, _ string) { f.ok(f.CookiesExpired(f.Context(), "b", cookies("k1"), true)) },
		"the back channel": func(f *fixture, _ string) { f.ok(f.LoggedOut(f.Context(), logoutToken())) },
	} {
		for _, after := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprintf("%s %v later", name, after), func(t *testing.T) {
				inBubble(t, func(t *testing.T, f *fixture) {
					in := func(client string) login {
						return login{client: client, browser: "b", tells: user("alice", "sid-b", time.Now()), cookies: cookies("k1")}
					}
					ort := f.login(in("")).Token
					late := in("app-two")
					tx := f.begin(&late)
					time.Sleep(after)
					end(f, ort)
					_, err := f.redeem(&late, tx)
					f.refused(err, 400, ortengine.InvalidGrant, "The login that this authorization code came of has ended", "refused_ended")
				})
			})
		}
	}
}

// Another page of the browser gets renewed cookies while the code of this login is
// still under way: they die with the session all the same.
func TestRenewalWhileTheCodeIsUnderWayIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}
		tx := f.begin(&l)
		f.sets(cookies("k1"), cookies("left"))
		f.sets(cookies("k1"), cookies("right"))
		f.sets(cookies("right"), cookies("last"))
		f.sets(cookies("other"), cookies("stranger"))
		issued, err := f.redeem(&l, tx)
		f.ok(err)
		f.revoke(issued.Token)
		f.withheld([]string{"k1", "left", "right", "last", "other", "stranger"}, true, true, true, true, false, false)
	})
}

func TestRenewalsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}
		tx := f.begin(&l)
		f.sets(cookies("k1"), cookies("k2"))
		time.Sleep(10*time.Minute + time.Second) // no code lives as long
		issued, err := f.redeem(&l, tx)
		f.ok(err)
		f.revoke(issued.Token)
		f.withheld([]string{"k1", "k2"}, true, false)
	})
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1")}
		tx := f.begin(&l)
		f.sets(cookies("k1"), cookies("k2"))
		for i := range 10_000 { // of others: the oldest is forgotten
			f.sets(cookies(fmt.Sprint("other", i)), cookies("of another"))
		}
		issued, err := f.redeem(&l, tx)
		f.ok(err)
		f.revoke(issued.Token)
		f.withheld([]string{"k1", "k2"}, true, false)
	})
}

// The browser may have a login cookie that nobody knows for longer than its session
// would have lived.
func TestForcedLoginOutlivesTheSession(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.revoke(f.login(login{browser: "b", tells: user("alice", "sid", time.Now())}).Token)
		time.Sleep(399 * 24 * time.Hour)
		f.must("b", true)
		time.Sleep(2 * 24 * time.Hour)
		f.must("b", false)
	})
}

// A login whose request did not ask for an ORT is a login too.
func TestForcedLoginEndsByALoginWithoutAnORT(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.revoke(f.login(login{browser: "b", tells: user("alice", "sid", time.Now())}).Token)
		time.Sleep(time.Minute)
		f.ok(f.SawCode(f.Context(), "plain", "b", nil))
		f.LoggedIn(f.Context(), place, "plain", time.Now().Add(-time.Minute-time.Second)) // single sign-on slipped through
		f.LoggedIn(f.Context(), place, "unseen", time.Now())
		f.LoggedIn(f.Context(), "elsewhere", "plain", time.Now())
		f.must("b", true)
		f.LoggedIn(f.Context(), place, "plain", time.Now())
		f.must("b", false)
	})
}

// What can be read still counts where the store does not answer for the rest.
func TestDeadCookiesWhereTheStoreFails(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.revoke(f.login(login{browser: "b", tells: user("alice", "sid", time.Now()), cookies: cookies("k1", "k2")}).Token)
		f.store.damaged.Store(string(cookies("k1")[0]))
		got, err := f.DeadCookies(f.Context(), cookies("k1", "k2"))
		if err == nil || !slices.Equal(got, []bool{false, true}) {
			t.Errorf("dead cookies: %v %v", got, err)
		}
		f.store.damaged.Store("")
	})
}
