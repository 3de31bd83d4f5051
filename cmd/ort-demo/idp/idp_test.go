package idp_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/ort-demo/idp"
)

func TestLogin(t *testing.T) {
	b := start(t, nil)
	res := b.login(b.authorize("app-one"), "alice", "wrong")
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("wrong password: got %d, want 401", res.StatusCode)
	}
	answer := b.answer(b.login(res, "alice", "alice-pass"))
	if answer.Get("state") != "s" || answer.Get("code") == "" {
		t.Fatalf("got %v, want a code and the state", answer)
	}
	status, got := b.exchange("app-one", answer.Get("code"))
	if status != http.StatusOK {
		t.Fatalf("got %d %+v", status, got)
	}
	c := claims(t, got.IDToken)
	for name, want := range map[string]any{"iss": b.server.URL, "sub": "alice", "nonce": "n", "name": "Alice", "email": "alice@example.com"} {
		if c[name] != want {
			t.Errorf("%s: got %v, want %v", name, c[name], want)
		}
	}
	for _, name := range []string{"sid", "auth_time", "exp"} {
		if c[name] == nil {
			t.Errorf("the ID token has no %s", name)
		}
	}
}

func TestSecondClientNeedsNoPassword(t *testing.T) {
	b := start(t, nil)
	one := claims(t, b.session("app-one").IDToken)
	status, got := b.exchange("app-two", b.answer(b.authorize("app-two", "prompt", "none")).Get("code"))
	if status != http.StatusOK {
		t.Fatalf("got %d %+v", status, got)
	}
	two := claims(t, got.IDToken)
	if one["sid"] != two["sid"] || one["auth_time"] != two["auth_time"] {
		t.Errorf("sid and auth_time differ: %v %v, %v %v", one["sid"], two["sid"], one["auth_time"], two["auth_time"])
	}
	if got := b.idp.Stats().Logins; got != 1 {
		t.Errorf("passwords asked: got %d, want 1", got)
	}
}

func TestPrompts(t *testing.T) {
	b := start(t, nil)
	if got := b.answer(b.authorize("app-one", "prompt", "none")).Get("error"); got != "login_required" {
		t.Errorf("prompt=none without a login: got %q, want login_required", got)
	}
	first := claims(t, b.session("app-one").IDToken)
	b.clock.Add(time.Minute)
	tests := []struct {
		name  string
		more  []string
		asked bool
	}{
		{"plain", nil, false},
		{"prompt=login", []string{"prompt", "login"}, true},
		{"max_age passed", []string{"max_age", "59"}, true},
		{"max_age not passed", []string{"max_age", "61"}, false},
		{"another user is hinted", []string{"login_hint", "bob"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if asked := b.authorize("app-one", tt.more...).StatusCode == http.StatusOK; asked != tt.asked {
				t.Errorf("password asked: got %v, want %v", asked, tt.asked)
			}
		})
	}
	if got := b.answer(b.authorize("app-one", "prompt", "none", "max_age", "59")).Get("error"); got != "login_required" {
		t.Errorf("prompt=none with an old login: got %q, want login_required", got)
	}
	res := b.login(b.authorize("app-one", "prompt", "login"), "alice", "alice-pass")
	_, again := b.exchange("app-one", b.answer(res).Get("code"))
	second := claims(t, again.IDToken)
	if second["sid"] != first["sid"] || second["auth_time"].(float64) <= first["auth_time"].(float64) {
		t.Errorf("a renewed login: got sid %v auth_time %v after %v %v", second["sid"], second["auth_time"], first["sid"], first["auth_time"])
	}
}

