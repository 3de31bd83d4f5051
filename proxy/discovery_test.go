package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

const openidConfiguration = "/.well-known/openid-configuration"

// published lets the upstream answer discovery with other bytes than it was
// learned from.
func published(r *rig, status int, body string, header ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wellKnown = func(w http.ResponseWriter, q *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		if q.Method != http.MethodHead {
			io.WriteString(w, body)
		}
	}
}

func members(t *testing.T, resp *http.Response) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
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

// Members that are there keep their bytes and order.
func TestDiscoveryKeepsWhatIsThere(t *testing.T) {
	r := newRig(t)
	published(r, 200, "{ \"issuer\" : \"https://id.example\",\n\"n\":1.50,\"twice\":1,\"twice\":2,\"scopes_supported\":[\"a\"],\"grant_types_supported\":[\"x\"],"+
		"\"dpop_signing_alg_values_supported\":[\"RS512\"],\"revocation_endpoint\":\"https://id.example/revoke\" }",
		"ETag", `"theirs"`, "Last-Modified", "yesterday", "Repr-Digest", "sha-256=:x:", "X-Other", "1", "Cache-Control", "max-age=60")
	resp := r.do(http.MethodGet, openidConfiguration, "")
	const want = "{ \"issuer\" : \"https://id.example\",\n\"n\":1.50,\"twice\":1,\"twice\":2,\"scopes_supported\":[\"a\",\"online_access\"],\"grant_types_supported\":[\"x\",\"refresh_token\"],"
	body := text(resp)
	if !strings.HasPrefix(body, want) || !strings.Contains(body, `"dpop_signing_alg_values_supported":["ES256"]`) {
		t.Errorf("got %s", body)
	}
	h := resp.Header
	if h.Get("ETag") == `"theirs"` || h.Get("Last-Modified") != "" || h.Get("Repr-Digest") != "" || h.Get("X-Other") != "1" || h.Get("Cache-Control") != "max-age=60" {
		t.Errorf("header %v", h)
	}
}

func TestDiscoveryAsksForTheWholeDocument(t *testing.T) {
	r := newRig(t)
	var seen http.Header
	r.mu.Lock()
	r.wellKnown = func(w http.ResponseWriter, q *http.Request) {
		seen = q.Header.Clone()
		json.NewEncoder(w).Encode(r.meta)
	}
	r.mu.Unlock()
	r.do(http.MethodGet, openidConfiguration, "", "If-None-Match", `"x"`, "If-Modified-Since", "now", "Range", "bytes=0-1", "Accept-Encoding", "gzip")
	if seen.Get("If-None-Match") != "" || seen.Get("If-Modified-Since") != "" || seen.Get("Range") != "" || seen.Get("Accept-Encoding") != "identity" {
		t.Errorf("the upstream got %v", seen)
	}
	head := r.do(http.MethodHead, openidConfiguration, "")
	if head.StatusCode != 200 || head.Header.Get("ETag") == "" || head.Header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
}

