package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Two apps of one browser that start at the same time, so that each was given a browser cookie of its own, are one session.
func TestAppsThatStartAtOnceShareTheSession(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		st := startStack(t, s)
		b := st.browser()
		one, two := st.app("app-one", b), st.app("app-two", b)
		// Both requests leave before either answer has come.
		first := one.sendWithoutCookies(t, one.authorizationRequest(nil))
		second := two.sendWithoutCookies(t, two.authorizationRequest(nil))
		for _, a := range []struct {
			app  *app
			resp *http.Response
		}{{one, first}, {two, second}} {
			b.Jar.SetCookies(a.resp.Request.URL, a.resp.Cookies())
		}
		for _, a := range []struct {
			app  *app
			resp *http.Response
		}{{one, first}, {two, second}} {
			to, err := a.resp.Location()
			if err != nil {
				t.Fatal(err)
			}
			back, err := a.app.walk(to.String())
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.app.redeem(back.Get("code"), a.app.lastVerifier)
			if err != nil || got.RefreshToken == "" {
				t.Fatalf("code exchange: %v %v", got, err)
			}
			a.app.ort = got.RefreshToken
		}
		two.works(t)
		if got, err := one.revoke(); err != nil || got.status != http.StatusOK {
			t.Fatalf("revocation: %v %v", got, err)
		}
		two.dead(t)
	})
}

// sendWithoutCookies sends an authorization request as a browser that has no cookies yet.
func (a *app) sendWithoutCookies(t *testing.T, q url.Values) *http.Response {
	t.Helper()
	fresh := a.st.browser()
	resp, err := fresh.Get(a.st.metadata.Authorization + "?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, c := range resp.Cookies() {
		if !strings.HasPrefix(c.Name, "_interaction") && len(c.Value) > 16 {
			a.st.secret(c.Value)
		}
	}
	return resp
}

// Other browsers of the same user are other sessions.
func TestOtherBrowserIsAnotherSession(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		st := startStack(t, s)
		here, there := st.app("app-one", nil), st.app("app-one", nil)
		here.login(t)
		there.login(t)
		if got, err := here.revoke(); err != nil || got.status != http.StatusOK {
			t.Fatalf("revocation: %v %v", got, err)
		}
		here.dead(t)
		there.works(t)
	})
}

func TestAnotherUserEndsTheFormerSession(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		st := startStack(t, s)
		a := st.app("app-one", nil)
		a.login(t)
		beside := st.app("app-two", a.browser)
		beside.login(t)
		next := st.app("app-one", a.browser)
		next.user = "bob"
		next.loginWith(t, url.Values{"prompt": {"login"}})
		next.works(t)
		a.dead(t)
		beside.dead(t)
	})
}

// Each page load of an app that keeps its tokens in memory makes a grant; the 33rd ends the one used longest ago.
func TestClientHoldsThirtyTwoGrants(t *testing.T) {
	st := startStack(t, setup{})
	b := st.browser()
	var pages []*app
	for range 33 {
		page := st.app("app-one", b)
		page.login(t)
		pages = append(pages, page)
	}
	pages[0].dead(t)
	pages[1].works(t)
	pages[32].works(t)
}

// A code that is sent twice at once goes upstream once: the second waits for the first and is refused, nothing else ends.
func TestCodeSentTwiceAtOnce(t *testing.T) {
	eachUpstream(t, func(t *testing.T, s setup) {
		st := startStack(t, s)
		a := st.app("app-one", nil)
		a.login(t)
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
			switch {
			case got.status == http.StatusOK:
				good++
				a.ort = got.RefreshToken
			case got.Error != "invalid_grant":
				t.Errorf("a code that came meanwhile: %v", got)
			}
		}
		if good != 1 {
			t.Errorf("%d of the exchanges of one code succeeded, want 1", good)
		}
		a.works(t)
	})
}

func TestConfidentialClientMustAuthenticate(t *testing.T) {
	st := startStack(t, setup{})
	web := st.app("web", nil)
	code := web.code(t, nil)
	wrong := *web
	wrong.secret = "wrong-" + random(12)
	st.secret(wrong.secret)
	if got, err := wrong.redeem(code, web.lastVerifier); err != nil || got.status != http.StatusUnauthorized || got.Error != "invalid_client" {
		t.Errorf("code exchange with a wrong secret: %v %v", got, err)
	}
	web.login(t)
	wrong.ort = web.ort
	if got, err := wrong.exchange(); err != nil || got.status != http.StatusUnauthorized || got.Error != "invalid_client" {
		t.Errorf("exchange with a wrong secret: %v %v", got, err)
	}
	if got, err := wrong.revoke(); err != nil || got.status != http.StatusUnauthorized {
		t.Errorf("revocation with a wrong secret: %v %v", got, err)
	}
	none := *web
	none.secret = ""
	calls := st.provider.seen(t).TokenCalls
	if got, err := none.exchange(); err != nil || got.status != http.StatusUnauthorized || got.Error != "invalid_client" {
		t.Errorf("exchange without authentication: %v %v", got, err)
	}
	if now := st.provider.seen(t).TokenCalls; now != calls {
		t.Error("an exchange without authentication reached the upstream")
	}
	if got, err := none.revoke(); err != nil || got.status != http.StatusUnauthorized {
		t.Errorf("revocation without authentication: %v %v", got, err)
	}
	web.works(t)
	// An ORT that is bound to a key asks for it although the client authenticates itself.
	bound := st.app("web", nil)
	bound.key = newProofKey()
	bound.login(t)
	bound.key = newProofKey()
	if got, err := bound.exchange(); err != nil || got.Error != "invalid_dpop_proof" {
		t.Errorf("exchange of a bound ORT by another key: %v %v", got, err)
	}
	bound.key = nil
	if got, err := bound.exchange(); err != nil || got.Error != "invalid_dpop_proof" {
		t.Errorf("exchange of a bound ORT without a proof: %v %v", got, err)
	}
}
