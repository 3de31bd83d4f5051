package e2e

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Keycloak gives a refresh token with every code. The check at each stack's end holds all answers against those issued.

func keycloakLostTransactions(t *testing.T, kc *keycloak) {
	st := kc.stack(t, map[string]string{"ORT_SEALING_KEYS": keyA})
	a := st.app("spa", nil)
	code, verifier := a.code(t, nil), a.lastVerifier
	st.gateway.kill()
	if err := os.Remove(st.database()); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	st.startGateway()
	a.refused(t, code, verifier)
	a.login(t)
	other := st.app("spa2", a.browser)
	rotated, rotatedVerifier := other.code(t, nil), other.lastVerifier
	code, verifier = a.code(t, nil), a.lastVerifier
	st.restart(map[string]string{"ORT_SEALING_KEYS": keyB + "," + keyA})
	if got, err := other.redeem(rotated, rotatedVerifier); err != nil || !strings.HasPrefix(got.RefreshToken, "ORT1.") {
		t.Errorf("a code exchange after the rotation of keys: %v %v", got, err)
	}
	a.works(t)
	st.restart(map[string]string{"ORT_SEALING_KEYS": keyB})
	a.refused(t, code, verifier) // the transaction's key is gone
	a.dead(t)
	a.login(t)
	if a.browser.forms != 1 {
		t.Errorf("%d login forms, want 1", a.browser.forms)
	}
}

func keycloakPushedOut(t *testing.T, kc *keycloak) {
	st := kc.stack(t, map[string]string{"ORT_MAX_TRANSACTIONS": "3"})
	a := st.app("spa", nil)
	code, verifier := a.code(t, nil), a.lastVerifier
	for range 4 {
		a.code(t, nil)
	}
	a.refused(t, code, verifier)
	a.login(t)
	st.restart(map[string]string{"ORT_MAX_TRANSACTIONS": "100", "ORT_LOGIN_TIMEOUT": "2s"})
	code, verifier = a.code(t, nil), a.lastVerifier
	time.Sleep(2500 * time.Millisecond) // the gateway's own clock decides
	a.refused(t, code, verifier)
	a.login(t)
	a.works(t)
}

func keycloakForeignCodes(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	one := st.app("spa", nil)
	two := st.app("spa2", one.browser)
	code, verifier := one.code(t, nil), one.lastVerifier
	two.refused(t, code, verifier)
	if got, err := one.redeem(code, verifier); err != nil || got.status != http.StatusOK {
		t.Errorf("a code that another client tried is not usable any more: %v %v", got, err)
	}
	two.refused(t, one.code(t, nil), random(32))
	first, second, third := one.code(t, nil), one.code(t, nil), one.code(t, nil)
	bob := st.app("spa", nil)
	bob.user = "bob"
	bob.code(t, nil)
	one.refused(t, first, bob.lastVerifier)
	one.refused(t, second, "")
	one.refused(t, third, random(32))
	one.login(t)
}

// Two codes of one login URL are two grants; a code of a request without online_access is worth nothing with the challenge
// of one that asked for it.
func keycloakSameChallenge(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	a := st.app("spa", nil)
	q := a.authorizationRequest(nil)
	var pages []*app
	for i := range 2 {
		back, err := a.authorize(q)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.redeem(back.Get("code"), a.lastVerifier)
		if err != nil || !strings.HasPrefix(got.RefreshToken, "ORT1.") {
			t.Fatalf("code %d of one login URL: %v %v", i+1, got, err)
		}
		page := *a
		page.ort = got.RefreshToken
		pages = append(pages, &page)
	}
	plain := maps.Clone(q)
	plain.Set("scope", "openid")
	back, err := a.authorize(plain)
	if err != nil {
		t.Fatal(err)
	}
	a.refused(t, back.Get("code"), a.lastVerifier)
	back, err = a.authorize(q)
	if err != nil {
		t.Fatal(err)
	}
	a.refused(t, back.Get("code"), "")
	for _, page := range pages {
		page.works(t)
	}
}

