package proxy

import (
	"io"
	"net/http"
	"strconv"
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

// An upstream that names one origin whoever asks allows no other one.
func TestAllowanceForAnotherOrigin(t *testing.T) {
	r := newRig(t)
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		w.Header().Set(allowOrigin, good)
		usual(w, q, body)
	})
	for range 2 { // asked, and by what an answer said
		if h := r.do(http.MethodPost, "/token", "grant_type=refresh_token&client_id=spa&refresh_token=ORT1.x", "Origin", other).Header; h.Get(allowOrigin) != "" || exposed(h) {
			t.Errorf("an answer of the gateway's own: %v", h)
		}
		h := r.do(http.MethodPost, "/token", "grant_type=client_credentials&client_id=spa", "Origin", other).Header
		if h.Get(allowOrigin) != good || exposed(h) {
			t.Errorf("the upstream's answer: %v", h)
		}
	}
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

// What the upstream allowed is good for an hour, and on while it does not answer.
func TestAllowanceOutlivesAnOutage(t *testing.T) {
	var c clock
	r := corsRig(t, by(&c))
	a := r.app().login()
	r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"), "Origin", good)
	refused := func(origin string) string {
		return r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "Origin", origin).Header.Get(allowOrigin)
	}
	preflight := func(origin string) string {
		return r.do(http.MethodOptions, "/_ort/session", "", "Origin", origin, requestMethod, "GET").Header.Get(allowOrigin)
	}
	r.does(func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) })
	for range 2 { // within the hour, and after it
		if refused(good) != good || preflight(good) != good {
			t.Errorf("down: %q, preflight %q", refused(good), preflight(good))
		}
		if refused(other) != "" || preflight(other) != "" {
			t.Error("another origin is allowed while the upstream is down")
		}
		c.pass(corsLife)
	}
	r.says(200, `{}`) // it is back, and allows nobody
	if got := refused(good); got != "" {
		t.Errorf("a yes of hours ago went before a no: %q", got)
	}
}

// A yes is for its client and origin.
func TestAllowanceIsOfItsClient(t *testing.T) {
	r := newRig(t)
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		if q.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent) // it tells preflights nothing
			return
		}
		if strings.Contains(body, "client_id=spa&") && q.Header.Get("Origin") == good {
			w.Header().Set(allowOrigin, good)
		}
		usual(w, q, body)
	})
	r.do(http.MethodPost, "/token", "client_id=spa&grant_type=x", "Origin", good)
	for client, want := range map[string]string{"spa": good, "other": ""} {
		resp := r.do(http.MethodPost, "/token", "grant_type=refresh_token&refresh_token=ORT1.x&client_id="+client, "Origin", good)
		if got := resp.Header.Get(allowOrigin); got != want || resp.StatusCode != 400 {
			t.Errorf("%s: %d, allowed %q", client, resp.StatusCode, got)
		}
	}
}

