package e2e

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

// TestKeycloakEnds: how sessions end before a real Keycloak.
func TestKeycloakEnds(t *testing.T) {
	kc := startKeycloak(t)
	t.Run("two issuers", func(t *testing.T) { twoIssuers(t, kc) })
	t.Run("README's guide", func(t *testing.T) { keycloakGuide(t, kc) })
	t.Run("what is given back", func(t *testing.T) { keycloakUpstreamEnds(t, kc) })
	t.Run("login cookies", func(t *testing.T) { keycloakLoginCookies(t, kc) })
	t.Run("pairwise subjects", func(t *testing.T) { keycloakPairwise(t, kc) })
	st := kc.stack(t, nil)
	t.Run("check names the setting", func(t *testing.T) { checkNamesTheSetting(t, kc, st.stack) })
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) { e.test(t, st.stack, "spa", "spa2") })
	}
	t.Run("an administrator's logout comes by the back channel", func(t *testing.T) { adminLogsOut(t, kc, st.stack) })
	t.Run("asked again while a session lives", func(t *testing.T) { askedAgain(t, st.stack) })
	t.Run("a login without openid", func(t *testing.T) { withoutOpenID(t, st.stack) })
	t.Run("a revocation is given back and hurts nobody else", func(t *testing.T) { givenBack(t, kc, st.stack) })
}

func adminLogsOut(t *testing.T, kc *keycloak, st *stack) {
	a, b := twoIn(t, st, "spa", "spa2")
	kc.admin(t, http.MethodPost, "ort/users/"+kc.user(t, "ort", "alice")+"/logout", nil, nil)
	a.dead(t) // Keycloak calls while it answers
	b.dead(t)
	a.login(t)
	a.works(t)
}

// sessionsAt counts a user's sessions at Keycloak.
func (kc *keycloak) sessionsAt(t *testing.T, user string) int {
	t.Helper()
	var list []any
	kc.admin(t, http.MethodGet, "ort/users/"+kc.user(t, "ort", user)+"/sessions", nil, &list)
	return len(list)
}

func givenBack(t *testing.T, kc *keycloak, st *stack) {
	kc.admin(t, http.MethodPost, "ort/users/"+kc.user(t, "ort", "alice")+"/logout", nil, nil)
	beside := st.app("spa", nil) // the same user in another browser
	beside.login(t)
	a, _ := twoIn(t, st, "spa", "spa2")
	again := st.app("spa", a.browser) // the app's page is loaded again
	again.login(t)
	if n := kc.sessionsAt(t, "alice"); n != 2 {
		t.Fatalf("%d sessions at Keycloak, want 2", n)
	}
	mustRevoke(t, a)
	waitUntil(t, 5*time.Second, "Keycloak's session ends", func() bool { return kc.sessionsAt(t, "alice") == 1 })
	again.dead(t)
	beside.works(t)
	a.login(t)
	a.works(t)
	back, err := beside.authorize(beside.authorizationRequest(url.Values{"prompt": {"none"}}))
	if err != nil || back.Get("code") == "" {
		t.Errorf("single sign-on in the other browser: %v %v", back, err)
	}
}
