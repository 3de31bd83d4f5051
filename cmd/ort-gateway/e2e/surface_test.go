package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// upstreams are the identity providers over which the whole way of a login runs.
var upstreams = map[string]setup{
	"a refresh token with every code": {provider: providerConfig{Post: true}},
	"offline_access with consent": {
		provider: providerConfig{Refresh: "offline_access"},
		env:      map[string]string{"ORT_UPSTREAM_CONSENT": "true"},
	},
	"DPoP at the upstream, with its nonces": {
		provider: providerConfig{DPoP: true, DPoPNonces: true},
		env:      map[string]string{"ORT_DPOP_AUTHORITY": "upstream"},
	},
	"DPoP at both, ended at the gateway": {provider: providerConfig{DPoP: true, DPoPNonces: true}},
	"no DPoP nonces":                     {env: map[string]string{"ORT_DPOP_NONCE": "off"}},
	"nothing in place of online_access":  {env: map[string]string{"ORT_UPSTREAM_SCOPE": ""}},
	"issuer with a trailing slash":       {suffix: "/"},
	"https":                              {tls: true},
	"demo's provider":                    {embedded: true},
}

// ways are the ways to ask for a login.
var ways = []struct {
	name  string
	app   string
	extra url.Values
	with  func(*app)
}{
	{name: "query", app: "app-one"},
	{name: "fragment", app: "app-one", with: func(a *app) { a.mode = "fragment" }},
	{name: "form_post", app: "app-one", with: func(a *app) { a.mode = "form_post" }},
	{name: "POST", app: "app-one", with: func(a *app) { a.viaPOST = true }},
	{name: "PAR", app: "app-one", with: func(a *app) { a.viaPAR = true }},
	{name: "one resource", app: "app-one", extra: url.Values{"resource": {"https://one.api.test"}}, with: func(a *app) { a.scope += " read" }},
	{name: "two resources", app: "app-one", extra: url.Values{"resource": {"https://one.api.test", "https://two.api.test"}}, with: func(a *app) { a.scope += " read" }},
	{name: "confidential client", app: "web"},
	{name: "confidential client with PAR and form_post", app: "web", with: func(a *app) { a.viaPAR, a.mode = true, "form_post" }},
	{name: "confidential client that sends proofs", app: "web", with: func(a *app) { a.key = newProofKey() }},
	{name: "without openid", app: "app-one", with: func(a *app) { a.scope = "profile online_access" }},
}

func TestLoginExchangeAndRevocation(t *testing.T) {
	for name, s := range upstreams {
		t.Run(name, func(t *testing.T) {
			st := startStack(t, s)
			for _, way := range ways {
				if !has(s, way.name) {
					continue
				}
				t.Run(way.name, func(t *testing.T) {
					a := st.app(way.app, nil)
					if way.with != nil {
						way.with(a)
					}
					wayOfALogin(t, a, way.extra)
				})
			}
			if s.embedded {
				return
			}
			if refused := st.provider.seen(t).Refused; slices.ContainsFunc(refused, func(s string) bool { return !strings.HasPrefix(s, "use_dpop_nonce") }) {
				t.Errorf("the upstream refused %q", refused)
			}
		})
	}
}

// has says whether an upstream knows a way to ask.
func has(s setup, way string) bool {
	switch {
	case way == "POST":
		return s.embedded || s.provider.Post
	case way == "without openid": // offline_access is OpenID Connect's
		return !s.embedded && s.provider.Refresh != "offline_access"
	case strings.Contains(way, "PAR"), strings.Contains(way, "resource"):
		return !s.embedded
	default:
		return true
	}
}

// wayOfALogin goes through one session: code exchange, exchanges, a second app beside it, revocation.
func wayOfALogin(t *testing.T, a *app, extra url.Values) {
	got := a.loginWith(t, extra)
	checkSessionMembers(t, got)
	for _, scope := range []string{"online_access", "offline_access"} {
		if slices.Contains(strings.Fields(got.Scope), scope) {
			t.Errorf("the answer's scope %q lists %s", got.Scope, scope)
		}
	}
	if cc := got.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("code exchange: Cache-Control %q", cc)
	}
	for range 2 {
		got := a.works(t)
		checkSessionMembers(t, got)
		if strings.Contains(a.scope, "openid") != (got.IDToken != "") {
			t.Errorf("exchange: scope %q, ID token %q", a.scope, got.IDToken)
		}
	}
	for _, resource := range extra["resource"] {
		got, err := a.exchangeWith(url.Values{"resource": {resource}})
		if err != nil || got.status != http.StatusOK {
			t.Errorf("exchange for %s: %v %v", resource, got, err)
		}
	}
	beside := a.st.app("app-two", a.browser)
	beside.login(t)
	beside.works(t)
	if a.browser.forms != 1 {
		t.Errorf("%d login forms for two apps in one browser, want 1", a.browser.forms)
	}
	if got, err := a.revoke(); err != nil || got.status != http.StatusOK {
		t.Errorf("revocation: %v %v", got, err)
	}
	a.dead(t)
	if strings.Contains(a.scope, "openid") {
		beside.dead(t)
	} else {
		beside.works(t) // without an ID token nothing says that both are one login
	}
	if got, err := a.revoke(); err != nil || got.status != http.StatusOK {
		t.Errorf("revocation of a dead ORT: %v %v", got, err)
	}
}

func checkSessionMembers(t *testing.T, got *answer) {
	t.Helper()
	const idle, absolute = 72 * 3600, 168 * 3600
	if got.Idle == nil || got.Absolute == nil {
		t.Errorf("%s: the session members are missing: %s", got.what, slices.Sorted(mapsKeys(got.members)))
		return
	}
	if *got.Idle > idle || *got.Idle < idle-120 || *got.Absolute > absolute || *got.Absolute < absolute-120 {
		t.Errorf("%s: idle %v, absolute %v", got.what, *got.Idle, *got.Absolute)
	}
}
