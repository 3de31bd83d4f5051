package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// How sessions end, by the scripted client, over each identity provider. one and two are clients of two apps.
var ends = []struct {
	name string
	test func(t *testing.T, st *stack, one, two string)
}{
	{"revocation ends single sign-on", revocationEndsSignOn},
	{"logout with a hint ends every app", logoutWithHint},
	{"a confirmed logout ends every app, a declined one nothing", logoutWithoutHint},
	{"somebody else's hint ends nothing", logoutByForeignHint},
	{"a forged link ends nothing", logoutByForgedLink},
	{"revoke, then log out", revokeThenLogOut},
	{"an ORT posted to the end-session endpoint", ortAtEndSession},
	{"a renewal in flight when the session ends is dead", renewalInFlight},
	{"a logout after a login by form_post", logoutAfterFormPost},
	{"a logout before the code exchange", logoutBeforeExchange},
}

func TestEndsOfSessions(t *testing.T) {
	for _, upstream := range []struct {
		name string
		s    setup
	}{
		{"oidc-provider", setup{}},
		{"demo's provider", setup{embedded: true, env: map[string]string{"ORT_UPSTREAM_LOGIN_COOKIES": "demo_idp_session"}}},
	} {
		t.Run(upstream.name, func(t *testing.T) {
			st := startStack(t, upstream.s)
			for _, e := range ends {
				t.Run(e.name, func(t *testing.T) { e.test(t, st, "app-one", "app-two") })
			}
		})
	}
}

// Where no login cookie is known the browser has to show its password once more.
func TestEndOfSingleSignOnWithoutAKnownLoginCookie(t *testing.T) {
	st := startStack(t, setup{embedded: true})
	a := st.app("app-one", nil)
	a.login(t)
	mustRevoke(t, a)
	silent(t, a, "login_required")
	other := st.app("app-two", a.browser)
	other.scope = "openid" // requests without online_access too
	forms := a.browser.forms
	other.code(t, nil)
	if a.browser.forms != forms+1 {
		t.Errorf("a request without online_access showed %d forms, want 1", a.browser.forms-forms)
	}
	a.login(t)
	if a.browser.forms != forms+2 {
		t.Errorf("%d forms, want 2: the password is asked for until a login with an ORT", a.browser.forms-forms)
	}
	a.loginWith(t, url.Values{"prompt": {"none"}})
	a.works(t)
}

// twoIn logs two apps of one browser in.
func twoIn(t *testing.T, st *stack, one, two string) (a, b *app) {
	t.Helper()
	a = st.app(one, nil)
	a.login(t)
	b = st.app(two, a.browser)
	b.login(t)
	if a.browser.forms != 1 {
		t.Fatalf("%d login forms for two apps, want 1", a.browser.forms)
	}
	return a, b
}

func mustRevoke(t *testing.T, a *app) {
	t.Helper()
	if got, err := a.revoke(); err != nil || got.status != http.StatusOK {
		t.Fatalf("revoking: %v %v", got, err)
	}
}

// silent asks with prompt=none and wants that error.
func silent(t *testing.T, a *app, want string) {
	t.Helper()
	back, err := a.authorize(a.authorizationRequest(url.Values{"prompt": {"none"}}))
	if err != nil || back.Get("error") != want {
		t.Errorf("prompt=none of %s: %v %v, want %s", a.id, back, err, want)
	}
}

// loggedOut wants both apps dead, and a login form for the next login, which works at once.
func loggedOut(t *testing.T, a, b *app) {
	t.Helper()
	a.dead(t)
	b.dead(t)
	silent(t, a, "login_required")
	forms := a.browser.forms
	a.login(t)
	if a.browser.forms != forms+1 {
		t.Errorf("%d login forms after the end, want 1", a.browser.forms-forms)
	}
	a.works(t)
	b.login(t)
	b.works(t)
	if a.browser.forms != forms+1 {
		t.Errorf("the second app showed a form after the new login")
	}
}

func revocationEndsSignOn(t *testing.T, st *stack, one, two string) {
	a, b := twoIn(t, st, one, two)
	beside := st.app(one, nil) // another browser of the same user
	beside.login(t)
	mustRevoke(t, a)
	loggedOut(t, a, b)
	beside.works(t)
}

