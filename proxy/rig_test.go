package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
	"github.com/ort-gateway/ort-gateway/sessions/boltstore"
)

// rig is a gateway before an upstream that does as it is told and remembers what
// it was asked.
type rig struct {
	*Gateway
	t     testing.TB
	store *boltstore.Store
	log   *proctest.Output

	mu     sync.Mutex
	asked  []asked
	answer func(w http.ResponseWriter, r *http.Request, body string) // nil: see usual
	meta   map[string]any
	// wellKnown answers discovery; nil: with meta.
	wellKnown func(w http.ResponseWriter, r *http.Request)
	direct    bool // without a network, for synctest
}

// asked is a request that reached the upstream.
type asked struct {
	method, path, query, body string
	header                    http.Header
}

const (
	public   = "https://id.example"
	redirect = "https://app.example/callback"
)

type rigOption func(*rig, *Config, *ortengine.Config)

func newRig(t testing.TB, options ...rigOption) *rig {
	t.Helper()
	return startRig(t, false, options...)
}

// startRig is newRig; direct: requests reach the upstream by a call, so that
// synctest sees who waits.
func startRig(t testing.TB, direct bool, options ...rigOption) *rig {
	t.Helper()
	r := &rig{t: t, direct: direct, log: new(proctest.Output), meta: map[string]any{
		"issuer": public, "authorization_endpoint": public + "/authorize", "token_endpoint": public + "/token",
		"revocation_endpoint": public + "/revoke", "introspection_endpoint": public + "/introspect",
		"pushed_authorization_request_endpoint": public + "/par", "device_authorization_endpoint": public + "/device",
		"end_session_endpoint": public + "/logout", "userinfo_endpoint": public + "/userinfo", "jwks_uri": public + "/jwks",
		"code_challenge_methods_supported": []string{"S256"}, "subject_types_supported": []string{"public"},
		"authorization_response_iss_parameter_supported": true,
	}}
	address := "http://127.0.0.1:1"
	transport := http.RoundTripper(called{http.HandlerFunc(r.serve)})
	if !direct {
		server := httptest.NewServer(http.HandlerFunc(r.serve))
		t.Cleanup(server.Close)
		pooled := newTransport(nil, socketWait) // a slow machine is no upstream that is down
		t.Cleanup(pooled.CloseIdleConnections)
		address, transport = server.URL, pooled
	}
	keys, _ := seal.ParseKeys(seal.NewKey())
	at, _ := url.Parse(address)
	origin, _ := url.Parse(public)
	logger := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e := ortengine.Config{Keys: keys, Idle: time.Hour, Absolute: 8 * time.Hour, Login: time.Hour, Upstream: time.Minute, Logger: logger}
	c := Config{
		Public: origin, Issuers: []string{public}, Upstream: at, Transport: transport, Cookies: keys.Box("cookie"),
		LoginCookies: []string{"idp"}, DPoPAlgs: []string{"ES256"}, Absolute: 8 * time.Hour, UpstreamTimeout: time.Minute,
		MaxStreams: 100, Logger: logger,
		Keys: &upstream.Keys{Upstream: at, Client: transport, Now: time.Now, Logger: logger},
	}
	for _, o := range options {
		o(r, &c, &e)
	}
	store, err := boltstore.Open(boltstore.Config{Path: filepath.Join(t.TempDir(), "s.db"), Now: e.Now})
	if err != nil {
		t.Fatal(err)
	}
	r.store, e.Store = store, store
	t.Cleanup(func() { store.Close() })
	if c.Engine, err = ortengine.New(e); err != nil {
		t.Fatal(err)
	}
	var nonces *dpop.Nonces
	if !c.DPoPUpstream {
		nonces = dpop.NewNonces(dpop.NoncesConfig{})
	}
	if c.Verifier, err = dpop.New(dpop.Config{Nonces: nonces, Replay: dpop.NewMemoryReplay(0, nil, nonces != nil)}); err != nil {
		t.Fatal(err)
	}
	c.Metadata, err = upstream.NewMetadata(upstream.MetadataConfig{Issuers: c.Issuers, Upstream: at, Client: c.Transport, Now: c.Now,
		Changed: func(s *upstream.State) { r.Learn(s) }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Gateway, err = New(c); err != nil {
		t.Fatal(err)
	}
	c.Metadata.Fetch(context.Background())
	if r.wellKnown == nil && r.meta["issuer"] == public && r.routes.Load() == nil {
		t.Fatal("the gateway has not learned the upstream's endpoints")
	}
	return r
}

// impatient lets the gateway wait for the upstream no longer than a moment from now
// on: what a test did before had all the time of a slow machine.
func (r *rig) impatient() {
	r.UpstreamTimeout, r.Engine.Upstream = 30*time.Millisecond, 30*time.Millisecond
}

// called is a transport that calls the upstream.
type called struct{ to http.Handler }

func (c called) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil { // http.ErrAbortHandler
			err = io.ErrUnexpectedEOF
		}
	}()
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.URL, err = url.Parse(in.RequestURI); err != nil {
		return nil, err
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	c.to.ServeHTTP(w, in)
	resp = w.Result()
	resp.Request = r
	return resp, r.Context().Err()
}

// serve is the upstream.
func (r *rig) serve(w http.ResponseWriter, req *http.Request) {
	raw, _ := io.ReadAll(req.Body)
	if strings.HasPrefix(req.URL.Path, "/.well-known/") {
		r.mu.Lock()
		own := r.wellKnown
		r.mu.Unlock()
		if own != nil {
			own(w, req)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(r.meta)
		return
	}
	r.mu.Lock()
	r.asked = append(r.asked, asked{req.Method, req.URL.Path, req.URL.RawQuery, string(raw), req.Header.Clone()})
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		answer = usual
	}
	answer(w, req, string(raw))
}

// usual answers as an identity provider does whose user is logged in.
func usual(w http.ResponseWriter, r *http.Request, body string) {
	form, _ := url.ParseQuery(body)
	switch r.URL.Path {
	case "/authorize":
		q := r.URL.Query()
		for k, v := range form {
			q[k] = v
		}
		to := q.Get("redirect_uri") + "?code=c" + q.Get("state") + "&state=" + q.Get("state")
		if q.Get("redirect_uri") == "" || !strings.HasPrefix(q.Get("redirect_uri"), "https://app.example/") {
			http.Error(w, "unknown redirect_uri", http.StatusBadRequest)
			return
		}
		if q.Get("prompt") == "none" {
			to = q.Get("redirect_uri") + "?error=login_required&state=" + q.Get("state")
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	case "/par":
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"request_uri":"urn:par:1","expires_in":60}`)
	case "/token":
		w.Header().Set("Content-Type", "application/json")
		if form.Get("grant_type") == "authorization_code" || form.Get("grant_type") == "refresh_token" {
			io.WriteString(w, tokenAnswer(form.Get("client_id")))
			return
		}
		io.WriteString(w, `{"access_token":"AT","refresh_token":"R-of-the-upstream"}`)
	default:
		io.WriteString(w, `{}`)
	}
}

// tokenAnswer has members that must not be touched.
func tokenAnswer(client string) string {
	id, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": public, "aud": client, "sub": "alice", "sid": "s1", "auth_time": time.Now().Unix(),
	}).SignedString([]byte("unread"))
	return `{"access_token" : "AT","n":12345678901234567890,"refresh_token":"R-of-the-upstream","twice":1,"twice":2,` +
		`"scope":"openid offline_access","id_token":"` + id + `","esc":"\u0041\/"}`
}

// last is the newest request that reached the upstream.
func (r *rig) last() asked {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) == 0 {
		r.t.Fatal("nothing reached the upstream")
	}
	return r.asked[len(r.asked)-1]
}

func (r *rig) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

// do sends a request through the gateway.
func (r *rig) do(method, target, body string, header ...string) *http.Response {
	r.t.Helper()
	req := httptest.NewRequest(method, public+target, strings.NewReader(body))
	req.RequestURI = target
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
		} else {
			req.Header.Add(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w.Result()
}

// text reads an answer's body.
func text(resp *http.Response) string {
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// app is a public client that has asked for an ORT.
type app struct {
	*rig
	client, verifier, cookie, ort string
	key                           *dpoptest.Key
}

var apps int

func (r *rig) app() *app {
	apps++
	return &app{rig: r, client: "spa", verifier: fmt.Sprintf("verifier-%d-%s", apps, strings.Repeat("v", 43)), key: dpoptest.NewKey("ES256")}
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorize is the query of an authorization request, with changes: name, value;
// an empty value takes the parameter out.
func (a *app) authorize(change ...string) url.Values {
	q := url.Values{
		"client_id": {a.client}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid online_access"},
		"state": {fmt.Sprint(apps)}, "code_challenge": {challengeOf(a.verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(change); i += 2 {
		if change[i+1] == "" {
			q.Del(change[i])
		} else {
			q.Set(change[i], change[i+1])
		}
	}
	return q
}

// code goes through an authorization request.
func (a *app) code(change ...string) string {
	a.t.Helper()
	resp := a.do(http.MethodGet, "/authorize?"+a.authorize(change...).Encode(), "", "Cookie", a.cookie)
	to, err := resp.Location()
	if err != nil {
		a.t.Fatalf("authorize: %d %s", resp.StatusCode, text(resp))
	}
	for _, c := range resp.Cookies() {
		a.cookie = c.Name + "=" + c.Value
	}
	return to.Query().Get("code")
}

func (a *app) proof(path string, options ...dpoptest.Option) string {
	return a.key.Proof(http.MethodPost, public+path, append([]dpoptest.Option{dpoptest.Nonce(a.Verifier.Nonce())}, options...)...)
}

func (a *app) codeForm(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {a.client}, "code": {code}, "code_verifier": {a.verifier}, "redirect_uri": {redirect}}
}

// login gets an ORT.
func (a *app) login() *app {
	a.t.Helper()
	resp := a.do(http.MethodPost, "/token", a.codeForm(a.code()).Encode(), "DPoP", a.proof("/token"))
	body := text(resp)
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	json.Unmarshal([]byte(body), &answer)
	if !strings.HasPrefix(answer.RefreshToken, "ORT1.") {
		a.t.Fatalf("code exchange: %d %s", resp.StatusCode, body)
	}
	a.ort = answer.RefreshToken
	return a
}

func (a *app) refreshForm() url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {a.client}, "refresh_token": {a.ort}}
}

// refused checks a refusal in JSON: its status and error, that no cache may keep
// it, and that nothing reached the upstream.
func (r *rig) refused(resp *http.Response, before, status int, code string) {
	r.t.Helper()
	var e struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	body := text(resp)
	json.Unmarshal([]byte(body), &e)
	if resp.StatusCode != status || e.Error != code {
		r.t.Errorf("got %d %s, want %d %s", resp.StatusCode, body, status, code)
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("Cache-Control is %q", resp.Header.Get("Cache-Control"))
	}
	if n := len(resp.Header.Values("DPoP-Nonce")); (n == 1) != (code == "use_dpop_nonce") {
		r.t.Errorf("%d nonces on %s", n, code)
	}
	if r.count() != before {
		r.t.Errorf("it reached the upstream: %+v", r.last())
	}
}

// newBreakableRig is a rig whose gateway panics, with what must not be told, once broken is set.
func newBreakableRig(t *testing.T) (r *rig, broken *atomic.Bool) {
	t.Helper()
	broken = new(atomic.Bool)
	return newRig(t, func(_ *rig, c *Config, _ *ortengine.Config) {
		c.Now = func() time.Time {
			if broken.Load() {
				panic("planted-secret-panic")
			}
			return time.Now()
		}
	}), broken
}
