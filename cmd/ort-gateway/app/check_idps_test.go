package app

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/cmd/ort-demo/idp"
)

// Each identity provider's metadata, as far as it is known by them.
func TestCheckRecognises(t *testing.T) {
	for _, row := range []struct {
		want *idpKind
		doc  document
	}{
		{&keycloak, document{Authorization: "https://a/realms/x/protocol/openid-connect/auth", EndSession: "https://a/realms/x/protocol/openid-connect/logout"}},
		{&oidcProvider, document{Authorization: "https://a/auth", Token: "https://a/token", Userinfo: "https://a/me", JWKS: "https://a/jwks", EndSession: "https://a/session/end"}},
		{&oidcProvider, document{Authorization: "https://a/op/auth", Token: "https://a/op/token", Userinfo: "https://a/op/me", JWKS: "https://a/op/jwks"}},
		{&hydra, document{Authorization: "https://a/oauth2/auth", Token: "https://a/oauth2/token", JWKS: "https://a/.well-known/jwks.json"}},
		{&dex, document{Authorization: "https://a/dex/auth", Token: "https://a/dex/token", Userinfo: "https://a/dex/userinfo", JWKS: "https://a/dex/keys"}},
		{&authentik, document{Authorization: "https://a/application/o/authorize/", Token: "https://a/application/o/token/"}},
		{&zitadel, document{Authorization: "https://a/oauth/v2/authorize", Token: "https://a/oauth/v2/token", EndSession: "https://a/oidc/v1/end_session"}},
		{&authelia, document{Authorization: "https://a/api/oidc/authorization", Token: "https://a/api/oidc/token"}},
		{&general, document{Authorization: "https://a/authorize", Token: "https://a/oauth/token"}},
	} {
		if got := recognise(&row.doc); got != row.want {
			t.Errorf("%s is taken for %s", row.want.name, got.name)
		}
	}
}

func TestCheckGuesses(t *testing.T) {
	for issuer, want := range map[string]*idpKind{"https://a/realms/x": &keycloak, "https://a/application/o/x/": &authentik, "https://a": &general} {
		if got := guess(issuer); got != want {
			t.Errorf("%s is taken for %s", issuer, got.name)
		}
	}
}

// Every word is there, in general at least, and its placeholders are filled.
func TestCheckWords(t *testing.T) {
	at := &target{issuer: "https://login.test/main"}
	for _, i := range []*idpKind{&general, &keycloak, &oidcProvider, &hydra, &dex, &authentik, &zitadel, &authelia} {
		for w := range words {
			for _, client := range []string{"", "spa"} {
				if text := i.say(w, at, client); text == "" || strings.Contains(text, "{origin}") || strings.Contains(text, "{client}") || strings.Contains(text, "{url}") || strings.Contains(text, "{issuer}") {
					t.Errorf("%s, word %d: %q", i.name, w, text)
				}
			}
		}
	}
	if got := keycloak.say(wordBackChannel, at, "spa"); !strings.Contains(got, `Clients, "spa", Settings, Logout settings: Backchannel logout URL https://login.test/_ort/backchannel-logout`) {
		t.Errorf("got %s", got)
	}
}

