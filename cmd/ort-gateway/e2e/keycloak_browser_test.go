package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestKeycloakSDKs: the SDKs run unmodified in a browser before a real Keycloak, Auth0's on its own paths.
func TestKeycloakSDKs(t *testing.T) {
	chromiumProgram(t)
	nodeProgram(t)
	kc := startKeycloakBehind(t, "https")
	for _, row := range []struct {
		name, sdk, cache string
		env              map[string]string
	}{
		{"auth0-spa-js, tokens in local storage", "auth0", "localstorage", auth0Paths},
		{"auth0-spa-js, tokens in memory", "auth0", "memory", auth0Paths},
		{"oidc-client-ts", "oidc", "localstorage", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			one, two := startSPA(t, "one", row.sdk), startSPA(t, "two", row.sdk)
			kc.allow(t, "spa", one.origin)
			kc.allow(t, "spa2", two.origin)
			st := kc.stack(t, row.env)
			for app, id := range map[*spa]string{one: "spa", two: "spa2"} {
				app.config.Store(&spaConfig{Origin: st.origin, Domain: st.origin, Issuer: st.issuer, ClientID: id, Cache: row.cache})
			}
			keycloakApps(t, one, two, row.cache)
		})
	}
	t.Run("auth0-spa-js, popup and hidden frame", func(t *testing.T) { keycloakMessages(t, kc) })
	t.Run("auth0-spa-js, several audiences", func(t *testing.T) { keycloakAudiences(t, kc) })
}

// One ORT for several APIs (MRRT): Keycloak passes over audience, whose tokens are for what its mappers say; the gateway
// holds the SDK to those that are listed.
func keycloakAudiences(t *testing.T, kc *keycloak) {
	const first, second = "https://one.api.test", "https://two.api.test"
	one := startSPA(t, "one", "auth0")
	kc.allow(t, "spa", one.origin)
	st := kc.stack(t, map[string]string{"ORT_AUTH0_PATHS": "true", "ORT_AUDIENCES": first + "," + second})
	one.config.Store(&spaConfig{Origin: st.origin, Domain: st.origin, Issuer: st.issuer, ClientID: "spa", Cache: "localstorage", Audience: first})
	tab := open(t, chromium(t), one)
	tab.login("alice", true)
	for _, audience := range []string{second, first, second} {
		must[any](tab, `spa.exchangeFor('`+audience+`').then(() => null)`)
	}
	must[any](tab, `Promise.all([1, 2, 3, 4].map((n) => spa.exchangeFor(n % 2 ? '`+first+`' : '`+second+`'))).then(() => null)`)
	if refused := must[string](tab, `spa.exchangeFor('https://three.api.test').then(() => 'a token', (err) => err.error)`); refused != "invalid_target" {
		t.Errorf("an API that is not listed: %q", refused)
	}
	distinct(t, must[[]string](tab, `spa.several(2)`), 2)
}

// response_mode=web_message at Keycloak: the form in a popup. To the hidden frame of an app on another site this browser
// sends no cookie at all, although Keycloak's are SameSite=None: its answer is login_required while the login lives.
func keycloakMessages(t *testing.T, kc *keycloak) {
	one := startSPA(t, "one", "auth0")
	kc.allow(t, "spa", one.origin)
	st := kc.stack(t, auth0Paths)
	one.config.Store(&spaConfig{Origin: st.origin, Domain: st.origin, Issuer: st.issuer, ClientID: "spa", Cache: "localstorage"})
	tab := open(t, chromium(t), one)
	if got := tab.popup(t, true); got == "" || strings.HasPrefix(got, "failed") {
		t.Fatalf("the popup: %q", got)
	}
	distinct(t, must[[]string](tab, `spa.several(2)`), 2)
	if got := must[string](tab, `spa.frame().then(() => 'token', (err) => err.error)`); got != "login_required" {
		t.Errorf("the hidden frame was answered %q", got)
	}
	distinct(t, must[[]string](tab, `spa.several(2)`), 2) // which ended nothing
}

// allow registers an app's origins at Keycloak.
func (kc *keycloak) allow(t *testing.T, client string, origins ...string) {
	t.Helper()
	kc.change(t, client, func(c map[string]any) {
		var redirects []string
		for _, origin := range origins {
			redirects = append(redirects, origin+"/*")
		}
		c["redirectUris"], c["webOrigins"] = redirects, origins
	})
}

// change changes a client's settings.
func (kc *keycloak) change(t *testing.T, client string, f func(map[string]any)) {
	t.Helper()
	var found []map[string]any
	kc.admin(t, http.MethodGet, "ort/clients?clientId="+url.QueryEscape(client), nil, &found)
	if len(found) != 1 {
		t.Fatalf("%d clients %s", len(found), client)
	}
	f(found[0])
	kc.admin(t, http.MethodPut, "ort/clients/"+found[0]["id"].(string), found[0], nil)
}

func keycloakApps(t *testing.T, one, two *spa, cache string) {
	browser := chromium(t)
	first := open(t, browser, one)
	first.login("alice", true)
	distinct(t, must[[]string](first, `spa.several(5)`), 5)
	second := open(t, browser, two)
	second.login("alice", false)
	distinct(t, must[[]string](second, `spa.several(5)`), 5)
	threeTabs(t, browser, one, first, cache)
	if _, err := call[any](first, `spa.revoke().then(() => null)`); err != nil {
		t.Fatalf("revoking: %v", err)
	}
	refused := must[struct{ Error, Description string }](second, `spa.refused()`)
	if refused.Error != "invalid_grant" || !strings.HasPrefix(refused.Description, "Unknown or invalid refresh token") {
		t.Errorf("after the revocation in app one, app two's exchange gave %+v", refused)
	}
	first.login("alice", true) // single sign-on ended with it
	distinct(t, must[[]string](first, `spa.several(2)`), 2)
}
