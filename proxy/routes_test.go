package proxy

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// second is the issuer that stands beside the usual one.
const second = public + "/b"

// twoIssuers is a rig before two issuers; change says what the second's metadata
// have of their own.
func twoIssuers(change map[string]any) rigOption {
	return func(r *rig, c *Config, _ *ortengine.Config) {
		c.Issuers = []string{public, second}
		other := maps.Clone(r.meta)
		other["issuer"] = second
		maps.Copy(other, change)
		r.wellKnown = func(w http.ResponseWriter, q *http.Request) {
			m := r.meta
			if strings.Contains(q.URL.Path, "/b") {
				m = other
			}
			json.NewEncoder(w).Encode(m)
		}
	}
}

// Where several issuers share their endpoints, transaction and ORT say which is
// meant, and the ID token whose login it is.
func TestIssuersThatShareEndpoints(t *testing.T) {
	r := newRig(t, twoIssuers(nil))
	a := r.app()
	code := a.code()
	id, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": second, "aud": "spa", "sub": "alice", "sid": "s"}).SignedString([]byte("x"))
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		if q.URL.Path == "/token" {
			io.WriteString(w, `{"access_token":"x","refresh_token":"R","id_token":"`+id+`"}`)
			return
		}
		usual(w, q, body)
	})
	a.with(code)
	r.is("exchange", a.exchange(), 200)
	if strings.Contains(r.log.String(), "cannot be read") {
		t.Errorf("the second issuer's ID token was not read:\n%s", r.log)
	}
	r.is("revoking", r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode()), 200)
	r.is("afterwards", a.exchange(), 400)
}

// An ORT belongs to its issuer's token endpoint.
func TestORTAtAnotherIssuersEndpoint(t *testing.T) {
	r := newRig(t, twoIssuers(map[string]any{
		"authorization_endpoint": second + "/authorize", "token_endpoint": second + "/token", "revocation_endpoint": second + "/revoke",
	}))
	a := r.app().login()
	before := r.count()
	resp := r.do(http.MethodPost, "/b/token", a.refreshForm().Encode(), "DPoP", a.proof("/b/token"))
	r.refused(resp, before, 400, "invalid_grant")
	if resp := r.do(http.MethodPost, "/b/revoke", "client_id=spa&token="+a.ort); resp.StatusCode != 200 || r.count() != before {
		t.Errorf("revocation elsewhere: %d", resp.StatusCode)
	}
	r.is("it lives", a.exchange(), 200)
	r.do(http.MethodPost, "/b/token", a.codeForm("c").Encode())
	if !strings.Contains(r.last().body, a.verifier) {
		t.Error("a transaction was found at another place")
	}
	if resp := a.ask("/_ort/session"); resp.StatusCode != 200 {
		t.Errorf("the session, whatever issuer: %d", resp.StatusCode)
	}
}

// Only what passes the gateway is intercepted; the log says what does not.
func TestEndpointsOffThePublicOrigin(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config, _ *ortengine.Config) {
		r.meta["introspection_endpoint"] = "https://other.example/introspect"
		r.meta["userinfo_endpoint"] = "http://id.example/userinfo"
		r.meta["token_endpoint"] = "HTTPS://ID.example/token"
	})
	if !strings.Contains(r.log.String(), "https://other.example/introspect") || !strings.Contains(r.log.String(), "http://id.example/userinfo") {
		t.Errorf("the log has %s", r.log)
	}
	r.refused(r.do(http.MethodPost, "/token", "{}"+"&a=%zz"), 0, 400, "invalid_request")
	r.do(http.MethodPost, "/introspect", "{}&a=%zz")
	if r.count() != 1 {
		t.Error("what is another host's was intercepted")
	}
}

func TestNotKnownYet(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config, _ *ortengine.Config) { r.meta["issuer"] = "https://other.example" })
	r.unavailable("a POST", r.do(http.MethodPost, "/token", "grant_type=x"))
	resp := r.do(http.MethodGet, "/any", "")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || r.count() != 0 {
		t.Errorf("a page: %d %v", resp.StatusCode, resp.Header)
	}
	r.Learn(&upstream.State{Providers: []*upstream.Provider{nil}}) // one of several is not known
	if r.routes.Load() != nil {
		t.Error("served before all is known")
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	whole := newRig(t).Config
	for name, change := range map[string]func(*Config){
		"Public": func(c *Config) { c.Public = nil }, "Upstream": func(c *Config) { c.Upstream = nil }, "Transport": func(c *Config) { c.Transport = nil },
		"Engine": func(c *Config) { c.Engine = nil }, "Metadata": func(c *Config) { c.Metadata = nil }, "Cookies": func(c *Config) { c.Cookies = nil },
		"Verifier": func(c *Config) { c.Verifier = nil }, "UpstreamTimeout": func(c *Config) { c.UpstreamTimeout = 0 }, "Absolute": func(c *Config) { c.Absolute = -1 },
	} {
		c := whole
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// A logout at an endpoint that several issuers share is one of each of their places.
func TestLogoutWhereIssuersShareTheEndpoint(t *testing.T) {
	idp := proxytest.New(t, proxytest.Config{Issuer: second}) // for its signature
	token := idp.Sign(map[string]any{"iss": second, "aud": "spa", "sub": "alice", "sid": "s"})
	r := newRig(t, twoIssuers(map[string]any{"authorization_endpoint": second + "/authorize", "token_endpoint": second + "/token"}))
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		switch q.URL.Path {
		case "/b/authorize":
			w.Header().Set("Location", redirect+"?code="+q.URL.Query().Get("state"))
			w.WriteHeader(http.StatusFound)
		case "/b/token":
			io.WriteString(w, `{"access_token":"x","refresh_token":"R","id_token":"`+token+`"}`)
		case "/logout":
			w.Header().Set("Location", home)
			w.WriteHeader(http.StatusFound)
		default:
			idp.ServeHTTP(w, q)
		}
	})
	for name, hint := range map[string]string{"by a hint": "&id_token_hint=" + token, "with no login left": ""} {
		t.Run(name, func(t *testing.T) {
			a := r.app()
			resp := r.do(http.MethodGet, "/b/authorize?"+a.authorize().Encode(), "")
			cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
			to, _ := resp.Location()
			exchange := func(form url.Values) *http.Response {
				return r.do(http.MethodPost, "/b/token", form.Encode(), "DPoP", a.proof("/b/token"))
			}
			body := r.is("code exchange", exchange(a.codeForm(to.Query().Get("code"))), 200, `"refresh_token":"ORT1.`)
			_, rest, _ := strings.Cut(body, `"refresh_token":"`)
			a.ort, _, _ = strings.Cut(rest, `"`)
			r.do(http.MethodGet, "/logout?post_logout_redirect_uri="+url.QueryEscape(home)+hint, "", "Cookie", cookie)
			r.is("the ORT", exchange(a.refreshForm()), 400, "the user logged out")
		})
	}
}
