package e2e

import (
	"net/url"
	"testing"
	"time"
)

// beside is the same gateway seen as another issuer's.
func (st *stack) beside(issuer string) *stack {
	other := &stack{t: st.t, origin: st.origin, issuer: issuer, admin: st.admin, clients: st.clients, env: st.env, dir: st.dir, out: st.out, http: st.http}
	other.discover()
	return other
}

// Two realms behind one gateway are two login places: one browser, two sessions, apart.
func twoIssuers(t *testing.T, kc *keycloak) {
	one := kc.stack(t, map[string]string{"ORT_ISSUER": "http://" + kc.public + "/realms/ort,http://" + kc.public + "/realms/rotating"})
	two := one.stack.beside(one.origin + "/realms/rotating")
	a := one.app("spa", nil)
	a.login(t)
	b := two.app("spa", a.browser)
	b.login(t)
	if a.browser.forms != 2 {
		t.Errorf("%d login forms at two realms, want 2", a.browser.forms)
	}
	a.works(t)
	b.works(t)
	swapped := two.app("spa", a.browser)
	swapped.ort, swapped.key = a.ort, a.key
	swapped.dead(t) // the other realm's endpoint
	mustRevoke(t, a)
	a.dead(t)
	b.works(t)
	b.loginWith(t, url.Values{"prompt": {"none"}})
	silent(t, a, "login_required")
}

// A login that asks for more, or for a fresh password, while a session lives.
func askedAgain(t *testing.T, st *stack) {
	a, b := twoIn(t, st, "spa", "spa2")
	again := st.app("spa", a.browser)
	again.loginWith(t, url.Values{"prompt": {"login"}})
	if a.browser.forms != 2 {
		t.Errorf("prompt=login showed %d forms in all, want 2", a.browser.forms)
	}
	for _, x := range []*app{a, b, again} {
		x.works(t)
	}
	time.Sleep(1100 * time.Millisecond) // max_age is in whole seconds
	again.loginWith(t, url.Values{"max_age": {"1"}})
	again.loginWith(t, url.Values{"acr_values": {"1"}})
	mustRevoke(t, b)
	for _, x := range []*app{a, b, again} {
		x.dead(t)
	}
}

// A login without openid has no ID token that could say who it is: it joins nobody, and ends with its browser's logout.
func withoutOpenID(t *testing.T, st *stack) {
	a, b := twoIn(t, st, "spa", "spa2")
	bare := st.app("spa", a.browser)
	bare.scope = "online_access"
	if got := bare.login(t); got.IDToken != "" {
		t.Fatal("there is an ID token")
	}
	bare.works(t)
	a.works(t)
	a.logout(t, url.Values{"client_id": {a.id}, "post_logout_redirect_uri": {a.bye()}}, true)
	for _, x := range []*app{a, b, bare} {
		x.dead(t)
	}
}