// What is none of our issuers' passes as it is.
func TestDiscoveryOfOthersPasses(t *testing.T) {
	for name, body := range map[string]string{
		"another issuer": `{ "issuer":"https://other.example","x" : 1}`, "an issuer with a slash": `{"issuer":"https://id.example/"}`,
		"no JSON": "<html>", "two objects": `{"issuer":"https://id.example"}{}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			published(r, 200, body, "ETag", `"theirs"`)
			if resp := r.do(http.MethodGet, openidConfiguration, ""); text(resp) != body || resp.Header.Get("ETag") != `"theirs"` {
				t.Errorf("got %v", resp.Header)
			}
		})
	}
	r := newRig(t)
	published(r, 404, "none here")
	r.is("not found", r.do(http.MethodGet, openidConfiguration, ""), 404, "none here")
	published(r, 200, "{}")
	if resp := r.do(http.MethodPost, openidConfiguration, "a=b"); resp.StatusCode != 200 || text(resp) != "{}" {
		t.Errorf("a POST passes: %d", resp.StatusCode)
	}
}

func TestDiscoveryWhereTheUpstreamIsTheAuthority(t *testing.T) {
	r := newRig(t, dpopUpstream)
	m := members(t, r.do(http.MethodGet, openidConfiguration, ""))
	if _, ok := m["dpop_signing_alg_values_supported"]; ok || m["ort_session_endpoint"] != public+"/_ort/session" {
		t.Errorf("got %v", m)
	}
}

// A revocation endpoint in either document is the upstream's.
func TestDiscoveryOfTheRevocationEndpoint(t *testing.T) {
	r := newRig(t)
	published(r, 200, `{"issuer":"https://id.example"}`) // one that leaves it out, while the other has it
	if m := members(t, r.do(http.MethodGet, openidConfiguration, "")); m["revocation_endpoint"] != nil {
		t.Errorf("got %v", m["revocation_endpoint"])
	}
	bare := newRig(t, func(r *rig, _ *Config, _ *ortengine.Config) { delete(r.meta, "revocation_endpoint") })
	for _, path := range []string{openidConfiguration, "/.well-known/oauth-authorization-server"} {
		if m := members(t, bare.do(http.MethodGet, path, "")); m["revocation_endpoint"] != public+ownRevocation {
			t.Errorf("%s: %v", path, m["revocation_endpoint"])
		}
	}
}

// While the upstream errs or is gone, what it published is served from memory.
func TestDiscoveryFromMemory(t *testing.T) {
	r := newRig(t)
	live := r.do(http.MethodGet, openidConfiguration, "")
	want, tag := text(live), live.Header.Get("ETag")
	published(r, 503, "down")
	resp := r.do(http.MethodGet, openidConfiguration, "")
	if got := text(resp); got != want || resp.Header.Get("ETag") != tag || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, got)
	}
	if resp := r.do(http.MethodGet, openidConfiguration, "", "If-None-Match", "W/"+tag); resp.StatusCode != 304 {
		t.Errorf("with its ETag: %d", resp.StatusCode)
	}
	r.mu.Lock()
	r.wellKnown = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	r.mu.Unlock()
	r.is("no answer", r.do(http.MethodGet, openidConfiguration, ""), 200, "online_access")
}

// Of a document that the upstream never had nothing is in memory: its own error
// passes, and where it does not answer at all, that is told as anywhere else.
func TestDiscoveryThatNobodyHas(t *testing.T) {
	const other = "/.well-known/oauth-authorization-server"
	r := newRig(t, func(r *rig, _ *Config, _ *ortengine.Config) {
		r.wellKnown = func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path != openidConfiguration {
				http.NotFound(w, q)
				return
			}
			json.NewEncoder(w).Encode(r.meta)
		}
	})
	published(r, 503, "being mended")
	r.is("its own error", r.do(http.MethodGet, other, ""), 503, "being mended")
	r.mu.Lock()
	r.wellKnown = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	r.mu.Unlock()
	r.is("no answer", r.do(http.MethodGet, other, ""), 502, "server_error")
}

func TestDiscoveryListsAreNotRepeated(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config, _ *ortengine.Config) {
		r.meta["scopes_supported"] = []string{"online_access"}
		r.meta["grant_types_supported"] = []string{"refresh_token"}
	})
	m := members(t, r.do(http.MethodGet, openidConfiguration, ""))
	for _, name := range []string{"scopes_supported", "grant_types_supported"} {
		if list := m[name].([]any); len(list) != 1 {
			t.Errorf("%s: %v", name, list)
		}
	}
	without := newRig(t)
	m = members(t, without.do(http.MethodGet, openidConfiguration, ""))
	grants := m["grant_types_supported"].([]any)
	if !slices.Contains(grants, any("authorization_code")) || !slices.Contains(grants, any("refresh_token")) {
		t.Errorf("the default is lost: %v", grants)
	}
}
