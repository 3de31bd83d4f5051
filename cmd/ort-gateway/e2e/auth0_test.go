package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

var auth0Paths = map[string]string{"ORT_AUTH0_PATHS": "true"}

// Auth0's SPA SDK runs unmodified before a provider that has never heard of its paths.
func TestAuth0SPASDKOnAuth0Paths(t *testing.T) {
	t.Run("oidc-provider, tokens in local storage", func(t *testing.T) {
		twoApps(t, "auth0", "localstorage", setup{tls: true, env: auth0Paths})
	})
	t.Run("oidc-provider, tokens in memory", func(t *testing.T) {
		twoApps(t, "auth0", "memory", setup{suffix: "/", env: auth0Paths})
	})
	t.Run("demo's provider", func(t *testing.T) {
		twoApps(t, "auth0", "localstorage", setup{tls: true, embedded: true, env: auth0Paths})
	})
}

// The SDK's logout goes to /v2/logout, its popup and its hidden frame ask for response_mode=web_message.
func TestAuth0SPASDKPopupFrameAndLogout(t *testing.T) {
	chromiumProgram(t)
	nodeProgram(t)
	one := startSPA(t, "one", "auth0")
	st := startStack(t, setup{tls: true, origins: [2]string{one.origin, "http://two.localhost:3002"}, env: auth0Paths})
	one.config.Store(&spaConfig{Origin: st.origin, Domain: st.origin, Issuer: st.issuer, ClientID: "app-one", Cache: "localstorage"})
	tab := open(t, chromium(t), one)
	tab.login("alice", true)
	if got := must[string](tab, `spa.popup()`); got != "alice" {
		t.Errorf("the popup's user is %q", got)
	}
	must[string](tab, `spa.exchange()`)
	// The frame is another site's, so the provider's cookie stays away; its answer comes all the same.
	if got := must[string](tab, `spa.frame().then(() => 'token', (err) => err.error)`); got != "login_required" {
		t.Errorf("the hidden frame was answered %q", got)
	}
	if _, err := call[bool](tab, `(spa.logout(), true)`); err != nil {
		t.Fatal(err)
	}
	tab.await("the provider's question", func(where, _ string) bool {
		return strings.Contains(where, "/session/end") || strings.Contains(where, "/v2/logout")
	})
}

// JSON bodies become forms, and audience becomes resource where that is set.
func TestAuth0PathsOfAScriptedClient(t *testing.T) {
	st := startStack(t, setup{env: map[string]string{"ORT_AUTH0_PATHS": "true", "ORT_AUTH0_AUDIENCE": "resource", "ORT_AUDIENCES": "https://one.api.test,https://two.api.test"}})
	for member, want := range map[string]*string{
		"/authorize": &st.metadata.Authorization, "/oauth/token": &st.metadata.Token, "/oauth/revoke": &st.metadata.Revocation,
		"/v2/logout": &st.metadata.EndSession, "/oauth/par": &st.metadata.PAR,
	} {
		*want = st.origin + member
	}
	a := st.app("app-one", nil)
	a.loginWith(t, url.Values{"audience": {"https://one.api.test", "https://two.api.test"}})
	a.works(t)
	if got, err := a.exchangeWith(url.Values{"audience": {"https://two.api.test"}}); err != nil || got.status != http.StatusOK {
		t.Errorf("an exchange for another audience: %v %v", got, err)
	}
	if got, err := a.exchangeWith(url.Values{"audience": {"https://three.api.test"}}); err != nil || got.Error != "invalid_target" {
		t.Errorf("an exchange for an audience that is not listed: %v %v", got, err)
	}
	body := `{"grant_type":"refresh_token","client_id":"app-one","refresh_token":"` + a.ort + `"}`
	req, err := http.NewRequest(http.MethodPost, st.metadata.Token, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("DPoP", a.key.proof(http.MethodPost, st.metadata.Token, a.nonce, ""))
	resp, err := a.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if text := readAll(resp.Body); resp.StatusCode != http.StatusOK || strings.Contains(text, "refresh_token") {
		t.Errorf("an exchange in JSON: %s %.200s", resp.Status, text)
	}
	resp.Body.Close()
	b := st.app("app-two", a.browser)
	b.viaPAR = true
	b.login(t)
	mustRevoke(t, a)
	b.dead(t)
	b.login(t)
	b.logout(t, url.Values{"client_id": {b.id}, "returnTo": {b.bye()}}, true)
	b.dead(t)
}
