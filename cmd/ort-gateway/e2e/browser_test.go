package e2e

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Auth0's SPA SDK runs unmodified in online mode over the paths it knows.
func TestAuth0SPASDKInTwoAppsOfOneBrowser(t *testing.T) {
	t.Run("tokens in memory, issuer with a trailing slash", func(t *testing.T) {
		twoApps(t, "auth0", "memory", setup{suffix: "/", provider: providerConfig{Routes: "auth0"}})
	})
	t.Run("tokens in local storage, https, issuer named by option", func(t *testing.T) {
		twoApps(t, "auth0", "localstorage", setup{tls: true, provider: providerConfig{Routes: "auth0"}})
	})
}

// oidc-client-ts runs unmodified with DPoP over the provider's own paths.
func TestOIDCClientTSInTwoAppsOfOneBrowser(t *testing.T) {
	t.Run("tokens in session storage", func(t *testing.T) {
		twoApps(t, "oidc", "session", setup{})
	})
	t.Run("tokens in local storage, https, code bound to the key", func(t *testing.T) {
		twoApps(t, "oidc", "localstorage", setup{tls: true})
	})
	t.Run("DPoP at the upstream, with its nonces", func(t *testing.T) {
		twoApps(t, "oidc", "localstorage", setup{
			provider: providerConfig{DPoP: true, DPoPNonces: true}, env: map[string]string{"ORT_DPOP_AUTHORITY": "upstream"},
		})
	})
	// Its CORS answers know nothing of DPoP: the gateway adds what browsers need.
	t.Run("tokens in local storage, demo's provider", func(t *testing.T) {
		twoApps(t, "oidc", "localstorage", setup{embedded: true})
	})
}

// twoApps is the story of a browser with two apps: one login, exchanges from several tabs, the second app without a
// form, one idle clock, and the end of both by the revocation in the first.
func twoApps(t *testing.T, sdk, cache string, s setup) {
	chromiumProgram(t)
	nodeProgram(t)
	one, two := startSPA(t, "one", sdk), startSPA(t, "two", sdk)
	s.origins = [2]string{one.origin, two.origin}
	st := startStack(t, s)
	for i, app := range []*spa{one, two} {
		c := &spaConfig{Origin: st.origin, Domain: st.origin, ClientID: st.clients[i].ID, Cache: cache, BindCode: s.tls}
		if sdk == "oidc" || s.tls {
			c.Issuer = st.issuer
		}
		app.config.Store(c)
	}
	browser := chromium(t)

	first := open(t, browser, one)
	first.login("alice", true)
	if user := must[string](first, `spa.user()`); user != "alice" {
		t.Fatalf("the app's user is %q", user)
	}
	distinct(t, must[[]string](first, `spa.several(5)`), 5)

	second := open(t, browser, two)
	second.login("alice", false)
	distinct(t, must[[]string](second, `spa.several(5)`), 5)
	if logins := st.logins(); logins != 1 {
		t.Errorf("the upstream saw %d logins with a password, want 1", logins)
	}
	threeTabs(t, browser, one, first, cache)
	if cache != "memory" { // in memory the ORT is the SDK's worker's alone
		session(t, first, second)
	}

	if _, err := call[any](first, `spa.revoke().then(() => null)`); err != nil {
		t.Fatalf("revoking: %v", err)
	}
	if cache != "memory" {
		must[any](second, `spa.event('ended', 2000)`)
	}
	refused := must[struct{ Error, Description string }](second, `spa.refused()`)
	if refused.Error != "invalid_grant" || !strings.HasPrefix(refused.Description, "Unknown or invalid refresh token") {
		t.Errorf("after the revocation in app one, app two's exchange gave %+v", refused)
	}
	if st.provider == nil {
		return
	}
	refusedUpstream := slices.DeleteFunc(st.provider.seen(t).Refused, func(s string) bool { return strings.HasPrefix(s, "use_dpop_nonce") })
	if len(refusedUpstream) > 0 {
		t.Errorf("the upstream refused %q", refusedUpstream)
	}
}

// logins counts the logins with a password (at oidc-provider: the login forms that were shown).
func (st *stack) logins() int {
	if st.provider == nil {
		return st.embedded.Stats().Logins
	}
	return st.provider.seen(st.t).LoginForms
}

// threeTabs lets three tabs of one app exchange at the same time.
func threeTabs(t *testing.T, browser context.Context, s *spa, first *tab, cache string) {
	t.Helper()
	tabs := []*tab{first, open(t, browser, s), open(t, browser, s)}
	if cache != "localstorage" { // each page has its own tokens
		tabs[1].login("alice", false)
		tabs[2].login("alice", false)
	}
	var mu sync.Mutex
	var tokens []string
	var wg sync.WaitGroup
	for i, tb := range tabs {
		wg.Go(func() {
			got, err := call[[]string](tb, `spa.several(3)`)
			if err != nil {
				t.Errorf("tab %d: %v", i+1, err)
			}
			mu.Lock()
			defer mu.Unlock()
			tokens = append(tokens, got...)
		})
	}
	wg.Wait()
	if len(tokens) != 9 {
		t.Fatalf("three tabs made %d exchanges, want 9", len(tokens))
	}
}

// session reads the gateway's session endpoint and its events from both pages.
func session(t *testing.T, tabs ...*tab) {
	t.Helper()
	var idle []float64
	for _, tb := range tabs {
		got := must[struct {
			Status   int
			Idle     float64 `json:"session_idle_expires_in"`
			Absolute float64 `json:"session_expires_in"`
		}](tb, `spa.session()`)
		if got.Status != 200 || got.Idle <= 0 || got.Absolute < got.Idle {
			t.Errorf("session endpoint: %+v", got)
		}
		idle = append(idle, got.Idle)
		must[bool](tb, `spa.watch()`)
		must[any](tb, `spa.event('session', 2000)`)
	}
	if d := idle[0] - idle[1]; d < -5 || d > 5 {
		t.Errorf("the two apps' idle deadlines differ: %v", idle)
	}
}

func distinct(t *testing.T, tokens []string, want int) {
	t.Helper()
	slices.Sort(tokens)
	if got := len(slices.Compact(tokens)); got != want || strings.TrimSpace(tokens[0]) == "" {
		t.Errorf("%d different access tokens, want %d", got, want)
	}
}
