package ortengine_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// TestCode: the ORT says what it must, the session is durable, the end is told.
func TestCode(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		issued := f.login(login{client: "app-one", browser: "b", key: "jkt", tells: user("u", "s", time.Now().UTC())})
		o := f.open(issued.Token)
		want := ortengine.ORT{Issuer: issuer, Session: issued.Session.ID, Grant: o.Grant, Client: "app-one", Thumbprint: "jkt", Issued: time.Now().UTC()}
		if o != want {
			t.Errorf("got %+v, want %+v", o, want)
		}
		s, g, err := f.store.Store.Grant(t.Context(), o.Session, o.Grant)
		if err != nil {
			t.Fatal(err)
		}
		if g.Client != "app-one" || g.Issuer != issuer || g.Thumbprint != "jkt" || strings.Contains(string(g.Credential), "upstream-credential") {
			t.Errorf("got grant %+v", g)
		}
		if s.Place != place || !s.Idle.Equal(time.Now().Add(idle)) || !s.Absolute.Equal(time.Now().Add(absolute)) {
			t.Errorf("got session %+v", s)
		}
		if left, end := f.Left(&issued.Session); left != int64(idle/time.Second) || end != int64(absolute/time.Second) {
			t.Errorf("%d and %d seconds left", left, end)
		}
		for event, attribute := range map[string]string{"ort_issued": "session", "session_started": "session"} {
			if got := f.log.events(t, event, attribute); len(got) != 1 || got[0] != string(o.Session) {
				t.Errorf("audit event %s: %q", event, got)
			}
		}
		if f.counted("issued_total", "ok") != 1 {
			t.Error("not counted")
		}
	})
}

// TestCodeOtherClient: a code is its client's, and is not sent for another.
func TestCodeOtherClient(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		transaction := f.begin(&l)
		f.refused(f.CheckCode(&transaction, "app-two", goodVerifier, nil), 400, "invalid_grant", "The authorization code belongs to another client", "refused_client")
		if err := f.CheckCode(&transaction, "app-one", goodVerifier, nil); err != nil {
			t.Error(err)
		}
		if _, err := f.redeem(&l, transaction); err != nil {
			t.Error("the code was spoilt:", err)
		}
	})
}

// TestCodeSentOnce: a code whose exchange succeeded is never sent again, also
// where no ORT came of it; one that failed may be.
func TestCodeSentOnce(t *testing.T) {
	for name, l := range map[string]login{"ORT": {}, "no refresh token": {none: true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				transaction := f.begin(&l)
				f.idp.with(func(context.Context) error { return errDown }, nil)
				_, err := f.redeem(&l, transaction)
				f.refused(err, 503, "temporarily_unavailable", "The identity provider does not answer", "upstream_unavailable")
				f.idp.with(nil, nil)
				first, err := f.redeem(&l, transaction)
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					time.Sleep(3 * time.Minute)
					_, err = f.redeem(&l, transaction)
					f.refused(err, 400, "invalid_grant", "The authorization code was used already", "refused_code_used")
				}
				if _, _, repeated, _ := f.idp.counts(); repeated != 0 {
					t.Errorf("the upstream saw a code again")
				}
				if first.Token != "" {
					f.works(first.Token)
				}
			})
		})
	}
}

// TestCodeSentOnceConcurrently: one that comes meanwhile waits for the first, and
// gets no ORT.
func TestCodeSentOnceConcurrently(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{browser: "b"}
		transaction := f.begin(&l)
		f.idp.with(takes(5*time.Second), nil)
		began := time.Now()
		var mu sync.Mutex
		tokens := 0
		var wait sync.WaitGroup
		for range 16 {
			wait.Go(func() {
				issued, err := f.redeem(&l, transaction)
				if took := time.Since(began); took != 5*time.Second {
					t.Errorf("answered after %v", took)
				}
				if err == nil && issued.Token != "" {
					mu.Lock()
					tokens++
					mu.Unlock()
					return
				}
				f.refused(err, 400, "invalid_grant", "The authorization code was used already", "refused_code_used")
			})
		}
		wait.Wait()
		if _, _, repeated, _ := f.idp.counts(); tokens != 1 || repeated != 0 {
			t.Errorf("%d ORTs, %d repeated codes; want one, none", tokens, repeated)
		}
		f.active(1)
	})
}

// TestCodeUpstreamRefuses: an upstream error is returned unchanged, and the code
// may come again.
func TestCodeUpstreamRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for _, status := range []int{400, 401, 403, 429, 500, 503} {
			l := login{}
			transaction := f.begin(&l)
			f.idp.with(nil, answers(ortengine.Answer{Status: status, Error: "invalid_client", Reply: "as it came"}))
			issued, err := f.redeem(&l, transaction)
			if err != nil || issued.Token != "" || issued.Answer.Status != status || issued.Answer.Reply != "as it came" {
				t.Errorf("%d: got %+v, %v", status, issued, err)
			}
		}
		f.active(0)
		if got := f.counted("issued_total", "upstream_refused"); got != 6 {
			t.Errorf("counted %v", got)
		}
	})
}