// Every answer of the gateway's own carries the allowance.
func TestOwnAnswersCarryTheAllowance(t *testing.T) {
	r := corsRig(t)
	a := r.app().login()
	for name, ask := range map[string]func(origin string) *http.Response{
		"a body that cannot be read": func(o string) *http.Response { return r.do("POST", "/token", "%zz", "Origin", o) },
		"a refused code exchange":    func(o string) *http.Response { return r.do("POST", "/token", a.codeForm("c").Encode(), "Origin", o) },
		"a refused revocation":       func(o string) *http.Response { return r.do("POST", "/revoke", "client_id=x&token="+a.ort, "Origin", o) },
		"the own revocation":         func(o string) *http.Response { return r.do("POST", ownRevocation, "token=x", "Origin", o) },
		"a body of a revocation":     func(o string) *http.Response { return r.do("POST", "/revoke", "%zz", "Origin", o) },
		"a refused push": func(o string) *http.Response {
			return r.do("POST", "/par", "client_id=x&scope=online_access+offline_access", "Origin", o)
		},
		"a body of a push":          func(o string) *http.Response { return r.do("POST", "/par", "%zz", "Origin", o) },
		"a session without a token": func(o string) *http.Response { return r.do("GET", "/_ort/session", "", "Origin", o) },
		"a session with a bad one": func(o string) *http.Response {
			return r.do("GET", "/_ort/session", "", "Authorization", "DPoP ORT1.x", "Origin", o)
		},
		"a session without a proof": func(o string) *http.Response {
			return r.do("GET", "/_ort/session", "", "Authorization", "DPoP "+a.ort, "Origin", o)
		},
		"a stream without a proof": func(o string) *http.Response {
			return r.do("GET", "/_ort/session/events", "", "Authorization", "DPoP "+a.ort, "Origin", o)
		},
	} {
		h := ask(good).Header
		if h.Get(allowOrigin) != good || !exposed(h) || !hasToken(h.Values("Vary"), "Origin") {
			t.Errorf("%s: %v", name, h)
		}
		if h := ask(other).Header; h.Get(allowOrigin) != "" || h.Get(exposeHeaders) != "" {
			t.Errorf("%s of another origin: %v", name, h)
		}
		if h := ask("").Header; h.Get(allowOrigin) != "" || h.Get("Vary") != "" {
			t.Errorf("%s without an origin: %v", name, h)
		}
	}
}

// Where the upstream allows nothing, its answers pass as they are.
func TestUpstreamAnswersAreLeftWhereItAllowsNothing(t *testing.T) {
	r := newRig(t)
	r.says(200, `{}`, exposeHeaders, "X-Own", "Vary", "Cookie")
	h := r.do(http.MethodPost, "/token", "grant_type=x", "Origin", good).Header
	if len(h.Values(exposeHeaders)) != 1 || h.Get(exposeHeaders) != "X-Own" || h.Get("Vary") != "Cookie" {
		t.Errorf("%v", h)
	}
	r.says(200, `{}`, allowOrigin, "*", exposeHeaders, "X-Own")
	h = r.do(http.MethodPost, "/token", "grant_type=x", "Origin", good).Header
	if h.Get(allowOrigin) != "*" || h.Get(exposeHeaders) != "X-Own, DPoP-Nonce, WWW-Authenticate" {
		t.Errorf("with an allowance: %v", h)
	}
	r.says(204, ``, allowOrigin, good, allowHeaders, "x-a")
	h = r.do(http.MethodOptions, "/token", "", "Origin", good, requestMethod, "POST", requestHeaders, "x-a, DPoP").Header
	if h.Get(allowHeaders) != "x-a, DPoP" || r.last().header.Get(requestHeaders) != "x-a" {
		t.Errorf("preflight: %v, asked for %q", h, r.last().header.Get(requestHeaders))
	}
	for _, path := range []string{"/introspect", "/device", "/userinfo", "/page"} {
		r.do(http.MethodOptions, path, "", "Origin", good, requestMethod, "POST", requestHeaders, "x-a, DPoP")
		if got := r.last().header.Get(requestHeaders); got != "x-a, DPoP" {
			t.Errorf("%s: the upstream was asked for %q", path, got)
		}
	}
}

// Floods of origins and clients push one another out, and nothing grows.
func TestFloodsOfOriginsAndClients(t *testing.T) {
	r := newRig(t)
	r.says(200, `{}`, allowOrigin, "*")
	r.cors.allowed.limit = 20
	for i := range 200 {
		n := strconv.Itoa(i)
		r.do(http.MethodPost, "/token", "grant_type=x&client_id="+n, "Origin", "https://"+n+".example")
		r.do(http.MethodPost, "/token", "grant_type=refresh_token&refresh_token=ORT1.x&client_id=b"+n, "Origin", "https://b"+n+".example")
		r.do(http.MethodGet, "/authorize?scope=openid&x="+n, "", "Cookie", "__Host-ort="+n)
	}
	if n := len(r.cors.allowed.values); n > 20 || len(r.owners.known.values) != 0 || len(r.rewritten.values) != 0 {
		t.Errorf("%d allowances, %d owners, %d challenges are kept", n, len(r.owners.known.values), len(r.rewritten.values))
	}
}
