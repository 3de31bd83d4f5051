package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// An answer to a request that asked for online_access never carries the upstream's own refresh token, whatever happens
// to its transaction. The upstream issues one with every code; each stack's final check holds all answers against its list.

// eachUpstream runs a test over both identity providers.
func eachUpstream(t *testing.T, f func(t *testing.T, s setup)) {
	t.Run("oidc-provider", func(t *testing.T) { f(t, setup{}) })
	t.Run("demo's provider", func(t *testing.T) { f(t, setup{embedded: true}) })
}

func TestCodeOfAnExpiredTransactionIsWorthNothing(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		s.env = map[string]string{"ORT_LOGIN_TIMEOUT": "2s"}
		st := startStack(t, s)
		a := st.app("app-one", nil)
		code := a.code(t, nil)
		time.Sleep(2500 * time.Millisecond) // the gateway's own clock decides
		a.refused(t, code, a.lastVerifier)
		a.login(t) // the live login needs no form
		if a.browser.forms != 1 {
			t.Errorf("%d login forms, want 1", a.browser.forms)
		}
	})
}

func TestCodeOfAPushedOutTransactionIsWorthNothing(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		s.env = map[string]string{"ORT_MAX_TRANSACTIONS": "3"}
		st := startStack(t, s)
		a := st.app("app-one", nil)
		code, verifier := a.code(t, nil), a.lastVerifier
		for range 4 {
			a.code(t, nil)
		}
		a.refused(t, code, verifier)
		a.login(t)
	})
}

func TestCodeOfAnotherClientOrLoginIsWorthNothing(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		st := startStack(t, s)
		one := st.app("app-one", nil)
		two := st.app("app-two", one.browser)
		code, verifier := one.code(t, nil), one.lastVerifier
		two.refused(t, code, verifier)
		if got, err := one.redeem(code, verifier); err != nil || got.status != http.StatusOK {
			t.Errorf("a code that another client tried is not usable any more: %v %v", got, err)
		}
		two.refused(t, one.code(t, nil), random(32))

		first, second := one.code(t, nil), one.code(t, nil)
		other := st.app("app-one", nil)
		other.user = "bob"
		other.code(t, nil)
		one.refused(t, first, other.lastVerifier)
		one.refused(t, second, "")
		one.login(t)
	})
}

func TestCodeWhoseTransactionWasLostIsWorthNothing(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		s.env = map[string]string{"ORT_SEALING_KEYS": keyA}
		st := startStack(t, s)
		a := st.app("app-one", nil)
		code := a.code(t, nil)
		st.gateway.kill()
		if err := os.Remove(st.database()); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		st.startGateway()
		a.refused(t, code, a.lastVerifier)
		a.login(t)
	})
}

const (
	keyA = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	keyB = "b:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
)

func TestSealingKeyChangesBetweenAuthorizationAndCode(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		s.env = map[string]string{"ORT_SEALING_KEYS": keyA}
		st := startStack(t, s)
		old := st.app("app-one", nil)
		old.login(t)
		a := st.app("app-two", nil)
		first, verifier := a.code(t, nil), a.lastVerifier
		st.restart(map[string]string{"ORT_SEALING_KEYS": keyB + "," + keyA}) // rotated: all goes on
		got, err := a.redeem(first, verifier)
		if err != nil || got.status != http.StatusOK {
			t.Fatalf("a code exchange after the rotation: %v %v", got, err)
		}
		old.works(t)
		second, verifier := a.code(t, nil), a.lastVerifier
		st.restart(map[string]string{"ORT_SEALING_KEYS": keyB}) // the old key is gone
		old.dead(t)
		if got, err = a.redeem(second, verifier); err != nil || got.status != http.StatusOK {
			t.Fatalf("a code exchange under the key that stayed: %v %v", got, err)
		}
		third, verifier := a.code(t, nil), a.lastVerifier
		st.restart(map[string]string{"ORT_SEALING_KEYS": keyA}) // the transaction's key is gone
		a.refused(t, third, verifier)
	})
}

func TestSecondCodeForTheSameChallengeGetsAnORT(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		st := startStack(t, s)
		a := st.app("app-one", nil)
		q := a.authorizationRequest(nil)
		for i := range 2 {
			back, err := a.authorize(q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.redeem(back.Get("code"), a.lastVerifier)
			if err != nil || got.status != http.StatusOK {
				t.Fatalf("code %d of one login URL: %v %v", i+1, got, err)
			}
			a.ort = got.RefreshToken
			a.works(t)
		}
	})
}