// TestCodeUnknownVerifier: the upstream itself refuses a code of an ORT request
// that comes without the gateway's verifier.
func TestCodeUnknownVerifier(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		f.begin(&l)
		got, err := f.idp.redeem(l.code)(t.Context(), l.verifier)
		if err != nil || got.Status != 400 || got.Credential != "" {
			t.Errorf("the client's own verifier redeemed the code: %+v, %v", got, err)
		}
	})
}

// TestCodeNoRefreshToken: the answer passes, a warning names the likely setting,
// a metric counts it.
func TestCodeNoRefreshToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		issued := f.login(login{none: true, tells: user("u", "s", time.Time{})})
		if issued.Token != "" || issued.Answer.Status != 200 {
			t.Errorf("got %+v", issued)
		}
		f.active(0)
		if f.counted("issued_total", "none_no_refresh_token") != 1 || !strings.Contains(f.log.String(), "ORT_UPSTREAM_SCOPE") {
			t.Error("neither counted nor told")
		}
	})
}

// TestCodeLoginTooOld: a login past the absolute timeout gets no ORT.
func TestCodeLoginTooOld(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{tells: user("u", "s", time.Now().Add(-absolute))}
		issued, err := f.redeem(&l, f.begin(&l))
		if err != nil || issued.Token != "" || issued.Answer.Status != 200 {
			t.Errorf("got %+v, %v", issued, err)
		}
		if f.counted("issued_total", "none_login_too_old") != 1 {
			t.Error("not counted")
		}
		young := f.login(login{tells: user("u", "s", time.Now().Add(-absolute+time.Second))})
		if left, end := f.Left(&young.Session); left != 1 || end != 1 {
			t.Errorf("%d and %d seconds left, want one", left, end)
		}
	})
}

// TestCodeMalformed: a 200 that is no JSON object is 502, and the code is used.
func TestCodeMalformed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		transaction := f.begin(&l)
		f.idp.with(nil, func(_ context.Context, a *ortengine.Answer) error { a.Malformed = true; return nil })
		_, err := f.redeem(&l, transaction)
		f.refused(err, 502, "server_error", "The identity provider's answer is not a JSON object", "bad_answer")
		_, err = f.redeem(&l, transaction)
		f.refused(err, 400, "invalid_grant", "The authorization code was used already", "refused_code_used")
	})
}

// TestCodeClientLeaves: the exchange is seen through although the client left.
func TestCodeClientLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		transaction := f.begin(&l)
		f.idp.with(takes(5*time.Second), nil)
		ctx, leave := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			f.ExchangeCode(ctx, ortengine.CodeExchange{Transaction: transaction, Issuer: issuer, Client: l.client, Code: l.code, Send: f.idp.redeem(l.code)})
		})
		synctest.Wait()
		leave()
		wait.Wait()
		f.active(1)
		_, err := f.redeem(&l, transaction)
		f.refused(err, 400, "invalid_grant", "The authorization code was used already", "refused_code_used")
	})
}

// TestCodeLateAnswer: 503 after the time-out; nothing is counted twice.
func TestCodeLateAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		transaction := f.begin(&l)
		f.idp.with(takes(patience+time.Millisecond), nil)
		var second sync.WaitGroup
		second.Go(func() {
			time.Sleep(2 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			_, err := f.ExchangeCode(ctx, ortengine.CodeExchange{Transaction: transaction, Issuer: issuer, Client: l.client, Code: l.code, Send: f.idp.redeem(l.code)})
			f.refused(err, 400, "invalid_grant", "The authorization code was used already", "refused_code_used")
		})
		defer second.Wait()
		_, err := f.redeem(&l, transaction)
		f.refused(err, 503, "temporarily_unavailable", "The identity provider does not answer in time", "upstream_unavailable")
		f.CodeRefused(t.Context(), ortengine.AsError(err), l.client)
		time.Sleep(time.Minute)
		if ok, down := f.counted("issued_total", "ok"), f.counted("issued_total", "upstream_unavailable"); ok != 0 || down != 1 {
			t.Errorf("counted %v as issued, %v as unavailable; want 0, 1", ok, down)
		}
		if got := f.log.events(t, "ort_issued", "client"); len(got) != 0 {
			t.Error("an ORT that nobody got is told as issued")
		}
	})
}

// endBefore ends the browser's session by revocation, which ends single sign-on.
func endBefore(f *fixture, browser sessions.BrowserID) {
	f.Helper()
	o := f.open(f.login(login{browser: browser, tells: user("u", "s", time.Time{})}).Token)
	if err := f.Revoke(f.Context(), &o); err != nil {
		f.Fatal(err)
	}
}

