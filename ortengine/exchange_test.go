package ortengine_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// TestExchange: the upstream's answer comes back, its new credential is kept, and
// the ORT stays the same.
func TestExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{key: "jkt"}).Token
		for range 5 {
			f.works(ort)
		}
		if _, reused, _, _ := f.idp.counts(); reused != 0 {
			t.Errorf("%d refresh tokens came to the upstream twice", reused)
		}
		f.active(1)
	})
}

// TestExchangeUnknown: an ORT of a session that is not there is dead.
func TestExchangeUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		o := f.open(f.login(login{}).Token)
		o.Session = sessions.NewID()
		_, err := f.Exchange(t.Context(), ortengine.Exchange{ORT: o, Send: f.idp.refresh})
		f.refused(err, 400, "invalid_grant", "Unknown or invalid refresh token: its session is unknown", "unknown_session")

		o = f.open(f.login(login{}).Token)
		o.Grant = sessions.NewGrantID()
		_, err = f.Exchange(t.Context(), ortengine.Exchange{ORT: o, Send: f.idp.refresh})
		f.refused(err, 400, "invalid_grant", "Unknown or invalid refresh token: its grant ended", "ended")
		if calls, _, _, _ := f.idp.counts(); calls != 2 { // the code exchanges
			t.Error("a dead ORT reached the upstream")
		}
	})
}

// TestExchangeOtherClient: RFC 6749 section 6, a refresh token is its client's.
func TestExchangeOtherClient(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		o := f.open(f.login(login{}).Token)
		if err := f.CheckClient(&o, "app-one"); err != nil {
			t.Error(err)
		}
		for _, other := range []string{"", "app-two", "app-one "} {
			f.refused(f.CheckClient(&o, other), 400, "invalid_grant", "Unknown or invalid refresh token", "wrong_client")
		}
	})
}

// TestExchangeKeyGone: an ORT whose sealing key was taken away is dead; one whose
// key only stopped sealing works.
func TestExchangeKeyGone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		next := seal.NewKey()
		f.seals(next, f.key)
		f.works(ort)
		f.seals(next)
		if _, err := f.Open(ort); err == nil {
			t.Error("an ORT opened whose key is gone")
		}
		f.dead(ort, "it was not issued here, or its sealing key is gone", "invalid_token")
	})
}

// TestExchangeIdle: a session lives ORT_SESSION_IDLE_TIMEOUT from its last
// exchange, and not a moment longer.
func TestExchangeIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		for range 3 {
			time.Sleep(idle - time.Millisecond)
			f.works(ort)
		}
		time.Sleep(idle)
		f.dead(ort, "the session was idle for too long", "idle")
		f.dead(ort, "the session was idle for too long", "idle")
		if got := f.counted("sessions_ended_total", "idle"); got != 1 {
			t.Errorf("the end was counted %v times, want once", got)
		}
		if got := f.log.events(t, "session_ended", "reason"); len(got) != 1 || got[0] != "idle" {
			t.Errorf("audit events %q, want one end for idle", got)
		}
	})
}

// TestExchangeAbsolute: exchanges keep a session alive until its absolute
// deadline, never past it.
func TestExchangeAbsolute(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		start := time.Now()
		ort := f.login(login{}).Token
		for time.Since(start) < absolute-idle/2 {
			time.Sleep(idle / 2)
			done := f.works(ort)
			left, end := f.Left(&done.Session)
			if left > end {
				t.Fatalf("%v after the start: idle deadline in %d s, absolute in %d s", time.Since(start), left, end)
			}
			if want := int64((absolute - time.Since(start)) / time.Second); end != want {
				t.Fatalf("session_expires_in %d, want %d", end, want)
			}
			if want := int64(min(idle, absolute-time.Since(start)) / time.Second); left != want {
				t.Fatalf("session_idle_expires_in %d, want %d", left, want)
			}
		}
		time.Sleep(time.Until(start.Add(absolute)))
		f.dead(ort, "the session reached its maximum age", "absolute")
		if got := f.counted("sessions_ended_total", "absolute"); got != 1 {
			t.Errorf("the end was counted %v times, want once", got)
		}
	})
}

