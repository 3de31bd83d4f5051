package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const checkIssuer = "https://login.test/main"

// checkUpstream is a small identity provider whose settings a test makes wrong.
type checkUpstream struct {
	doc     map[string]any // the OpenID Connect document
	oauth   map[string]any // RFC 8414's; nil: there is none
	secrets map[string]string
	public  bool   // the public name leads past the gateway
	links   bool   // links follow X-Forwarded-Host
	pkce    string // demanded, ignored, plain; "": taken
	cookie  string // Set-Cookie of the authorization endpoint
	scope   string // the only one that is taken; "": any
	page    bool   // it wants a redirect_uri
	token   func(w http.ResponseWriter, r *http.Request) bool
	revoke  int    // status for wrong authentication at the revocation endpoint
	origin  string // that the token endpoint allows; "refused": none, with 403
	cors    string // Access-Control-Allow-Origin of preflights
	noDate  bool
	date    time.Duration
	status  int    // of the discovery document, 0: 200
	text    string // in place of the discovery documents

	mu   sync.Mutex
	seen []string // every request with its fields and form
}

func newCheckUpstream() *checkUpstream {
	doc := map[string]any{"issuer": checkIssuer}
	for name, path := range map[string]string{
		"authorization_endpoint": "/authorize", "token_endpoint": "/oauth/token", "userinfo_endpoint": "/userinfo", "jwks_uri": "/certs",
		"end_session_endpoint": "/end", "revocation_endpoint": "/revoke", "introspection_endpoint": "/introspect",
	} {
		doc[name] = "https://login.test" + path
	}
	for name, list := range map[string]string{
		"response_types_supported": "code", "grant_types_supported": "authorization_code refresh_token", "scopes_supported": "openid offline_access",
		"claims_supported": "sub sid", "subject_types_supported": "public", "code_challenge_methods_supported": "S256",
		"token_endpoint_auth_methods_supported": "none client_secret_basic client_secret_post",
	} {
		doc[name] = strings.Fields(list)
	}
	doc["backchannel_logout_supported"], doc["backchannel_logout_session_supported"] = true, true
	return &checkUpstream{doc: doc, secrets: map[string]string{"web": "web-secret"}, pkce: "demanded", origin: "https://app.test", cookie: "auth=1; Secure", revoke: 401}
}

func (u *checkUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	u.mu.Lock()
	u.seen = append(u.seen, fmt.Sprintf("%s %s %s %v %v", r.Method, r.Host, r.URL, r.Header, r.PostForm))
	u.mu.Unlock()
	if u.noDate {
		w.Header()["Date"] = nil
	}
	if u.date != 0 {
		w.Header().Set("Date", time.Now().Add(u.date).UTC().Format(http.TimeFormat))
	}
	if r.Method == http.MethodOptions {
		if u.cors != "" {
			w.Header().Set("Access-Control-Allow-Origin", strings.ReplaceAll(u.cors, "ORIGIN", r.Header.Get("Origin")))
		}
		return
	}
	switch r.URL.Path {
	case "/main/.well-known/openid-configuration":
		u.document(w, r, u.doc)
	case "/.well-known/oauth-authorization-server/main":
		u.document(w, r, u.oauth)
	case "/authorize":
		u.authorize(w, r)
	case "/oauth/token", "/revoke":
		u.asClient(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (u *checkUpstream) document(w http.ResponseWriter, r *http.Request, doc map[string]any) {
	if doc == nil {
		http.NotFound(w, r)
		return
	}
	if u.links && r.Header.Get("X-Forwarded-Host") == "" {
		doc = maps.Clone(doc)
		doc["token_endpoint"] = "http://" + r.Host + "/oauth/token"
	}
	if u.status != 0 {
		w.WriteHeader(u.status)
	}
	if u.text != "" {
		_, _ = io.WriteString(w, u.text)
		return
	}
	_ = json.NewEncoder(w).Encode(doc)
}

func (u *checkUpstream) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("prompt") != "none" || r.Header.Get("Cookie") != "" {
		panic("that might have been a login")
	}
	w.Header().Set("Set-Cookie", u.cookie)
	if u.page {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	code, method := "login_required", q.Get("code_challenge_method")
	switch {
	case u.pkce == "demanded" && method == "", u.pkce != "ignored" && method != "" && method != "S256", u.pkce == "plain" && method == "S256":
		code = "invalid_request"
	case u.pkce == "unauthorized":
		code = "unauthorized_client"
	case u.pkce == "unsupported":
		code = "unsupported_response_type"
	case u.pkce == "busy":
		code = "temporarily_unavailable"
	case u.scope != "" && q.Get("scope") != "" && q.Get("scope") != u.scope:
		code = "invalid_scope"
	}
	http.Redirect(w, r, "https://app.test/cb?error="+code+"&error_description=about+PKCE&state="+q.Get("state"), http.StatusFound)
}

func (u *checkUpstream) asClient(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth/token" && u.token != nil && u.token(w, r) {
		return
	}
	switch origin := r.Header.Get("Origin"); {
	case origin != "" && u.origin == "refused":
		oauthError(w, 403, "invalid_request")
		return
	case origin != "" && origin == u.origin:
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	client, secret, _ := r.BasicAuth()
	if client == "" {
		client, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	want, confidential := u.secrets[client]
	switch {
	case (confidential && secret != want || client != "web" && client != "spa") && r.URL.Path == "/revoke":
		oauthError(w, u.revoke, "invalid_client") // Keycloak says errors with 200 there
	case confidential && secret != want, client != "web" && client != "spa":
		oauthError(w, 401, "invalid_client")
	case r.URL.Path == "/oauth/token":
		oauthError(w, 400, "invalid_grant")
	}
}

func oauthError(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q,"error_description":"no\u001b[31m"}`, code)
}

// check runs a check of u, with the environment that is good for it and more.
func (u *checkUpstream) check(t *testing.T, more ...string) (*report, string) {
	t.Helper()
	s := httptest.NewServer(u)
	defer s.Close()
	dir := t.TempDir()
	environ := append(slices.Clone(more), "ORT_ISSUER="+checkIssuer, "ORT_UPSTREAM_URL="+s.URL, "ORT_STORE_URL=bolt:"+filepath.Join(dir, "store.db"),
		"ORT_CLIENTS=spa,web", "ORT_CONFIDENTIAL_CLIENTS=web", "ORT_TRUSTED_PROXIES=private")
	settings, warnings, err := Load(environ, checkSealingKeys)
	if err != nil {
		t.Fatal(err)
	}
	c := newChecker(settings)
	c.public = roundTrip(func(r *http.Request) (*http.Response, error) {
		if u.public {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("{}"))}, nil
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"ort_session_endpoint":"x"}`))}, nil
	})
	c.run(t.Context(), warnings)
	var b bytes.Buffer
	if err := c.report.write(&b, false, 1); err != nil {
		t.Fatal(err)
	}
	return c.report, strings.NewReplacer(dir, "DIR", s.URL, "UPSTREAM").Replace(b.String())
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