// What a recognised identity provider says of itself: its own wrong settings, in its own words.
func TestCheckWordsOfEachProvider(t *testing.T) {
	metadata := func(prefix string, paths map[string]string) func(*checkUpstream) {
		return func(u *checkUpstream) {
			for name, path := range paths {
				u.doc[name] = "https://login.test" + prefix + path
			}
		}
	}
	atKeycloak := metadata("/realms/main/protocol/openid-connect", map[string]string{"authorization_endpoint": "/auth", "end_session_endpoint": "/logout"})
	atProvider := metadata("", map[string]string{"authorization_endpoint": "/auth", "token_endpoint": "/token", "end_session_endpoint": "/session/end"})
	atHydra := metadata("/oauth2", map[string]string{"authorization_endpoint": "/auth", "token_endpoint": "/token"})
	atDex := metadata("", map[string]string{"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/keys"})
	atAuthentik := metadata("/application/o", map[string]string{"authorization_endpoint": "/authorize/"})
	atZitadel := metadata("/oauth/v2", map[string]string{"authorization_endpoint": "/authorize"})
	atAuthelia := metadata("/api/oidc", map[string]string{"authorization_endpoint": "/authorization"})
	for _, row := range []struct {
		name string
		at   func(*checkUpstream)
		doc  map[string]any
		env  []string
		want string
	}{
		{"Keycloak's name", atKeycloak, map[string]any{"issuer": "http://10.0.0.1:8080/realms/main"}, nil, "fail issuer: … change: start Keycloak with --hostname=https://login.test (KC_HOSTNAME)"},
		{"Keycloak's scope", atKeycloak, nil, nil, "ok   upstream scope: ORT_UPSTREAM_SCOPE is not set: Keycloak gives refresh tokens of the login unasked"},
		{"unknown client at Keycloak", atKeycloak, nil, []string{"ORT_CLIENTS=spa,spaa"}, `fail clients: client "spaa": not known there (401 invalid_client); change: Clients: is "spaa" there, and Enabled?`},
		{"another scope at Keycloak", atKeycloak, nil, []string{"ORT_UPSTREAM_SCOPE=nowhere"}, "warn upstream scope: ORT_UPSTREAM_SCOPE is nowhere; scopes_supported has no nowhere"},
		{"offline tokens at Keycloak", atKeycloak, nil, []string{"ORT_UPSTREAM_SCOPE=offline_access"}, "warn upstream scope: … outlives the login … change: leave ORT_UPSTREAM_SCOPE unset"},
		{"any client at Keycloak", atKeycloak, nil, []string{"ORT_CONFIDENTIAL_CLIENTS=*"}, "fail confidential clients: … Keycloak takes any secret from a public client"},
		{"Keycloak's cookie", atKeycloak, nil, []string{"ORT_UPSTREAM_LOGIN_COOKIES=x"}, "warn login cookies: Keycloak's login is in KEYCLOAK_IDENTITY, … change: ORT_UPSTREAM_LOGIN_COOKIES=KEYCLOAK_IDENTITY"},
		{"no cookie is known", atZitadel, nil, nil, "skip login cookies: … ORT_UPSTREAM_LOGIN_COOKIES must name it"},
		{"one is named", atZitadel, nil, []string{"ORT_UPSTREAM_LOGIN_COOKIES=KEYCLOAK_SESSION,zitadel"}, "skip login cookies: … whether it is zitadel, as ORT_UPSTREAM_LOGIN_COOKIES says"},
		{"oidc-provider without offline_access", atProvider, map[string]any{"scopes_supported": []string{"openid"}}, nil, "fail upstream scope: … change: configuration scopes: ['openid', 'offline_access']"},
		{"oidc-provider's consent", atProvider, nil, nil, "warn consent: … change: ORT_UPSTREAM_CONSENT=true"},
		{"oidc-provider without revocation", atProvider, map[string]any{"revocation_endpoint": ""}, nil, "warn revocation: … change: configuration features.revocation.enabled: true"},
		{"Hydra without a scope", atHydra, nil, []string{"ORT_UPSTREAM_SCOPE="}, "fail upstream scope: ORT_UPSTREAM_SCOPE is empty, and Hydra gives refresh tokens for offline_access alone"},
		{"Hydra's name", atHydra, map[string]any{"issuer": "http://hydra:4444"}, nil, "fail issuer: … change: urls.self.issuer: " + checkIssuer},
		{"Dex without sessions", atDex, map[string]any{"end_session_endpoint": "", "backchannel_logout_supported": false}, nil, "warn end session: … change: DEX_SESSIONS_ENABLED=true"},
		{"authentik's scope", atAuthentik, map[string]any{"scopes_supported": []string{"openid"}}, nil, "fail upstream scope: … authentik default OAuth Mapping: OpenID 'offline_access'"},
		{"Zitadel's name", atZitadel, map[string]any{"issuer": "http://localhost:8080"}, nil, "fail issuer: … change: ExternalDomain, ExternalPort, ExternalSecure"},
		{"Authelia's end session", atAuthelia, map[string]any{"end_session_endpoint": ""}, nil, "warn end session: … change: Authelia has no end-session endpoint; nothing to change"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := newCheckUpstream()
			row.at(u)
			for name, value := range row.doc {
				u.doc[name] = value
			}
			if _, text := u.check(t, row.env...); !hasLine(text, row.want) {
				t.Errorf("no line %q in\n%s", row.want, text)
			}
		})
	}
}

// The demo's identity provider is a real OpenID Provider: everything that can be found out is good, and nobody logged in.
func TestCheckDemoProvider(t *testing.T) {
	const public = "http://127.0.0.1:1"
	p, err := idp.New(idp.Config{Issuer: public, Users: []idp.User{{Username: "alice", Password: "x"}}, Clients: []idp.Client{
		{ID: "spa", RedirectURIs: []string{"http://127.0.0.1:1/cb"}}, {ID: "web", Secret: "web-secret", RedirectURIs: []string{"http://127.0.0.1:1/cb"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(p)
	defer s.Close()
	var out, errs bytes.Buffer
	code := Run(t.Context(), []string{"check"}, []string{"ORT_ISSUER=" + public, "ORT_UPSTREAM_URL=" + s.URL,
		"ORT_STORE_URL=bolt:" + filepath.Join(t.TempDir(), "store.db"), "ORT_CLIENTS=spa,web", "ORT_CONFIDENTIAL_CLIENTS=web"}, &out, &errs)
	for _, want := range []string{
		"ok   issuer: exactly " + public, "ok   endpoints: all ", "ok   PKCE: S256 in the metadata", `ok   clients: client "spa": known`,
		`ok   confidential clients: client "web": a refresh without or with wrong authentication is refused`, "ok   subject types: public",
		"skip public name: the public origin was not reached from here: connection refused",
	} {
		if !hasLine(out.String(), want) {
			t.Errorf("no line %q", want)
		}
	}
	if code != exitGood || errs.Len() > 0 || t.Failed() {
		t.Errorf("exit code %d, %s\n%s", code, &errs, &out)
	}
	if stats := p.Stats(); stats != (idp.Stats{}) {
		t.Errorf("the provider counted %+v", stats)
	}
	if os.Getenv("SHOW") != "" {
		t.Logf("\n%s", &out)
	}
}