// TestExchangeSlidesAfterSuccess: only a success of the upstream moves the idle
// deadline, and a look at the session never does.
func TestExchangeSlidesAfterSuccess(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		o := f.open(ort)
		deadline := func() time.Time {
			s, err := f.Status(t.Context(), &o)
			if err != nil {
				t.Fatal(err)
			}
			return s.Idle
		}
		before := deadline()
		for name, answer := range map[string]ortengine.Answer{
			"4xx":       refusal("invalid_scope"),
			"5xx":       {Status: 502},
			"malformed": {Status: 200, Malformed: true},
		} {
			time.Sleep(time.Minute)
			f.idp.with(nil, answers(answer))
			f.use(ort)
			if got := deadline(); !got.Equal(before) {
				t.Errorf("%s: the idle deadline moved by %v", name, got.Sub(before))
			}
		}
		f.idp.with(nil, func(context.Context, *ortengine.Answer) error { return errDown })
		f.use(ort)
		if got := deadline(); !got.Equal(before) {
			t.Errorf("network error: the idle deadline moved by %v", got.Sub(before))
		}
	})
}

// TestExchangeAudience: an audience of the authorization request, or a listed
// one, passes; any other never reaches the upstream.
func TestExchangeAudience(t *testing.T) {
	for _, row := range []struct {
		name          string
		asked, listed []string
		exchange      []string
		ok            bool
	}{
		{"none", nil, nil, nil, true},
		{"none of those asked", []string{"a"}, nil, nil, true},
		{"as asked", []string{"a", "b"}, nil, []string{"b"}, true},
		{"beyond, nothing listed", []string{"a"}, nil, []string{"a", "b"}, false},
		{"nothing asked, nothing listed", nil, nil, []string{"a"}, false},
		{"beyond, listed", []string{"a"}, []string{"a", "b"}, []string{"b"}, true},
		{"beyond, not listed", []string{"a"}, []string{"a", "b"}, []string{"c"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, func(c *ortengine.Config) { c.Policy.Audiences = row.listed })
				o := f.open(f.login(login{asked: func(a *ortengine.Authorization) { a.Audiences = row.asked }}).Token)
				_, err := f.Exchange(t.Context(), ortengine.Exchange{ORT: o, Audiences: row.exchange, Send: f.idp.refresh})
				if row.ok && err != nil {
					t.Fatal(err)
				}
				if !row.ok {
					f.refused(err, 400, "invalid_target", "audience or resource", "invalid_target")
				}
				if calls, _, _, _ := f.idp.counts(); (calls == 2) != row.ok {
					t.Errorf("%d calls of the upstream", calls)
				}
			})
		})
	}
}

// TestExchangeOrder: a check further down the table is not reached where one
// above refuses.
func TestExchangeOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		o := f.open(ort)
		other := ortengine.Exchange{ORT: o, Audiences: []string{"https://api.example"}, Send: f.idp.refresh}

		// A wrong audience is told while another exchange is still waiting for the upstream.
		f.idp.with(takes(patience/2), nil)
		var wait sync.WaitGroup
		wait.Go(func() { f.works(ort) })
		synctest.Wait()
		began := time.Now()
		_, err := f.Exchange(t.Context(), other)
		f.refused(err, 400, "invalid_target", "", "invalid_target")
		if took := time.Since(began); took != 0 {
			t.Errorf("a wrong audience waited %v for another exchange", took)
		}
		wait.Wait()

		// A dead session comes before the audience.
		if err := f.Revoke(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
		_, err = f.Exchange(t.Context(), other)
		f.refused(err, 400, "invalid_grant", "Unknown or invalid refresh token: the session ended by revocation", "ended")
	})
}

// TestExchangeUpstreamDown: a network error, a time-out or a 5xx is 503 and ends
// nothing.
func TestExchangeUpstreamDown(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(func(context.Context) error { return errDown }, nil)
		_, err := f.use(ort)
		f.refused(err, 503, "temporarily_unavailable", "The identity provider does not answer", "upstream_unavailable")
		for _, status := range []int{500, 502, 503, 504, 302, 204} {
			f.idp.with(func(context.Context) error { return nil }, nil)
			_, err := f.Exchange(t.Context(), ortengine.Exchange{ORT: f.open(ort), Send: func(context.Context, string) (ortengine.Answer, error) {
				return ortengine.Answer{Status: status, Error: "invalid_grant"}, nil
			}})
			f.refused(err, 503, "temporarily_unavailable", "The identity provider", "upstream_unavailable")
		}
		f.works(ort)
		f.active(1)
	})
}

