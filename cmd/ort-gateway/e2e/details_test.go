package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the gateway does not know of an answer passes as it is, in its order; only the refresh token and the scopes that the
// gateway asked for are gone, and the session members are added.
func TestAnswersKeepTheirMembers(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.login(t)
	const body = `{ "x_first": [1, 2.50, "\u00e9é"], "access_token":"at-%s", "refresh_token":"%s", "expires_in": 1e2, "token_type":"Bearer", "scope":"openid offline_access profile", "a":{"refresh_token":"inner"}, "last":null }`
	st.provider.fault(t, fault{Kind: "error", Status: 200, Body: fmt.Sprintf(body, random(12), random(32))})
	got, err := a.exchange()
	if err != nil || got.status != http.StatusOK {
		t.Fatalf("exchange: %v %v", got, err)
	}
	text := string(got.body)
	for _, part := range []string{`{ "x_first": [1, 2.50, "\u00e9é"], "access_token":"at-`, `"expires_in": 1e2, "token_type":"Bearer"`, `"a":{"refresh_token":"inner"}, "last":null`} {
		if !strings.Contains(text, part) {
			t.Errorf("the answer has lost %s: %s", part, text)
		}
	}
	if got.Scope != "openid profile" || got.RefreshToken != "" || got.Idle == nil {
		t.Errorf("the answer: %s", text)
	}
}

// While one refresh is stuck, no other of its grant is sent; all are told to come again, and none waits without end.
func TestExchangesBehindAStuckRefresh(t *testing.T) {
	st := startStack(t, setup{env: map[string]string{"ORT_UPSTREAM_TIMEOUT": "2s"}})
	a := st.app("app-one", nil)
	a.login(t)
	other := st.app("app-two", a.browser)
	other.login(t)
	calls := st.provider.seen(t).TokenCalls
	st.provider.fault(t, fault{Kind: "slow", Millis: 3000})
	began := time.Now()
	var wg sync.WaitGroup
	for range 10 {
		tab := *a
		wg.Go(func() {
			got, err := tab.exchange()
			if err != nil {
				t.Error(err)
			} else if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
				t.Errorf("an exchange behind a stuck one: %v", got)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("the exchanges were answered after %v", took)
	}
	if now := st.provider.seen(t).TokenCalls; now != calls+1 {
		t.Errorf("%d refreshes went upstream, want 1", now-calls)
	}
	other.works(t) // another grant of the session is not held up
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got, err := a.exchange()
		if err != nil {
			t.Fatal(err)
		}
		if got.status == http.StatusOK {
			break
		}
		if got.status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			t.Fatalf("after the stuck refresh: %v", got)
		}
	}
	if s := st.provider.seen(t); s.RevokedGrants > 0 {
		t.Error("the upstream saw a credential twice")
	}
}

func TestSilentAuthorization(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	back, err := a.authorize(a.authorizationRequest(url.Values{"prompt": {"none"}}))
	if err != nil || back.Get("error") != "login_required" {
		t.Fatalf("prompt=none without a login: %v %v", back, err)
	}
	a.login(t)
	for range 2 {
		a.loginWith(t, url.Values{"prompt": {"none"}})
		a.works(t)
	}
	// login_required ends nothing, although the upstream's login is gone.
	st.provider.endSessions(t, "alice")
	back, err = a.authorize(a.authorizationRequest(url.Values{"prompt": {"none"}}))
	if err != nil || back.Get("error") != "login_required" {
		t.Fatalf("prompt=none after the login: %v %v", back, err)
	}
}

func TestEventStreamsOfASessionAreBounded(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.login(t)
	for i := range 16 {
		if resp := a.sessionRequest(t, "/_ort/session/events"); resp.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %s", i+1, resp.Status)
		}
	}
	resp := a.sessionRequest(t, "/_ort/session/events")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("stream 17: %s", resp.Status)
	}
	if resp := a.sessionRequest(t, "/_ort/session"); resp.StatusCode != http.StatusOK {
		t.Errorf("the session endpoint beside the streams: %s", resp.Status)
	}
	// SIGTERM ends the streams, and the process does not wait for them.
	began := time.Now()
	if err := st.gateway.terminate(10 * time.Second); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("ending with open streams took %v: %v", time.Since(began), err)
	}
}

func TestSessionOfAnUnboundORT(t *testing.T) {
	st := startStack(t, setup{})
	web := st.app("web", nil)
	web.login(t)
	ask := func(scheme, ort string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, st.origin+"/_ort/session", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", scheme+" "+ort)
		resp, err := (&http.Client{Transport: st.http}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	if resp := ask("Bearer", web.ort); resp.StatusCode != http.StatusOK {
		t.Errorf("an unbound ORT as Bearer: %s", resp.Status)
	}
	bound := st.app("app-one", web.browser)
	bound.login(t)
	for _, c := range [][2]string{{"Bearer", bound.ort}, {"DPoP", bound.ort}, {"Bearer", "ORT1.x"}, {"Basic", "eDp5"}} {
		resp := ask(c[0], c[1])
		if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "DPoP ") {
			t.Errorf("%s: %s %q", c[0], resp.Status, resp.Header.Get("WWW-Authenticate"))
		}
	}
}

// An idle session ends by itself: its streams say so when it does.
func TestIdleSessionTellsItsEnd(t *testing.T) {
	st := startStack(t, setup{env: map[string]string{"ORT_SESSION_IDLE_TIMEOUT": "2s", "ORT_SESSION_ABSOLUTE_TIMEOUT": "4s"}})
	a := st.app("app-one", nil)
	a.login(t)
	began := time.Now()
	text := readAll(a.sessionRequest(t, "/_ort/session/events").Body)
	if took := time.Since(began); !strings.Contains(text, "event: ended") || took > 4*time.Second || took < time.Second {
		t.Errorf("after %v: %q", took, text)
	}
	a.dead(t)
	// Past the absolute timeout the upstream is asked for a new login.
	time.Sleep(time.Until(began.Add(5 * time.Second)))
	a.login(t)
	a.works(t)
	if a.browser.forms != 2 {
		t.Errorf("%d login forms, want 2: the first login is older than a session may be", a.browser.forms)
	}
}
