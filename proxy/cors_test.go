package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

const (
	good  = "https://app.example"
	other = "https://other.example"
)

// corsUpstream allows one origin at the token endpoint; its preflight too.
func corsUpstream(w http.ResponseWriter, r *http.Request, body string) {
	if r.Header.Get("Origin") == good {
		w.Header().Set(allowOrigin, good)
		w.Header().Set(allowCredentials, "true")
		if r.Method == http.MethodOptions {
			w.Header().Set(allowHeaders, r.Header.Get(requestHeaders))
		}
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	usual(w, r, body)
}

func corsRig(t *testing.T, options ...rigOption) *rig {
	r := newRig(t, options...)
	r.answer = corsUpstream
	return r
}

func exposed(h http.Header) bool {
	return hasToken(h.Values(exposeHeaders), "DPoP-Nonce") && hasToken(h.Values(exposeHeaders), "WWW-Authenticate")
}

func TestPreflightAllowsDPoPWhereTheUpstreamAllowsTheOrigin(t *testing.T) {
	r := corsRig(t)
	ask := func(path, origin string) http.Header {
		return r.do(http.MethodOptions, path, "", "Origin", origin, requestMethod, "POST", requestHeaders, "dpop,content-type").Header
	}
	for _, path := range []string{"/token", "/revoke", "/par"} {
		h := ask(path, good)
		if h.Get(allowOrigin) != good || !hasToken(h.Values(allowHeaders), "DPoP") || r.last().header.Get(requestHeaders) != "content-type" {
			t.Errorf("%s: %v, the upstream was asked for %q", path, h, r.last().header.Get(requestHeaders))
		}
		if h := ask(path, other); h.Get(allowOrigin) != "" || h.Get(allowHeaders) != "" {
			t.Errorf("%s of another origin: %v", path, h)
		}
	}
	h := ask("/_ort/session", good)
	if h.Get(allowOrigin) != good || !hasToken(h.Values(allowHeaders), "DPoP") || !hasToken(h.Values(allowHeaders), "Authorization") || !hasToken(h.Values(allowMethods), "GET") {
		t.Errorf("session: %v", h)
	}
	if h := ask("/_ort/session", other); h.Get(allowOrigin) != "" {
		t.Errorf("session of another origin: %v", h)
	}
}

func TestAnswersCarryTheUpstreamsAllowance(t *testing.T) {
	r := corsRig(t)
	a := r.app().login()
	resp := r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"), "Origin", good)
	if resp.Header.Get(allowOrigin) != good || !exposed(resp.Header) {
		t.Errorf("an answer of the upstream: %v", resp.Header)
	}
	before := r.count()
	refused := r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "Origin", good)
	if refused.Header.Get(allowOrigin) != good || refused.Header.Get(allowCredentials) != "true" || !exposed(refused.Header) || !hasToken(refused.Header.Values("Vary"), "Origin") {
		t.Errorf("an answer of the gateway's own: %v", refused.Header)
	}
	if r.count() != before {
		t.Error("the upstream was asked again for what it allowed already")
	}
	foreign := r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "Origin", other)
	if foreign.Header.Get(allowOrigin) != "" || r.last().method != http.MethodOptions || strings.Contains(strings.ToLower(r.last().header.Get(requestHeaders)), "dpop") {
		t.Errorf("another origin: %v, asked %+v", foreign.Header, r.last())
	}
	r.mu.Lock()
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ string) { io.WriteString(w, `{}`) } // a refusal does not overwrite a yes
	r.mu.Unlock()
	r.do(http.MethodPost, "/token", "grant_type=x&client_id=spa", "Origin", good)
	if h := r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "Origin", good).Header; h.Get(allowOrigin) != good {
		t.Errorf("after a refusal: %v", h)
	}
}

func TestCORSOriginsOverride(t *testing.T) {
	r := corsRig(t, func(_ *rig, c *Config, _ *ortengine.Config) { c.CORSOrigins = []string{other} })
	a := r.app().login()
	for origin, want := range map[string]string{good: "", other: other} {
		before := r.count()
		h := r.do(http.MethodOptions, "/token", "", "Origin", origin, requestMethod, "POST", requestHeaders, "dpop").Header
		if h.Get(allowOrigin) != want || r.count() != before {
			t.Errorf("preflight of %s: %v", origin, h)
		}
		h = r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"), "Origin", origin).Header
		if h.Get(allowOrigin) != want {
			t.Errorf("answer to %s: %v", origin, h)
		}
	}
}

func TestWhatStrangersCanMakeUsRememberIsBounded(t *testing.T) {
	r := corsRig(t)
	r.cors.allowed.limit = 10
	for i := range 100 {
		r.cors.remember(corsKey{client: strings.Repeat("c", i), origin: good}, allowance{origin: good})
	}
	r.cors.remember(corsKey{client: strings.Repeat("c", 1000), origin: good}, allowance{origin: good})
	if n := len(r.cors.allowed.values); n != 10 {
		t.Errorf("%d allowances are kept, want 10", n)
	}
}

func TestDiscovery(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		resp := r.do(http.MethodGet, path, "")
		body := text(resp)
		for _, want := range []string{
			`"scopes_supported":["openid","online_access"]`, `"refresh_token"`, `"ort_session_endpoint":"https://id.example/_ort/session"`,
			`"dpop_signing_alg_values_supported":["ES256"]`, `"revocation_endpoint":"https://id.example/revoke"`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %s\nmisses %s", path, body, want)
			}
		}
		if resp.ContentLength != int64(len(body)) && resp.Header.Get("Content-Length") == "" {
			t.Error("no length")
		}
		tag := resp.Header.Get("ETag")
		if again := r.do(http.MethodGet, path, "", "If-None-Match", `"x", `+tag); again.StatusCode != http.StatusNotModified || text(again) != "" {
			t.Errorf("with its ETag: %d", again.StatusCode)
		}
		if again := r.do(http.MethodGet, path, "", "If-None-Match", strings.ToLower(tag)+"x"); again.StatusCode != http.StatusOK {
			t.Errorf("with another ETag: %d", again.StatusCode)
		}
	}
	delete(r.meta, "revocation_endpoint")
	bare := newRig(t, func(r *rig, _ *Config, _ *ortengine.Config) { delete(r.meta, "revocation_endpoint") })
	if body := text(bare.do(http.MethodGet, "/.well-known/openid-configuration", "")); !strings.Contains(body, `"revocation_endpoint":"https://id.example/_ort/revoke"`) {
		t.Errorf("no revocation endpoint upstream: %s", body)
	}
	r.Transport.(*http.Transport).CloseIdleConnections()
	r.forwarder.host = "127.0.0.1:1" // gone
	if resp := r.do(http.MethodGet, "/.well-known/openid-configuration", ""); resp.StatusCode != http.StatusOK || !strings.Contains(text(resp), "online_access") {
		t.Errorf("while the upstream is down: %d", resp.StatusCode)
	}
}
