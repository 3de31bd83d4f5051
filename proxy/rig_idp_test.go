package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// idpRig is a rig before a working identity provider.
func idpRig(t *testing.T, change func(*proxytest.Config), options ...rigOption) (*rig, *proxytest.IdP) {
	t.Helper()
	c := proxytest.Config{Issuer: public, User: "alice", Clients: []proxytest.Client{
		{ID: "spa", Redirects: []string{redirect}, Origins: []string{good}},
		{ID: "spa2", Redirects: []string{redirect}, Origins: []string{good}},
		{ID: "web", Secret: "s+cret &%", Redirects: []string{redirect}},
	}}
	if change != nil {
		change(&c)
	}
	idp := proxytest.New(t, c)
	r := newRig(t, options...)
	r.does(func(w http.ResponseWriter, req *http.Request, body string) {
		req.Body = io.NopCloser(strings.NewReader(body))
		idp.ServeHTTP(w, req)
	})
	return r, idp
}

// does says what the upstream does from now on; nil: as usual.
func (r *rig) does(answer func(w http.ResponseWriter, r *http.Request, body string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// says lets the upstream answer all requests with that status, header and body.
func (r *rig) says(status int, body string, header ...string) {
	r.does(func(w http.ResponseWriter, _ *http.Request, _ string) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// by is a rig whose rules and memory go by that clock; proofs go by the real one.
func by(c *clock) rigOption {
	c.at = time.Now()
	return func(_ *rig, conf *Config, e *ortengine.Config) { conf.Now, e.Now = c.now, c.now }
}

func dpopUpstream(_ *rig, c *Config, _ *ortengine.Config) { c.DPoPUpstream = true }

// exchange is an ORT exchange with a good proof.
func (a *app) exchange(change ...string) *http.Response {
	a.t.Helper()
	form := a.refreshForm()
	for i := 0; i+1 < len(change); i += 2 {
		form.Set(change[i], change[i+1])
	}
	return a.do(http.MethodPost, "/token", form.Encode(), "DPoP", a.proof("/token"))
}

// redeem is a code exchange with a good proof.
func (a *app) redeem(code string, header ...string) *http.Response {
	a.t.Helper()
	return a.do(http.MethodPost, "/token", a.codeForm(code).Encode(), append(header, "DPoP", a.proof("/token"))...)
}

// is checks an answer's status and that its body has the parts.
func (r *rig) is(what string, resp *http.Response, status int, parts ...string) string {
	r.t.Helper()
	body := text(resp)
	if resp.StatusCode != status {
		r.t.Errorf("%s: got %d %s, want %d", what, resp.StatusCode, body, status)
	}
	for _, p := range parts {
		if !strings.Contains(body, p) {
			r.t.Errorf("%s: %s\nmisses %s", what, body, p)
		}
	}
	return body
}

// unavailable checks a 503 in JSON that says when to come back.
func (r *rig) unavailable(what string, resp *http.Response) {
	r.t.Helper()
	r.is(what, resp, http.StatusServiceUnavailable, `"error":"temporarily_unavailable"`)
	if resp.Header.Get("Retry-After") == "" || resp.Header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("%s: %v", what, resp.Header)
	}
}
