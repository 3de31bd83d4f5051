package idp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/ort-demo/idp"
)

const (
	callbackOne = "http://127.0.0.1:3000/"
	callbackTwo = "http://127.0.0.1:3001/"
	verifier    = "a-verifier-that-is-long-enough-for-the-rule-of-43"
)

// clock is a settable time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// browser is a provider with one browser before it.
type browser struct {
	*testing.T
	clock  *clock
	idp    *idp.Provider
	server *httptest.Server
	http   *http.Client
}

func start(t *testing.T, change func(*idp.Config)) *browser {
	t.Helper()
	b := &browser{T: t, clock: &clock{now: time.Now()}}
	var handler http.Handler
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(b.server.Close)
	config := idp.Config{
		Issuer: b.server.URL,
		Clients: []idp.Client{
			{ID: "app-one", RedirectURIs: []string{callbackOne}, PostLogoutRedirectURIs: []string{callbackOne}, Origins: []string{"http://127.0.0.1:3000"}},
			{ID: "app-two", RedirectURIs: []string{callbackTwo}, Origins: []string{"http://127.0.0.1:3001"}},
			{ID: "web", Secret: "secret", RedirectURIs: []string{callbackOne}},
		},
		Users: []idp.User{
			{Username: "alice", Password: "alice-pass", Name: "Alice", Email: "alice@example.com"},
			{Username: "bob", Password: "bob-pass", Name: "Bob"},
		},
		Now: b.clock.Now,
	}
	if change != nil {
		change(&config)
	}
	provider, err := idp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	b.idp, handler = provider, provider
	b.fresh()
	return b
}

// fresh forgets all cookies.
func (b *browser) fresh() {
	jar, _ := cookiejar.New(nil)
	b.http = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), b.server.URL) {
			return http.ErrUseLastResponse // the app's own page
		}
		return nil
	}}
}

func (b *browser) authorize(clientID string, more ...string) *http.Response {
	b.Helper()
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {callback(clientID)}, "state": {"s"}, "nonce": {"n"},
		"scope":          {"openid profile email offline_access"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	res, err := b.http.Get(b.server.URL + idp.PathAuthorize + "?" + q.Encode())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { res.Body.Close() })
	return res
}

func callback(clientID string) string {
	if clientID == "app-two" {
		return callbackTwo
	}
	return callbackOne
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// login fills in the form of a page.
func (b *browser) login(res *http.Response, username, password string) *http.Response {
	b.Helper()
	body, _ := io.ReadAll(res.Body)
	m := requestField.FindSubmatch(body)
	if m == nil {
		b.Fatalf("no login form in the answer: %d %s", res.StatusCode, body)
	}
	res, err := b.http.PostForm(b.server.URL+idp.PathLogin, url.Values{
		"request": {string(m[1])}, "username": {username}, "password": {password},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { res.Body.Close() })
	return res
}

// answer returns the parameters that an authorization brought to the app.
func (b *browser) answer(res *http.Response) url.Values {
	b.Helper()
	location, err := res.Location()
	if err != nil || !strings.HasPrefix(location.String(), "http://127.0.0.1:300") {
		b.Fatalf("no redirect to the app: %d %v", res.StatusCode, location)
	}
	return location.Query()
}

type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	ExpiresIn    int    `json:"expires_in"`
	Scope        string `json:"scope"`
	Error        string `json:"error"`
}

func (b *browser) token(form url.Values) (int, tokens) {
	b.Helper()
	res, err := b.http.PostForm(b.server.URL+idp.PathToken, form)
	if err != nil {
		b.Error(err)
		return 0, tokens{}
	}
	defer res.Body.Close()
	var t tokens
	if err := json.NewDecoder(res.Body).Decode(&t); err != nil {
		b.Errorf("token answer: %v", err)
	}
	return res.StatusCode, t
}

func (b *browser) exchange(clientID, code string) (int, tokens) {
	return b.token(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {clientID}, "code": {code},
		"redirect_uri": {callback(clientID)}, "code_verifier": {verifier},
	})
}

func (b *browser) refresh(clientID, token string) (int, tokens) {
	return b.token(url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "refresh_token": {token}})
}

// session logs alice in and exchanges the code.
func (b *browser) session(clientID string) tokens {
	b.Helper()
	res := b.authorize(clientID)
	if res.StatusCode == http.StatusOK {
		res = b.login(res, "alice", "alice-pass")
	}
	status, t := b.exchange(clientID, b.answer(res).Get("code"))
	if status != http.StatusOK || t.RefreshToken == "" || t.AccessToken == "" {
		b.Fatalf("code exchange: %d %+v", status, t)
	}
	return t
}

func claims(t *testing.T, jwt string) map[string]any {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %q", jwt)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}
