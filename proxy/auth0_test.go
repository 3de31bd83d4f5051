package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
)

func withAuth0(resource bool) rigOption {
	return func(r *rig, c *Config, _ *ortengine.Config) {
		c.Auth0 = Auth0{Paths: true, AudienceAsResource: resource}
		r.meta["authorization_endpoint"], r.meta["end_session_endpoint"] = public+"/realms/r/auth", public+"/realms/r/logout"
		r.meta["token_endpoint"], r.meta["revocation_endpoint"] = public+"/realms/r/token", public+"/realms/r/revoke"
	}
}

func TestFormOfJSON(t *testing.T) {
	for body, want := range map[string]string{
		`{"grant_type":"refresh_token","a b":"ü&=","n":12345678901234567890,"t":true,"f":false,"null":null}`: "grant_type=refresh_token&a+b=%C3%BC%26%3D&n=12345678901234567890&t=true&f=false",
		`{}`: "", ` {"a":"b"} `: "a=b",
		`{"a":1,"a":2}`: "no", `{"a":{}}`: "no", `{"a":[1]}`: "no", `[]`: "no", `"a"`: "no", ``: "no", `{"a":"b"} x`: "no", `{"a":`: "no", `{"a":"b"}{"c":"d"}`: "no",
	} {
		got, ok := formOfJSON([]byte(body))
		if !ok {
			got = "no"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func FuzzFormOfJSON(f *testing.F) {
	f.Add([]byte(`{"a":"b","c":1}`))
	f.Add([]byte(`{"a":{"b":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if form, ok := formOfJSON(body); ok {
			if _, err := url.ParseQuery(form); err != nil {
				t.Errorf("%q became %q", body, form)
			}
		}
	})
}

// Cookies of an upstream below the root come with its own paths alone.
func TestAuth0PathsLeadBrowsersToTheUpstreamsOwn(t *testing.T) {
	r := newRig(t, withAuth0(true))
	for target, want := range map[string]string{
		"/authorize?client_id=spa&audience=urn%3Aa&x=%7e":     "/realms/r/auth?client_id=spa&audience=urn%3Aa&x=%7e",
		"/v2/logout?client_id=spa&returnTo=https%3A%2F%2Fapp": "/realms/r/logout?client_id=spa&post_logout_redirect_uri=https%3A%2F%2Fapp",
		"/v2/logout": "/realms/r/logout",
	} {
		resp := r.do(http.MethodGet, target, "")
		if resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != public+want || r.count() != 0 {
			t.Errorf("%s: %d %s", target, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if resp := r.do(http.MethodPost, "/authorize", "a=b"); resp.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("a POST: %d", resp.StatusCode)
	}
}

func TestAuth0TokenPath(t *testing.T) {
	r := newRig(t, withAuth0(true))
	resp := r.do(http.MethodPost, "/oauth/token", `{"grant_type":"client_credentials","audience":"urn:a"}`, "Content-Type", "", "Content-Type", "application/json")
	if got := r.last(); resp.StatusCode != http.StatusOK || got.path != "/realms/r/token" || got.body != "grant_type=client_credentials&resource=urn%3Aa" ||
		got.header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("%d, the upstream got %+v", resp.StatusCode, got)
	}
	r.refused(r.do(http.MethodPost, "/oauth/token", `{"a":[]}`, "Content-Type", "", "Content-Type", "application/json"), r.count(), 400, "invalid_request")
	if resp := r.do(http.MethodGet, "/oauth/nothing", ""); resp.StatusCode != http.StatusOK || r.last().path != "/oauth/nothing" {
		t.Errorf("a path that is none of Auth0's passes: %d", resp.StatusCode)
	}
	plain := newRig(t)
	plain.do(http.MethodPost, "/oauth/token", "grant_type=x")
	if plain.last().path != "/oauth/token" {
		t.Errorf("without the setting: %s", plain.last().path)
	}
}

func TestWebMessagePage(t *testing.T) {
	params, _ := rewrite.LocationParams("https://app.example/cb?code=c%3C%2Fscript%3E%22&state=s%27&x=1")
	page, header, ok := messagePage("https://app.example/cb", params)
	body := string(page)
	if !ok || strings.Count(body, "</script>") != 1 || strings.Contains(body, `"x"`) || !strings.Contains(body, `"authorization_response"`) || !strings.Contains(body, `"https://app.example"`) {
		t.Errorf("%v %s", ok, body)
	}
	csp := header.Get("Content-Security-Policy")
	_, nonce, _ := strings.Cut(csp, "'nonce-")
	nonce, _, _ = strings.Cut(nonce, "'")
	if !strings.Contains(body, `nonce="`+nonce+`"`) || !strings.HasSuffix(csp, "frame-ancestors https://app.example") {
		t.Errorf("%s\n%s", csp, body)
	}
	for _, uri := range []string{"javascript:alert(1)", "app:/cb", "/cb", ""} {
		if _, _, ok := messagePage(uri, params); ok {
			t.Errorf("a page for %q", uri)
		}
	}
}

func TestWebMessageRequest(t *testing.T) {
	r := newRig(t, withAuth0(false))
	a := r.app()
	r.answer = func(w http.ResponseWriter, q *http.Request, _ string) {
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("Set-Cookie", "idp=k1; Path=/")
		w.Header().Set("Location", redirect+"?code=c1&state="+q.URL.Query().Get("state"))
		w.WriteHeader(http.StatusFound)
		io.WriteString(w, "moved")
	}
	resp := r.do(http.MethodGet, "/realms/r/auth?"+a.authorize("response_mode", "web_message").Encode(), "")
	body := text(resp)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"code":"c1"`) || resp.Header.Get("X-Frame-Options") != "" || resp.Header.Get("Location") != "" || len(resp.Header["Set-Cookie"]) != 2 {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	if !strings.Contains(r.last().query, "response_mode=query") {
		t.Errorf("the upstream got %s", r.last().query)
	}
	other := r.app() // an ordinary request
	if resp := r.do(http.MethodGet, "/realms/r/auth?"+other.authorize().Encode(), ""); resp.StatusCode != http.StatusFound {
		t.Errorf("an ordinary request: %d", resp.StatusCode)
	}
}

// A form stays one where the upstream itself is at Auth0's paths, or is called at its own.
func TestAuth0BodiesAtTheUpstreamsOwnPaths(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config, _ *ortengine.Config) { c.Auth0 = Auth0{Paths: true, AudienceAsResource: true} })
	r.do(http.MethodPost, "/token", `{"grant_type":"client_credentials","audience":"urn:a"}`, "Content-Type", "", "Content-Type", "application/json")
	if got := r.last().body; got != "grant_type=client_credentials&resource=urn%3Aa" {
		t.Errorf("JSON at the token endpoint became %q", got)
	}
	r.do(http.MethodPost, "/par", "client_id=spa&audience=urn%3Aa&resource=urn%3Aa&resource=urn%3Ab&response_type=code")
	if got := r.last().body; got != "client_id=spa&resource=urn%3Aa&resource=urn%3Ab&response_type=code" {
		t.Errorf("a pushed request became %q", got)
	}
	r.do(http.MethodPost, "/userinfo", `{"a":"b"}`, "Content-Type", "", "Content-Type", "application/json")
	if got := r.last().body; got != `{"a":"b"}` {
		t.Errorf("the body of another request became %q", got)
	}
	a := r.app()
	r.do(http.MethodGet, "/authorize?"+a.authorize("audience", "urn:a").Encode(), "")
	if got, _ := url.ParseQuery(r.last().query); got.Has("audience") || got.Get("resource") != "urn:a" {
		t.Errorf("an authorization request became %v", got)
	}
	object := "client_id=spa&audience=urn%3Aa&request=e30.e30."
	if r.do(http.MethodGet, "/authorize?"+object, ""); r.last().query != object {
		t.Errorf("a request with a request object became %q", r.last().query)
	}
	plain := newRig(t)
	plain.refused(plain.do(http.MethodPost, "/token", `{"grant_type":"x"}`, "Content-Type", "", "Content-Type", "application/json"), plain.count(), 400, "invalid_request")
}

// Where the upstream revokes nothing, the SDKs' path is the gateway's own alone.
func TestAuth0RevocationWithoutTheUpstreams(t *testing.T) {
	r := corsRig(t, withAuth0(false), func(r *rig, _ *Config, _ *ortengine.Config) { delete(r.meta, "revocation_endpoint") })
	h := r.do(http.MethodOptions, "/oauth/revoke", "", "Origin", good, requestMethod, "POST", requestHeaders, "auth0-client").Header
	if h.Get(allowOrigin) != good || !hasToken(h.Values(allowHeaders), "Auth0-Client") || r.last().path != "/realms/r/token" {
		t.Errorf("the preflight: %v, asked %+v", h, r.last())
	}
	if resp := r.do(http.MethodPost, "/oauth/revoke", "client_id=spa&token=ORT1.x", "Origin", good); resp.StatusCode != http.StatusOK || resp.Header.Get(allowOrigin) != good {
		t.Errorf("revoking: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := r.do(http.MethodGet, "/oauth/revoke", ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a GET: %d", resp.StatusCode)
	}
	for _, got := range r.asked {
		if got.method != http.MethodOptions || got.path != "/realms/r/token" {
			t.Errorf("it reached the upstream: %+v", got)
		}
	}
}

// An upstream's own path keeps its meaning, however it is spelled.
func TestAuth0PathsGiveWay(t *testing.T) {
	r := newRig(t, withAuth0(false), func(r *rig, _ *Config, _ *ortengine.Config) {
		r.meta["authorization_endpoint"], r.meta["introspection_endpoint"] = public+"/Authorize/", public+"/oauth/token"
	})
	if r.do(http.MethodGet, "/Authorize/?a=b", ""); r.last().path != "/Authorize/" {
		t.Errorf("the upstream got %+v", r.last())
	}
	if r.do(http.MethodPost, "/oauth/token", "token=a"); r.last().path != "/oauth/token" {
		t.Errorf("the upstream got %+v", r.last())
	}
}

// Discovery at the root is the issuer's, which is elsewhere; the rest of Auth0's paths lead to what it publishes.
func TestAuth0RootOfAnIssuerBelow(t *testing.T) {
	const issuer = public + "/realms/r"
	r := newRig(t, func(r *rig, c *Config, _ *ortengine.Config) {
		c.Auth0, c.Issuers = Auth0{Paths: true}, []string{issuer}
		meta := map[string]any{
			"issuer": issuer, "authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/certs",
			"userinfo_endpoint": issuer + "/me", "device_authorization_endpoint": issuer + "/device", "code_challenge_methods_supported": []string{"S256"},
		}
		r.answer = func(w http.ResponseWriter, q *http.Request, _ string) {
			if strings.HasPrefix(q.URL.Path, "/realms/r/.well-known/") {
				w.Header().Set("Content-Type", "application/json")
				json.NewEncoder(w).Encode(meta)
				return
			}
			io.WriteString(w, "{}")
		}
	})
	for _, name := range []string{"openid-configuration", "oauth-authorization-server"} {
		resp := r.do(http.MethodGet, "/.well-known/"+name, "")
		body := text(resp)
		if !strings.Contains(body, `"issuer":"`+issuer+`"`) || !strings.Contains(body, onlineAccess) || r.last().path != "/realms/r/.well-known/"+name {
			t.Errorf("%s: %d %s, the upstream got %+v", name, resp.StatusCode, body, r.last())
		}
	}
	for path, want := range map[string]string{"/.well-known/jwks.json": "/realms/r/certs", "/userinfo": "/realms/r/me", "/oauth//token/%2e": "/realms/r/token"} {
		if r.do(http.MethodOptions, path+"?a=%7e", ""); r.last().path != want || r.last().query != "a=%7e" {
			t.Errorf("%s: the upstream got %+v", path, r.last())
		}
	}
	if r.do(http.MethodPost, "/oauth/device/code", `{"client_id":"spa"}`, "Content-Type", "", "Content-Type", "application/json"); r.last().path != "/realms/r/device" || r.last().body != "client_id=spa" {
		t.Errorf("a device request: the upstream got %+v", r.last())
	}
	if resp := r.do(http.MethodPost, ownRevocation, `{"client_id":"spa","token":"ORT1.x"}`, "Content-Type", "", "Content-Type", "application/json"); resp.StatusCode != http.StatusOK {
		t.Errorf("revoking at the gateway's own path: %d %s", resp.StatusCode, text(resp))
	}
}

// A proof is for the URL as the client called it, in whatever words.
func TestAuth0ProofsNameThePathCalled(t *testing.T) {
	r := newRig(t, withAuth0(false))
	a := r.app()
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ string) { io.WriteString(w, tokenAnswer("spa")) }
	r.do(http.MethodGet, "/realms/r/auth?"+a.authorize().Encode(), "")
	form := a.codeForm("c").Encode()
	before := r.count()
	r.refused(r.do(http.MethodPost, "/oauth/token", form, "DPoP", a.proof("/realms/r/token")), before, 400, "invalid_dpop_proof")
	r.refused(r.do(http.MethodPost, "/realms/r/token", form, "DPoP", a.proof("/oauth/token")), before, 400, "invalid_dpop_proof")
	if resp := r.do(http.MethodPost, "/oauth/token", form, "DPoP", a.proof("/oauth/token")); resp.StatusCode != http.StatusOK {
		t.Errorf("%d %s", resp.StatusCode, text(resp))
	}
}