// Keycloak starts a login again from its own cookie KC_RESTART, without the gateway seeing an authorization request.
func keycloakRestartedLogin(t *testing.T, kc *keycloak) {
	st := kc.stack(t, map[string]string{"ORT_SEALING_KEYS": keyA})
	// begin shows the login page of a request.
	begin := func(a *app, q url.Values) func() string {
		t.Helper()
		resp, err := a.browser.Get(st.metadata.Authorization + "?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for _, c := range resp.Cookies() {
			st.secret(c.Value)
		}
		form, ok := parseForm(readAll(resp.Body))
		if !ok {
			t.Fatalf("no login form: %s", resp.Status)
		}
		// The rest posts that page after Keycloak's own memory of the login was lost.
		return func() string {
			t.Helper()
			forgetCookies(t, st, a.browser, func(name string) bool { return strings.HasPrefix(name, "AUTH_SESSION_ID") })
			form.fill(a.user, a.user+"-pass")
			req, err := http.NewRequest(http.MethodPost, form.action, strings.NewReader(form.values.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			before := a.browser.forms
			back, err := a.walkFrom(req)
			if err != nil || back.Get("code") == "" {
				t.Fatalf("the restarted login: %v %v", back, err)
			}
			if a.browser.forms == before {
				t.Fatal("Keycloak did not start the login again")
			}
			st.secret(back.Get("code"))
			return back.Get("code")
		}
	}
	a := st.app("spa", nil)
	code := begin(a, a.authorizationRequest(nil))()
	got, err := a.redeem(code, a.lastVerifier)
	if err != nil || !strings.HasPrefix(got.RefreshToken, "ORT1.") {
		t.Fatalf("code of a restarted login: %v %v", got, err)
	}
	a.ort = got.RefreshToken
	a.works(t)

	// Two logins were open in one browser, the cookie is of the later one: neither code is worth anything to the earlier.
	for _, scopes := range [][2]string{{"openid online_access", "openid"}, {"openid", "openid online_access"}} {
		b := st.app("spa", nil)
		earlier := b.authorizationRequest(url.Values{"scope": {scopes[0]}})
		verifier := b.lastVerifier
		restart := begin(b, earlier)
		begin(b, b.authorizationRequest(url.Values{"scope": {scopes[1]}}))
		b.refused(t, restart(), verifier)
	}

	// And the transaction was lost as well.
	c := st.app("spa", nil)
	restart := begin(c, c.authorizationRequest(nil))
	st.gateway.kill()
	if err := os.Remove(st.database()); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	st.startGateway()
	c.refused(t, restart(), c.lastVerifier)
	c.login(t)
	c.works(t)
}

// Keycloak ends the client's tokens when a code comes twice: it never does.
func keycloakCodeTwice(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	a := st.app("spa", nil)
	code, verifier := a.code(t, nil), a.lastVerifier
	var wg sync.WaitGroup
	answers := make([]*answer, 8)
	for i := range answers {
		tab := *a
		wg.Go(func() {
			got, err := tab.redeem(code, verifier)
			if err != nil {
				t.Error(err)
				got = &answer{}
			}
			answers[i] = got
		})
	}
	wg.Wait()
	good := 0
	for _, got := range answers {
		if got.status == http.StatusOK {
			good++
			a.ort = got.RefreshToken
		} else if got.Error != "invalid_grant" {
			t.Errorf("a code that came meanwhile: %v", got)
		}
	}
	if good != 1 {
		t.Fatalf("%d exchanges of one code succeeded, want 1", good)
	}
	a.works(t)
	calls := len(st.rec.tokenCalls())
	a.refused(t, code, verifier)
	a.refused(t, code, random(32))
	a.refused(t, code, "")
	st.app("spa2", nil).refused(t, code, verifier)
	st.app("web", nil).refused(t, code, random(32))
	if now := len(st.rec.tokenCalls()); now != calls {
		t.Errorf("a code that was exchanged went up %d times more", now-calls)
	}
	a.works(t)
	st.restart(nil)
	a.refused(t, code, verifier)
	a.works(t)
}

// An answer that never came ends nothing, and what comes again is never answered with Keycloak's token.
func keycloakLostAnswers(t *testing.T, kc *keycloak) {
	st := kc.stack(t, nil)
	a := st.app("spa", nil)
	a.login(t)
	st.rec.loseAnswers(2)
	a.unavailable(t)
	a.unavailable(t)
	a.works(t)
	st.rec.loseAnswers(1)
	code, verifier := a.code(t, nil), a.lastVerifier
	got, err := a.redeem(code, verifier)
	if err != nil || got.status != http.StatusServiceUnavailable {
		t.Errorf("a code exchange whose answer was lost: %v %v", got, err)
	}
	a.works(t)
	a.login(t)
	a.works(t)
}