func TestAuthorizationRefused(t *testing.T) {
	b := start(t, nil)
	for name, tt := range map[string]struct {
		more []string
		want string
	}{
		"unknown scope": {[]string{"scope", "openid online_access"}, "invalid_scope"},
		"no PKCE":       {[]string{"code_challenge", ""}, "invalid_request"},
		"plain PKCE":    {[]string{"code_challenge_method", "plain"}, "invalid_request"},
	} {
		if got := b.answer(b.authorize("app-one", tt.more...)).Get("error"); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if got := b.authorize("app-one", "redirect_uri", callbackTwo).StatusCode; got != http.StatusBadRequest {
		t.Errorf("another client's redirect_uri: got %d, want 400", got)
	}
}

func TestRefreshRotates(t *testing.T) {
	b := start(t, nil)
	first := b.session("app-one")
	status, second := b.refresh("app-one", first.RefreshToken)
	if status != http.StatusOK || second.RefreshToken == first.RefreshToken {
		t.Fatalf("got %d, token rotated: %v", status, second.RefreshToken != first.RefreshToken)
	}
	if status, got := b.refresh("app-one", first.RefreshToken); status != http.StatusBadRequest || got.Error != "invalid_grant" {
		t.Errorf("rotated token: got %d %q, want 400 invalid_grant", status, got.Error)
	}
	if status, got := b.refresh("app-one", second.RefreshToken); status != http.StatusBadRequest || got.Error != "invalid_grant" {
		t.Errorf("its family: got %d %q, want 400 invalid_grant", status, got.Error)
	}
	if got := b.idp.Stats(); got.TokenReuses != 1 || got.Refreshes != 1 {
		t.Errorf("counted %+v, want 1 reuse and 1 refresh", got)
	}
}

func TestParallelRefreshesAreAReuse(t *testing.T) {
	b := start(t, nil)
	token := b.session("app-one").RefreshToken
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { b.refresh("app-one", token) })
	}
	wg.Wait()
	if got := b.idp.Stats(); got.Refreshes != 1 || got.TokenReuses == 0 {
		t.Errorf("counted %+v, want 1 refresh and some reuse", got)
	}
}

func TestStaticRefreshTokens(t *testing.T) {
	b := start(t, func(c *idp.Config) { c.StaticRefreshTokens = true })
	token := b.session("app-one").RefreshToken
	for range 2 {
		if status, got := b.refresh("app-one", token); status != http.StatusOK || got.RefreshToken != token {
			t.Errorf("got %d, same token: %v", status, got.RefreshToken == token)
		}
	}
}

func TestCodeReplayEndsItsTokens(t *testing.T) {
	b := start(t, nil)
	code := b.answer(b.login(b.authorize("app-one"), "alice", "alice-pass")).Get("code")
	_, got := b.exchange("app-one", code)
	if status, again := b.exchange("app-one", code); status != http.StatusBadRequest || again.Error != "invalid_grant" {
		t.Errorf("second use: got %d %q, want 400 invalid_grant", status, again.Error)
	}
	if status, _ := b.refresh("app-one", got.RefreshToken); status != http.StatusBadRequest {
		t.Errorf("refresh token of a replayed code: got %d, want 400", status)
	}
	if n := b.idp.Stats().CodeReplays; n != 1 {
		t.Errorf("replays counted: got %d, want 1", n)
	}
}

func TestRevocation(t *testing.T) {
	b := start(t, nil)
	token := b.session("app-one").RefreshToken
	revoke := func(clientID, token string) int {
		res, err := b.http.PostForm(b.server.URL+idp.PathRevoke, url.Values{"client_id": {clientID}, "token": {token}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := revoke("app-two", token); got == http.StatusOK {
		t.Errorf("another client's token: got %d", got)
	}
	if got := revoke("app-one", "unknown"); got != http.StatusOK {
		t.Errorf("unknown token: got %d, want 200", got)
	}
	if got := revoke("app-one", token); got != http.StatusOK {
		t.Errorf("got %d, want 200", got)
	}
	if status, _ := b.refresh("app-one", token); status != http.StatusBadRequest {
		t.Errorf("refresh after revocation: got %d, want 400", status)
	}
}

func TestConfidentialClient(t *testing.T) {
	b := start(t, nil)
	code := b.answer(b.login(b.authorize("web"), "bob", "bob-pass")).Get("code")
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"web"}, "client_secret": {"secret"}, "code": {code},
		"redirect_uri": {callbackOne}, "code_verifier": {verifier},
	}
	_, got := b.token(form)
	if got.RefreshToken == "" {
		t.Fatalf("no refresh token: %+v", got)
	}
	for _, secret := range []string{"", "wrong", "secret"} {
		want := http.StatusUnauthorized
		if secret == "secret" {
			want = http.StatusOK
		}
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {got.RefreshToken}}
		if secret != "" {
			form.Set("client_secret", secret)
		}
		if status, answer := b.token(form); status != want {
			t.Errorf("refresh with secret %q: got %d %+v, want %d", secret, status, answer.Error, want)
		}
	}
}

