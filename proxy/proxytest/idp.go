package proxytest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Client is a registered client.
type Client struct {
	ID        string
	Secret    string // empty: a public client
	Redirects []string
	Origins   []string // that CORS allows
}

// Config says what an [IdP] is like. The zero Config has no clients and shows its
// login form.
type Config struct {
	Issuer  string // public URL without a slash at its end; empty: that of the server
	Clients []Client
	// User logs in without being asked, wherever a login form would be shown; empty:
	// the form is shown, and posted with username.
	User string
	// RefreshUnasked gives refresh tokens without offline_access, as Keycloak does.
	RefreshUnasked bool
	// KeepRefresh answers a refresh with the refresh token that came, unchanged.
	KeepRefresh bool
	// WithoutSID leaves sid out of ID tokens.
	WithoutSID bool
	// Metadata are members that the discovery documents have in place of, or beside,
	// the usual ones; nil takes a member out.
	Metadata map[string]any
	Now      func() time.Time // nil: time.Now
}

// IdP is a running identity provider. It is safe for concurrent use.
type IdP struct {
	*httptest.Server
	Config

	mu       sync.Mutex
	requests []Request
	faults   map[string][]planned
	key      *rsa.PrivateKey
	keyID    string

	logins  map[string]*login  // by cookie
	codes   map[string]*code   // by code
	pushed  map[string]string  // query by request_uri
	devices map[string]*device // by device_code
	refresh map[string]*family // by refresh token, used ones too
	access  map[string]*family // by access token
	current map[*family]string // the one refresh token of a family that is good
}

// Request is one that came in.
type Request struct {
	Method, Path, Query, Body string
	Header                    http.Header
}

// Form is the body's parameters.
func (r Request) Form() url.Values { v, _ := url.ParseQuery(r.Body); return v }

// login is a user's login in one browser.
type login struct {
	user, sid string
	at        time.Time
}

// family is all that came of one login of one client: it ends as one.
type family struct {
	client *Client
	login  *login
	scope  string
	ended  bool
}

// New starts an identity provider, which ends with the test.
func New(t testing.TB, c Config) *IdP {
	t.Helper()
	p := &IdP{
		Config: c, faults: map[string][]planned{}, logins: map[string]*login{}, codes: map[string]*code{},
		pushed: map[string]string{}, devices: map[string]*device{}, refresh: map[string]*family{},
		access: map[string]*family{}, current: map[*family]string{},
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	p.NewKey()
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	if p.Issuer == "" {
		p.Issuer = p.URL
	}
	return p
}

// NewKey changes the key that ID tokens are signed with; the former is forgotten.
func (p *IdP) NewKey() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.keyID = key, rand.Text()
}

// ServeHTTP remembers a request, does what was planned for its path, and else what
// an identity provider does.
func (p *IdP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(raw)))
	p.mu.Lock()
	p.requests = append(p.requests, Request{r.Method, r.URL.Path, r.URL.RawQuery, string(raw), r.Header.Clone()})
	fault := p.planned(r.URL.Path)
	p.mu.Unlock()
	if fault != nil {
		fault(w, r, http.HandlerFunc(p.serve))
		return
	}
	p.serve(w, r)
}

// serve is the provider as it should be.
func (p *IdP) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server":
		w.Header().Set("Access-Control-Allow-Origin", "*")
		writeJSON(w, http.StatusOK, p.metadata())
	case "/jwks":
		writeJSON(w, http.StatusOK, p.jwks())
	case "/authorize":
		p.authorize(w, r)
	case "/logout":
		p.logout(w, r)
	case "/par", "/token", "/revoke", "/introspect", "/device":
		p.direct(w, r)
	case "/userinfo":
		p.userinfo(w, r)
	default:
		http.NotFound(w, r)
	}
}

// metadata is what both discovery documents say.
func (p *IdP) metadata() map[string]any {
	m := map[string]any{
		"issuer": p.Issuer, "authorization_endpoint": p.Issuer + "/authorize", "token_endpoint": p.Issuer + "/token",
		"revocation_endpoint": p.Issuer + "/revoke", "introspection_endpoint": p.Issuer + "/introspect",
		"pushed_authorization_request_endpoint": p.Issuer + "/par", "device_authorization_endpoint": p.Issuer + "/device",
		"end_session_endpoint": p.Issuer + "/logout", "userinfo_endpoint": p.Issuer + "/userinfo", "jwks_uri": p.Issuer + "/jwks",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"code_challenge_methods_supported": []string{"S256"}, "scopes_supported": []string{"openid", "offline_access"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token", "client_credentials"},
		"authorization_response_iss_parameter_supported": true,
	}
	for name, value := range p.Metadata {
		if value == nil {
			delete(m, name)
		} else {
			m[name] = value
		}
	}
	return m
}

// client is a registered one, nil: there is none of that id.
func (p *IdP) client(id string) *Client {
	if i := slices.IndexFunc(p.Clients, func(c Client) bool { return c.ID == id }); i >= 0 {
		return &p.Clients[i]
	}
	return nil
}

// Requests are those that came in, but for discovery documents and keys.
func (p *IdP) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.requests), func(r Request) bool {
		return strings.HasPrefix(r.Path, "/.well-known/") || r.Path == "/jwks"
	})
}

// At are the requests that came in at a path.
func (p *IdP) At(path string) []Request {
	return slices.DeleteFunc(p.Requests(), func(r Request) bool { return r.Path != path })
}

// EndLogins ends every login and all that came of it, as an administrator does.
func (p *IdP) EndLogins() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.logins)
	for f := range p.current {
		f.ended = true
	}
}

// Alive says whether a refresh token would be taken.
func (p *IdP) Alive(refreshToken string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.refresh[refreshToken]
	return f != nil && !f.ended && p.current[f] == refreshToken
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