// TestCodeEndedMeanwhile: a code that left the upstream before single sign-on
// ended in its browser is worth nothing. The redirect tells when it left; where
// none was seen, auth_time does, in whole seconds.
func TestCodeEndedMeanwhile(t *testing.T) {
	for _, row := range []struct {
		name    string
		unseen  bool
		before  time.Duration // the code's redirect before the end
		logged  time.Duration // auth_time before the end; negative: none
		after   time.Duration // the exchange after the end
		browser sessions.BrowserID
		refused bool
	}{
		{name: "redirect before", before: time.Millisecond, refused: true},
		{name: "redirect after", before: -time.Millisecond},
		{name: "redirect before, 10 minutes ago", before: time.Millisecond, after: 10 * time.Minute},
		{name: "redirect before, almost", before: time.Millisecond, after: 10*time.Minute - time.Millisecond, refused: true},
		{name: "another browser", before: time.Millisecond, browser: "other"},
		{name: "unseen, logged in before", unseen: true, logged: 2 * time.Second, refused: true},
		{name: "unseen, the second before", unseen: true, logged: time.Second, refused: true},
		{name: "unseen, within the second", unseen: true, logged: 0},
		{name: "unseen, logged in after", unseen: true, logged: -time.Second, after: time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				time.Sleep(time.Hour) // on the second
				if row.browser == "" {
					row.browser = "b"
				}
				l := login{browser: row.browser, unseen: true}
				if row.unseen {
					l.tells = user("u", "s2", time.Now().Add(-row.logged))
				}
				transaction := f.begin(&l)
				see := func() {
					if row.unseen {
						return
					}
					if err := f.SawCode(t.Context(), l.code, row.browser, nil); err != nil {
						t.Fatal(err)
					}
				}
				if row.before > 0 {
					see()
					time.Sleep(row.before)
				}
				endBefore(f, "b")
				if row.before < 0 {
					time.Sleep(-row.before)
					see()
				}
				time.Sleep(row.after)
				issued, err := f.redeem(&l, transaction)
				if row.refused {
					f.refused(err, 400, "invalid_grant", "The login that this authorization code came of has ended", "refused_ended")
					f.active(0)
				} else if err != nil || issued.Token == "" {
					t.Errorf("got %v, want an ORT", err)
				}
			})
		})
	}
}

// TestCodeEndedWhileUnderWay: a session that ends while the code is exchanged
// takes the new grant with it.
func TestCodeEndedWhileUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		tells := user("u", "s", time.Time{})
		ort := f.login(login{browser: "b", tells: tells}).Token
		o := f.open(ort)
		l := login{browser: "b", tells: tells}
		transaction := f.begin(&l)
		time.Sleep(time.Millisecond)
		// Between the choice of the session and its change.
		first := true
		f.store.before.Store(new(func() {
			if first {
				first = false
				if err := f.Revoke(t.Context(), &o); err != nil {
					t.Error(err)
				}
			}
		}))
		_, err := f.redeem(&l, transaction)
		f.refused(err, 400, "invalid_grant", "The login that this authorization code came of has ended", "refused_ended")
		f.active(0)
	})
}

var goodVerifier = strings.Repeat("v", 43)

// RFC 7636 section 4.1 and RFC 8707 section 2, at the code exchange.
func TestWhatACodeExchangeMayName(t *testing.T) {
	for _, row := range []struct {
		name      string
		allowed   []string
		asked     []string
		verifier  string
		audiences []string
		code      string // empty: it goes on
	}{
		{"nothing", nil, nil, goodVerifier, nil, ""},
		{"what was asked for", nil, []string{"urn:a", "urn:b"}, goodVerifier, []string{"urn:b"}, ""},
		{"what was not", nil, []string{"urn:a"}, goodVerifier, []string{"urn:a", "urn:b"}, ortengine.InvalidTarget},
		{"any, where none was", nil, nil, goodVerifier, []string{"urn:a"}, ortengine.InvalidTarget},
		{"what is listed", []string{"urn:a", "urn:b"}, []string{"urn:a"}, goodVerifier, []string{"urn:b"}, ""},
		{"the longest verifier", nil, nil, strings.Repeat("~", 128), nil, ""},
		{"a short verifier", nil, nil, goodVerifier[1:], nil, ortengine.InvalidGrant},
		{"a long verifier", nil, nil, strings.Repeat("v", 129), nil, ortengine.InvalidGrant},
		{"a reserved character", nil, nil, goodVerifier + "+", nil, ortengine.InvalidGrant},
	} {
		e := ortengine.Engine{Config: ortengine.Config{Policy: ortengine.Policy{Audiences: row.allowed}}}
		err := e.CheckCode(&sessions.Transaction{Client: "a", Audiences: row.asked}, "a", row.verifier, row.audiences)
		if row.code == "" && err == nil {
			continue
		}
		if got := ortengine.AsError(err); err == nil || got.Code != row.code || got.Status != 400 {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	e := ortengine.Engine{}
	if err := e.CheckCode(&sessions.Transaction{Client: "a", None: true}, "a", goodVerifier, []string{"urn:x"}); err != nil {
		t.Errorf("a transaction of no ORT: %v", err)
	}
}