func TestUserinfoAndIntrospection(t *testing.T) {
	b := start(t, nil)
	access := b.session("app-one").AccessToken
	get := func(r *http.Request) map[string]any {
		res, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var got map[string]any
		_ = json.NewDecoder(res.Body).Decode(&got)
		return got
	}
	r, _ := http.NewRequest("GET", b.server.URL+idp.PathUserinfo, nil)
	r.Header.Set("Authorization", "Bearer "+access)
	if got := get(r); got["sub"] != "alice" || got["name"] != "Alice" {
		t.Errorf("userinfo: got %v", got)
	}
	r, _ = http.NewRequest("POST", b.server.URL+idp.PathIntrospect, strings.NewReader(url.Values{"token": {access}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("web", "secret")
	if got := get(r); got["active"] != true || got["client_id"] != "app-one" {
		t.Errorf("introspection: got %v", got)
	}
}

func TestLogout(t *testing.T) {
	b := start(t, nil)
	got := b.session("app-one")
	end := func(query url.Values) *http.Response {
		res, err := b.http.Get(b.server.URL + idp.PathEndSession + "?" + query.Encode())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	res := end(url.Values{})
	body, _ := io.ReadAll(res.Body)
	if !strings.Contains(string(body), "Log out?") {
		t.Errorf("without a hint the user is asked, got %s", body)
	}
	if b.authorize("app-one").StatusCode == http.StatusOK {
		t.Error("asking has ended the login already")
	}
	if res := end(url.Values{"id_token_hint": {got.IDToken}, "post_logout_redirect_uri": {callbackOne}, "state": {"x"}}); res.Header.Get("Location") != callbackOne+"?state=x" {
		t.Errorf("with a hint: got %d %v", res.StatusCode, res.Header.Get("Location"))
	}
	if b.authorize("app-one").StatusCode != http.StatusOK {
		t.Error("the login is still there")
	}
	if status, _ := b.refresh("app-one", got.RefreshToken); status != http.StatusOK {
		t.Errorf("offline tokens outlive a logout here, got %d", status)
	}
}

func TestCORS(t *testing.T) {
	b := start(t, nil)
	for origin, want := range map[string]string{"http://127.0.0.1:3000": "http://127.0.0.1:3000", "http://evil.example": ""} {
		r, _ := http.NewRequest("OPTIONS", b.server.URL+idp.PathToken, nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "dpop")
		res, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: allowed %q, want %q", origin, got, want)
		}
		if got := res.Header.Get("Access-Control-Allow-Headers"); strings.Contains(strings.ToLower(got), "dpop") {
			t.Errorf("DPoP is allowed: %q", got)
		}
	}
}

func TestDiscovery(t *testing.T) {
	b := start(t, nil)
	res, err := b.http.Get(b.server.URL + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"issuer": b.server.URL, "authorization_endpoint": b.server.URL + idp.PathAuthorize, "token_endpoint": b.server.URL + idp.PathToken,
		"revocation_endpoint": b.server.URL + idp.PathRevoke, "end_session_endpoint": b.server.URL + idp.PathEndSession,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	for _, name := range []string{"dpop_signing_alg_values_supported", "device_authorization_endpoint"} {
		if got[name] != nil {
			t.Errorf("%s is advertised: %v", name, got[name])
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	user, client := []idp.User{{Username: "alice"}}, []idp.Client{{ID: "a"}}
	for name, c := range map[string]idp.Config{
		"no issuer":        {Clients: client, Users: user},
		"issuer with path": {Issuer: "http://127.0.0.1/realm", Clients: client, Users: user},
		"no clients":       {Issuer: "http://127.0.0.1", Users: user},
		"no users":         {Issuer: "http://127.0.0.1", Clients: client},
		"colon in a name":  {Issuer: "http://127.0.0.1", Clients: client, Users: []idp.User{{Username: "a:b"}}},
	} {
		if _, err := idp.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