// The first request for a challenge stands: one with other values gets 400, and nothing of it reaches the upstream.
func TestSameChallengeWithOtherValuesIsRefused(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	q := a.authorizationRequest(nil)
	if back, err := a.authorize(q); err != nil || back.Get("code") == "" {
		t.Fatalf("authorizing: %v %v", back, err)
	}
	again := func(name, value string) {
		t.Helper()
		changed := maps.Clone(q)
		changed.Set(name, value)
		if back, err := a.authorize(changed); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("the same challenge with another %s: %v %v, want 400", name, back, err)
		}
	}
	again("scope", q.Get("scope")+" email")
	again("resource", "https://one.api.test")
	again("dpop_jkt", a.key.Thumbprint())
	again("client_id", "app-two")
}

// An answer that the client never got costs it nothing: the exchange is seen through, and the next one works although
// the upstream ends a grant whose credential comes twice.
func TestExchangeWhoseClientLeftIsSeenThrough(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.login(t)
	for range 3 {
		a.leave(t, a.refreshForm(nil))
		a.works(t)
	}
	code, verifier := a.code(t, nil), a.lastVerifier
	a.leave(t, a.codeForm(code, verifier))
	calls := st.provider.seen(t).TokenCalls
	a.refused(t, code, verifier) // waits for the first, and is never sent upstream
	if now := st.provider.seen(t).TokenCalls; now != calls {
		t.Errorf("a code that was exchanged went upstream again")
	}
	a.works(t)
}

// leave sends a token request and goes away while the upstream works on it.
func (a *app) leave(t *testing.T, form url.Values) {
	t.Helper()
	p := a.st.provider
	calls := p.seen(t).TokenCalls
	p.fault(t, fault{Kind: "slow", Millis: 300})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		got, err := a.tokenContext(ctx, form)
		if err == nil {
			err = fmt.Errorf("the client was to leave, but got %v", got)
		} else {
			err = nil
		}
		done <- err
	}()
	p.awaitTokenCall(t, calls)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A connection that breaks in place of the upstream's answer is no end of anything by itself.
func TestAnswerOfTheUpstreamIsLost(t *testing.T) {
	st := startStack(t, setup{provider: providerConfig{Reuse: "unacknowledged"}})
	a := st.app("app-one", nil)
	a.login(t)
	st.provider.fault(t, fault{Kind: "lost"})
	a.unavailable(t)
	a.works(t)
	calls := st.provider.seen(t).TokenCalls
	st.provider.fault(t, fault{Kind: "lost"})
	code, verifier := a.code(t, nil), a.lastVerifier
	got, err := a.redeem(code, verifier)
	if err != nil || got.status != http.StatusServiceUnavailable {
		t.Errorf("a code exchange whose answer was lost: %v %v", got, err)
	}
	if now := st.provider.seen(t).TokenCalls; now != calls+1 {
		t.Errorf("a code was sent upstream %d times, want once", now-calls)
	}
	a.works(t)
}

// codeForm is the code exchange's form.
func (a *app) codeForm(code, verifier string) url.Values {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {a.redirectURI}}
	if verifier != "" {
		form.Set("code_verifier", verifier)
	}
	return form
}

// refused fails the test where a code exchange does anything but refuse with invalid_grant. A request without a verifier
// is invalid for some upstreams.
func (a *app) refused(t *testing.T, code, verifier string) {
	t.Helper()
	got, err := a.redeem(code, verifier)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != http.StatusBadRequest || got.Error != "invalid_grant" && (verifier != "" || got.Error != "invalid_request") {
		t.Errorf("code exchange: %v, want invalid_grant", got)
	}
}

// unavailable fails the test where an exchange is not answered with 503 and Retry-After.
func (a *app) unavailable(t *testing.T) {
	t.Helper()
	got, err := a.exchange()
	if err != nil {
		t.Fatal(err)
	}
	if got.status != http.StatusServiceUnavailable || got.Error != "temporarily_unavailable" || got.header.Get("Retry-After") == "" {
		t.Errorf("exchange: %v (Retry-After %q), want 503 temporarily_unavailable", got, got.header.Get("Retry-After"))
	}
}