// TestExchangeUpstreamRefuses: a 4xx of the upstream passes and ends nothing.
func TestExchangeUpstreamRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		for code, status := range map[string]int{"invalid_scope": 400, "invalid_client": 401, "": 429, "login_required": 400} {
			done, err := f.Exchange(t.Context(), ortengine.Exchange{ORT: f.open(ort), Send: func(context.Context, string) (ortengine.Answer, error) {
				return ortengine.Answer{Status: status, Error: code, Reply: "as it came"}, nil
			}})
			if err != nil || done.Answer.Status != status || done.Answer.Reply != "as it came" {
				t.Errorf("%d %s: got %+v, %v; want the upstream's answer", status, code, done.Answer, err)
			}
		}
		f.works(ort)
	})
}

// TestExchangeInvalidGrant: the upstream's invalid_grant ends this grant only,
// and the session with its last.
func TestExchangeInvalidGrant(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		one := f.login(login{client: "app-one", browser: "b", tells: user("u", "s", time.Time{})}).Token
		two := f.login(login{client: "app-two", browser: "b", tells: user("u", "s", time.Time{})}).Token
		f.idp.with(nil, answers(refusal("invalid_grant")))
		f.dead(one, "the identity provider ended this grant", "upstream_invalid_grant")
		f.idp.with(nil, nil)
		f.dead(one, "its grant ended", "ended")
		f.works(two)
		f.active(1)
		f.idp.with(nil, answers(refusal("invalid_grant")))
		f.dead(two, "the identity provider ended this grant", "upstream_invalid_grant")
		f.active(0)
		f.dead(two, "the session ended", "ended")
		if got := f.log.events(t, "session_ended", "reason"); len(got) != 1 || got[0] != "grants_ended" {
			t.Errorf("audit events %q, want one end with the last grant", got)
		}
	})
}

// TestExchangeMalformed: a 200 that is not one JSON object is 502; a credential
// that can be read from it is kept.
func TestExchangeMalformed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ort := f.login(login{}).Token
		f.idp.with(nil, func(_ context.Context, a *ortengine.Answer) error {
			a.Malformed = true
			return nil
		})
		_, err := f.use(ort)
		f.refused(err, 502, "server_error", "The identity provider's answer is not a JSON object", "bad_answer")
		f.idp.with(nil, nil)
		f.works(ort)
		if _, reused, _, _ := f.idp.counts(); reused != 0 {
			t.Error("the credential of a malformed answer was lost")
		}
	})
}

// TestExchangeUnrotated: an upstream that does not rotate keeps its credential.
func TestExchangeUnrotated(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		o := f.open(f.login(login{}).Token)
		var seen atomic.Value
		for range 3 {
			_, err := f.Exchange(t.Context(), ortengine.Exchange{ORT: o, Send: func(_ context.Context, credential string) (ortengine.Answer, error) {
				if before := seen.Swap(credential); before != nil && before != credential {
					t.Errorf("the credential changed from %v to %s", before, credential)
				}
				return ortengine.Answer{Status: 200}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestExchangeMoved: a sealed credential opens in its own grant alone.
func TestExchangeMoved(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		mine, yours := f.login(login{}).Token, f.login(login{}).Token
		m, y := f.open(mine), f.open(yours)
		_, stolen, err := f.store.Store.Grant(t.Context(), y.Session, y.Grant)
		if err != nil {
			t.Fatal(err)
		}
		err = f.store.Update(t.Context(), m.Session, nil, func(d *sessions.Draft) error {
			g, _ := d.Grant(m.Grant)
			g.Credential = stolen.Credential
			d.Put(g)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		f.dead(mine, "the key of its credential is gone", "invalid_token")
	})
}
