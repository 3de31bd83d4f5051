package proxytest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const redirect = "https://app.example/callback"

func provider(t *testing.T, change func(*Config)) *IdP {
	c := Config{User: "alice", Clients: []Client{
		{ID: "spa", Redirects: []string{redirect}, Origins: []string{"https://app.example"}},
		{ID: "web", Secret: "s", Redirects: []string{redirect}},
	}}
	if change != nil {
		change(&c)
	}
	return New(t, c)
}

// browser follows no redirect, and keeps the login cookie.
type browser struct {
	t      *testing.T
	p      *IdP
	cookie string
}

func (b *browser) get(path string, q url.Values) *http.Response {
	b.t.Helper()
	req, _ := http.NewRequest(http.MethodGet, b.p.URL+path+"?"+q.Encode(), nil)
	if b.cookie != "" {
		req.Header.Set("Cookie", LoginCookie+"="+b.cookie)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	for _, c := range resp.Cookies() {
		b.cookie = c.Value
	}
	return resp
}

func post(t *testing.T, p *IdP, path string, form url.Values) (int, map[string]any) {
	t.Helper()
	resp, err := http.Post(p.URL+path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	var answer map[string]any
	json.NewDecoder(resp.Body).Decode(&answer)
	return resp.StatusCode, answer
}

const verifier = "a-verifier-of-forty-three-characters-or-more-is-this"

func request(change ...string) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {"spa"}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid offline_access"},
		"state": {"st"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(change); i += 2 {
		q.Set(change[i], change[i+1])
	}
	return q
}

func redemption(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {"spa"}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {redirect}}
}

func (b *browser) code(change ...string) string {
	b.t.Helper()
	to, err := b.get("/authorize", request(change...)).Location()
	if err != nil || to.Query().Get("code") == "" {
		b.t.Fatalf("no code: %v %v", to, err)
	}
	return to.Query().Get("code")
}

// A login, its single sign-on, rotation and what reuse ends.
func TestLoginAndRotation(t *testing.T) {
	p := provider(t, nil)
	b := &browser{t: t, p: p}
	code := b.code()
	if status, _ := post(t, p, "/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {"spa"}, "code": {code}, "code_verifier": {"wrong"}, "redirect_uri": {redirect}}); status != 400 {
		t.Errorf("a wrong verifier: %d", status)
	}
	status, first := post(t, p, "/token", redemption(code))
	if status != 200 || first["refresh_token"] == nil || strings.Count(first["id_token"].(string), ".") != 2 {
		t.Fatalf("code: %d %v", status, first)
	}
	if to, _ := b.get("/authorize", request("prompt", "none")).Location(); to.Query().Get("code") == "" {
		t.Errorf("single sign-on: %v", to)
	}
	refresh := func(token any) (int, map[string]any) {
		return post(t, p, "/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"spa"}, "refresh_token": {token.(string)}})
	}
	_, second := refresh(first["refresh_token"])
	if second["refresh_token"] == first["refresh_token"] || !p.Alive(second["refresh_token"].(string)) {
		t.Errorf("it does not rotate: %v", second)
	}
	if status, _ := refresh(first["refresh_token"]); status != 400 || p.Alive(second["refresh_token"].(string)) {
		t.Errorf("reuse: %d", status)
	}
	if status, _ := post(t, p, "/token", redemption(code)); status != 400 {
		t.Errorf("a code twice: %d", status)
	}
}

func TestResponseModesAndPrompts(t *testing.T) {
	p := provider(t, nil)
	b := &browser{t: t, p: p}
	if to, _ := b.get("/authorize", request("prompt", "none")).Location(); to.Query().Get("error") != "login_required" {
		t.Errorf("prompt none without a login: %v", to)
	}
	if to, _ := b.get("/authorize", request("response_mode", "fragment")).Location(); !strings.Contains(to.Fragment, "code=") {
		t.Errorf("fragment: %v", to)
	}
	page, _ := io.ReadAll(b.get("/authorize", request("response_mode", "form_post")).Body)
	if !strings.Contains(string(page), `name="code"`) {
		t.Errorf("form_post: %s", page)
	}
	if resp := b.get("/authorize", request("redirect_uri", "https://evil.example/")); resp.StatusCode != 400 {
		t.Errorf("another redirect_uri: %d", resp.StatusCode)
	}
	status, pushed := post(t, p, "/par", request())
	if to, _ := b.get("/authorize", url.Values{"client_id": {"spa"}, "request_uri": {pushed["request_uri"].(string)}}).Location(); status != 201 || to.Query().Get("code") == "" {
		t.Errorf("pushed: %d %v", status, to)
	}
	b.get("/logout", url.Values{})
	if to, _ := b.get("/authorize", request("prompt", "none")).Location(); to.Query().Get("error") != "login_required" {
		t.Errorf("after logout: %v", to)
	}
}

func TestFaults(t *testing.T) {
	p := provider(t, nil)
	grant := url.Values{"grant_type": {"client_credentials"}, "client_id": {"spa"}}
	release := make(chan struct{})
	close(release)
	p.Next("/token", Error(429, "slow_down"), Answer(200, "<html>"), Down, Lost, Held(release), With("access_token", 7), Twice, nil)
	var got []int
	for range 8 {
		status, _ := post(t, p, "/token", grant)
		got = append(got, status)
	}
	want := []int{429, 200, 0, 0, 200, 200, 200, 200}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("fault %d: %d, want %d", i, got[i], want[i])
		}
	}
	p.Next("/authorize", RedirectError("access_denied"))
	if to, _ := (&browser{t: t, p: p}).get("/authorize", request()).Location(); to.Query().Get("error") != "access_denied" {
		t.Errorf("error redirect: %v", to)
	}
	p.Always("/token", Error(500, "x"))
	if status, _ := post(t, p, "/token", grant); status != 500 {
		t.Errorf("always: %d", status)
	}
	p.Heal()
	b := &browser{t: t, p: p}
	_, first := post(t, p, "/token", redemption(b.code()))
	p.Next("/token", p.RotatedTwice)
	_, second := post(t, p, "/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"spa"}, "refresh_token": {first["refresh_token"].(string)}})
	if p.Alive(second["refresh_token"].(string)) {
		t.Error("rotated twice, and the first is good")
	}
	if len(p.At("/token")) != 11 || len(p.Requests()) != 13 {
		t.Errorf("%d token requests of %d are remembered", len(p.At("/token")), len(p.Requests()))
	}
}

// Direct endpoints: clients are authenticated, CORS is each client's.
func TestDirectEndpoints(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := provider(t, func(c *Config) { c.Now = func() time.Time { return now } })
	if status, _ := post(t, p, "/revoke", url.Values{"client_id": {"web"}, "token": {"x"}, "client_secret": {"no"}}); status != 401 {
		t.Errorf("a wrong secret: %d", status)
	}
	_, first := post(t, p, "/token", redemption((&browser{t: t, p: p}).code()))
	token := first["refresh_token"].(string)
	if _, answer := post(t, p, "/introspect", url.Values{"client_id": {"spa"}, "token": {token}}); answer["active"] != true {
		t.Errorf("introspection: %v", answer)
	}
	post(t, p, "/revoke", url.Values{"client_id": {"spa"}, "token": {token}})
	if p.Alive(token) {
		t.Error("revoked, and alive")
	}
	_, authorized := post(t, p, "/device", url.Values{"client_id": {"spa"}, "scope": {"openid"}})
	if status, _ := post(t, p, "/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"spa"}, "device_code": {authorized["device_code"].(string)}}); status != 200 {
		t.Errorf("device: %d", status)
	}
	late := (&browser{t: t, p: p}).code()
	now = now.Add(time.Hour)
	if status, _ := post(t, p, "/token", redemption(late)); status != 400 {
		t.Errorf("a late code: %d", status)
	}
	for origin, want := range map[string]string{"https://app.example": "https://app.example", "https://evil.example": ""} {
		req, _ := http.NewRequest(http.MethodPost, p.URL+"/token", strings.NewReader("client_id=spa"))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: allowed %q", origin, got)
		}
	}
}