// logout sends a logout request from the app's browser and follows it within the provider. It says whether the user
// was asked, and answers yes where confirm is set.
func (a *app) logout(t *testing.T, q url.Values, confirm bool) (asked bool) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, a.st.metadata.EndSession+"?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		resp, err := a.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := readAll(resp.Body)
		resp.Body.Close()
		if location := resp.Header.Get("Location"); location != "" {
			to, err := req.URL.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(to.String(), a.st.origin) {
				return asked // back at the client
			}
			if req, err = http.NewRequest(http.MethodGet, to.String(), nil); err != nil {
				t.Fatal(err)
			}
			continue
		}
		form, ok := parseForm(body)
		if !ok {
			return asked
		}
		asked = true
		if !confirm {
			return true
		}
		form.values.Set("logout", "yes")
		to, err := req.URL.Parse(form.action)
		if err != nil {
			t.Fatal(err)
		}
		if req, err = http.NewRequest(http.MethodPost, to.String(), strings.NewReader(form.values.Encode())); err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	t.Fatal("the logout does not end")
	return asked
}

// bye is the client's post_logout_redirect_uri.
func (a *app) bye() string { return strings.TrimSuffix(a.redirectURI, "/callback") + "/bye" }

func logoutWithHint(t *testing.T, st *stack, one, two string) {
	a := st.app(one, nil)
	hint := a.login(t).IDToken
	b := st.app(two, a.browser)
	b.login(t)
	a.logout(t, url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {a.bye()}, "state": {"s"}}, true)
	began := time.Now()
	b.dead(t)
	t.Logf("the other app was refused %v after the answer", time.Since(began))
	loggedOut(t, a, b)
}

func logoutWithoutHint(t *testing.T, st *stack, one, two string) {
	a, b := twoIn(t, st, one, two)
	q := url.Values{"client_id": {a.id}, "post_logout_redirect_uri": {a.bye()}}
	if !a.logout(t, q, false) {
		t.Skipf("this provider asks nothing")
	}
	a.works(t)
	b.works(t)
	a.logout(t, q, true)
	loggedOut(t, a, b)
}

// An ID token that somebody has once seen is no authority, sent from his browser.
func logoutByForeignHint(t *testing.T, st *stack, one, two string) {
	victim := st.app(one, nil)
	hint := victim.login(t).IDToken
	thief := st.app(one, nil)
	thief.user = "bob"
	thief.login(t)
	thief.logout(t, url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {thief.bye()}}, false)
	victim.works(t)
	thief.works(t)
}

// A link of another site makes the browser send its cookies, and nobody confirms.
func logoutByForgedLink(t *testing.T, st *stack, one, two string) {
	a, b := twoIn(t, st, one, two)
	if !a.logout(t, url.Values{}, false) {
		t.Skipf("this provider asks nothing")
	}
	a.works(t)
	b.works(t)
}

func revokeThenLogOut(t *testing.T, st *stack, one, two string) {
	a := st.app(one, nil)
	hint := a.login(t).IDToken
	b := st.app(two, a.browser)
	b.login(t)
	mustRevoke(t, b)
	a.dead(t)
	a.logout(t, url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {a.bye()}}, true)
	loggedOut(t, a, b)
}

func ortAtEndSession(t *testing.T, st *stack, one, two string) {
	a, b := twoIn(t, st, one, two)
	got, err := a.post("end session", st.metadata.EndSession, url.Values{"refresh_token": {a.ort}}, "")
	if err != nil || got.status != http.StatusNoContent {
		t.Fatalf("posting an ORT to the end-session endpoint: %v %v", got, err)
	}
	loggedOut(t, a, b)
}

// The cookies that a browser had when its session ended are dead, also those that a later authorization renewed.
func renewalInFlight(t *testing.T, st *stack, one, two string) {
	a, b := twoIn(t, st, one, two)
	a.loginWith(t, url.Values{"prompt": {"none"}}) // some providers renew their cookie here
	mustRevoke(t, b)
	for range 2 {
		silent(t, a, "login_required")
	}
	loggedOut(t, a, b)
}

// A code that comes in a form passes in no redirect, so nobody saw the login cookie with it.
func logoutAfterFormPost(t *testing.T, st *stack, one, _ string) {
	for _, hinted := range []bool{false, true} {
		a := st.app(one, nil)
		a.mode = "form_post"
		hint := a.login(t).IDToken
		form := url.Values{"client_id": {a.id}, "post_logout_redirect_uri": {a.bye()}}
		if hinted {
			form.Set("id_token_hint", hint)
		}
		a.works(t)
		if a.logout(t, form, false) {
			a.works(t)
			a.logout(t, form, true)
		}
		a.dead(t)
	}
}

// The user logs out in another tab while the app's code is still on its way: it is worth nothing.
func logoutBeforeExchange(t *testing.T, st *stack, one, _ string) {
	a := st.app(one, nil)
	code := a.code(t, nil)
	verifier := a.lastVerifier
	a.logout(t, url.Values{"client_id": {a.id}, "post_logout_redirect_uri": {a.bye()}}, true)
	if got, err := a.redeem(code, verifier); err != nil || got.Error != "invalid_grant" {
		t.Errorf("the code exchange after the logout: %v %v", got, err)
	}
	a.login(t)
	a.works(t)
}
