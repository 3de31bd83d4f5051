package proxy

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// told sends the gateway a logout token with those claims changed; nil takes one out.
func (r *rig) told(idp *proxytest.IdP, change map[string]any) *http.Response {
	r.t.Helper()
	claims := map[string]any{
		"iss": public, "aud": "spa", "sub": "alice", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return r.do(http.MethodPost, "/_ort/backchannel-logout", "logout_token="+idp.Sign(claims))
}

// sids are those of the ID tokens that the upstream gives from now on.
func (r *rig) sids() *[]string {
	var sids []string
	well := r.answer
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		well(&idTokens{w, &sids}, q, body)
	})
	return &sids
}

// idTokens looks at the ID tokens that pass.
type idTokens struct {
	http.ResponseWriter
	sids *[]string
}

func (t *idTokens) Write(b []byte) (int, error) {
	if _, rest, ok := strings.Cut(string(b), `"id_token":"`); ok {
		token, _, _ := strings.Cut(rest, `"`)
		if _, payload, ok := strings.Cut(token, "."); ok {
			payload, _, _ = strings.Cut(payload, ".")
			_, rest, _ := strings.Cut(string(decodeBase64(payload)), `"sid":"`)
			sid, _, _ := strings.Cut(rest, `"`)
			*t.sids = append(*t.sids, sid)
		}
	}
	return t.ResponseWriter.Write(b)
}

func TestBackchannelLogout(t *testing.T) {
	r, idp := idpRig(t, nil)
	sids := r.sids()
	first, second := r.agent(), r.agent()
	a, b := first.opens("spa"), second.opens("spa")
	beside := first.opens("spa2")
	if len(*sids) != 3 || (*sids)[0] != (*sids)[2] || (*sids)[0] == (*sids)[1] {
		t.Fatalf("sids %q", *sids)
	}
	sid := (*sids)[0]
	resp := r.told(idp, map[string]any{"sid": sid})
	if body := text(resp); resp.StatusCode != 200 || body != "" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("by sid: %d %s", resp.StatusCode, body)
	}
	a.dead("the app", "the user logged out")
	beside.dead("the app beside it", "the user logged out")
	r.is("another login of that user", b.exchange(), 200)
	r.is("again", r.told(idp, map[string]any{"sid": sid}), 200)
	r.is("an unknown sid", r.told(idp, map[string]any{"sid": "unknown"}), 200)
	r.is("another user", r.told(idp, map[string]any{"sub": "bob"}), 200)
	r.is("another login of that user", b.exchange(), 200)
	third := r.agent().opens("spa")
	r.is("by sub", r.told(idp, nil), 200)
	b.dead("by sub", "the user logged out")
	third.dead("by sub, every browser", "the user logged out")
}

// What OIDC Back-Channel Logout 1.0 section 2.6 refuses: 400 JSON, and nothing ends.
func TestBackchannelLogoutsThatAreRefused(t *testing.T) {
	r, idp := idpRig(t, nil)
	sids := r.sids()
	a := r.agent().opens("spa")
	sid := (*sids)[0]
	for name, change := range map[string]map[string]any{
		"another issuer":                 {"iss": "https://other.example"},
		"a client that never came by":    {"aud": "stranger"},
		"no aud":                         {"aud": nil},
		"no events":                      {"events": nil},
		"another event":                  {"events": map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}},
		"an event that is no object":     {"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": true}},
		"a nonce":                        {"nonce": "x"},
		"a nonce that is no text":        {"nonce": []any{}},
		"neither sid nor sub":            {"sub": nil},
		"a sub that is not the sid's":    {"sid": sid, "sub": "bob"},
		"no jti":                         {"jti": nil},
		"no iat":                         {"iat": nil},
		"of the future":                  {"iat": time.Now().Add(time.Hour).Unix()},
		"expired":                        {"exp": time.Now().Add(-time.Hour).Unix()},
		"an old one without exp":         {"exp": nil, "iat": time.Now().Add(-time.Hour).Unix()},
		"an ID token":                    {"events": nil, "nonce": "x", "sid": sid},
		"a sid that is no text":          {"sid": 7},
		"several clients, none of which": {"aud": []string{"x", "y"}},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.refused(r.told(idp, change), r.count(), 400, "invalid_request")
			r.is("the ORT", a.exchange(), 200)
		})
	}
	r.t = t
	good := idp.Sign(map[string]any{
		"iss": public, "aud": []string{"x", "spa"}, "sid": "unknown", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "jti": "once",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	for _, body := range []string{"", "logout_token=", "logout_token=x", "logout_token=a.b.c", "logout_token=" + good[:len(good)-4] + "AAAA", "logout_token=" + good + "&logout_token=" + good} {
		r.refused(r.do(http.MethodPost, "/_ort/backchannel-logout", body, "Content-Type", "", "Content-Type", "application/x-www-form-urlencoded"), r.count(), 400, "invalid_request")
	}
	r.refused(r.do(http.MethodPost, "/_ort/backchannel-logout", `{"logout_token":"`+good+`"}`, "Content-Type", "", "Content-Type", "application/json"), r.count(), 400, "invalid_request")
	r.refused(r.do(http.MethodPost, "/_ort/backchannel-logout?logout_token="+good, "a=b"), r.count(), 400, "invalid_request")
	r.is("once", r.do(http.MethodPost, "/_ort/backchannel-logout", "logout_token="+good), 200)
	r.refused(r.do(http.MethodPost, "/_ort/backchannel-logout", "logout_token="+good), r.count(), 400, "invalid_request")
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
		if resp := r.do(method, "/_ort/backchannel-logout", ""); resp.StatusCode != 405 {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
}

// Keys that cannot be fetched, and a store that is down, say nothing: 503.
func TestBackchannelLogoutThatNobodyCanTell(t *testing.T) {
	r, idp := idpRig(t, nil)
	a := r.agent().opens("spa")
	well := r.answer
	r.does(func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) })
	r.unavailable("no keys", r.told(idp, nil))
	r.does(well)
	r.is("the ORT", a.exchange(), 200)
	r.store.Close()
	r.unavailable("no store", r.told(idp, nil))
}

// A client is known from its request on, for tokens that come before its exchange;
// a code that left the upstream before such a token is worth nothing.
func TestBackchannelLogoutWhileACodeIsOnItsWay(t *testing.T) {
	var c clock
	r, idp := idpRig(t, func(p *proxytest.Config) { p.Now = c.now }, by(&c))
	a := r.app()
	a.client = "spa2"
	code := a.code()
	c.pass(2 * time.Second)
	r.is("the token", r.told(idp, map[string]any{"aud": "spa2"}), 200)
	r.is("the code", a.redeem(code), 400, `"error":"invalid_grant"`)
	c.pass(2 * time.Second)
	r.is("a later login", a.redeem(a.code()), 200, "ORT1.")
}

// forced is a browser whose single sign-on ended, and of which no login cookie
// is known.
func forced(t *testing.T, options ...rigOption) (*rig, *agent) {
	t.Helper()
	r, idp := idpRig(t, nil, append([]rigOption{func(_ *rig, c *Config, _ *ortengine.Config) { c.LoginCookies = nil }}, options...)...)
	b := r.agent()
	a := b.opens("spa")
	idp.User = ""
	if got := b.asks("prompt", "none"); got != "code" {
		t.Fatalf("no single sign-on: %s", got)
	}
	r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode())
	return r, b
}

// Where no login cookie is known, every authorization request of this browser has
// prompt=login, until a code exchange came of one.
func TestBrowsersThatMustLogIn(t *testing.T) {
	r, b := forced(t)
	for _, row := range []struct{ query, want string }{
		{"client_id=spa&scope=openid&x=%7e", "client_id=spa&scope=openid&x=%7e&prompt=login"},
		{"prompt=select_account&client_id=spa&scope=openid", "prompt=login&client_id=spa&scope=openid"},
		{"prompt=consent&client_id=spa&scope=openid", "prompt=login+consent&client_id=spa&scope=openid"},
		{"prompt=login+consent&client_id=spa", "prompt=login+consent&client_id=spa"},
		{"prompt=login&client_id=spa&&x=%7e", "prompt=login&client_id=spa&&x=%7e"},
	} {
		b.visit("GET", "/authorize?"+row.query, "")
		if got := r.last().query; got != row.want {
			t.Errorf("%s: the upstream got %s\nwant %s", row.query, got, row.want)
		}
	}
	if got := b.asks(); got != "form" {
		t.Errorf("with online_access: %s", got)
	}
	if got := r.agent().asks("prompt", "none"); got != "login_required" {
		t.Errorf("another browser's prompt=none is the upstream's to answer: %s", got)
	}
	for name, change := range map[string][]string{
		"prompt=none": {"prompt", "none"}, "without online_access": {"prompt", "none", "scope", "openid"},
		"a request object": {"request", "eyJ"}, "a pushed request": {"request_uri", "urn:x"},
	} {
		query := r.app().authorize(change...)
		resp := b.visit("GET", "/authorize?"+query.Encode(), "")
		if to := resp.Header.Get("Location"); resp.StatusCode != 302 || !strings.HasPrefix(to, redirect+"?error=login_required&") || !strings.Contains(to, "state="+query.Get("state")) || !strings.Contains(to, "iss=") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, to)
		}
	}
	if resp := b.visit("GET", "/authorize?"+r.app().authorize("prompt", "none", "redirect_uri", "https://evil.example/").Encode(), ""); resp.StatusCode != 400 || resp.Header.Get("Location") != "" {
		t.Errorf("a redirect_uri that is not the client's: %d", resp.StatusCode)
	}
	a := r.app()
	resp := b.visit("POST", "/authorize?"+a.authorize().Encode(), "username=alice")
	to, err := resp.Location()
	if err != nil || !to.Query().Has("code") {
		t.Fatalf("the login form: %d %v", resp.StatusCode, to)
	}
	a.with(to.Query().Get("code"))
	if got := b.asks("prompt", "none"); got != "code" {
		t.Errorf("after a code exchange: %s", got)
	}
}

// Nothing hides from the gateway what an upstream would read.
func TestBrowsersThatMustLogInCannotHideTheirPrompt(t *testing.T) {
	r, b := forced(t)
	const silent = "/authorize?client_id=spa&scope=openid&prompt=none"
	before := r.count()
	if resp := b.visit("OPTIONS", silent, ""); resp.StatusCode != 405 || r.count() != before {
		t.Errorf("OPTIONS: %d", resp.StatusCode)
	}
	if r.do("OPTIONS", silent, "", "Origin", good, requestMethod, "GET"); r.count() != before+1 {
		t.Error("a preflight did not pass")
	}
	for _, row := range []struct{ query, body, want string }{ // want: in the query that goes up; empty: refused
		{"client_id=spa&scope=openid&prompt=login&prompt=select_account", "", "client_id=spa&scope=openid&prompt=login"},
		{"client_id=spa&scope=openid&prompt=login&prompt=none", "", ""},
		{"client_id=spa&scope=openid&prompt=login&prompt=consent", "", "client_id=spa&scope=openid&prompt=login+consent"},
		{"client_id=spa&scope=openid&prompt[]=none", "", ""},
		{"client_id=spa&scope=openid&a=b;prompt=none", "", ""},
		{"Client_Id=spa&scope=openid", "", ""},
		{"client_id=spa&scope=openid&prompt=none&x=%zz", "", ""},
		{"client_id=spa&scope=openid&prompt=none" + strings.Repeat("&", 1000), "", ""},
		{"client_id=spa&scope=openid&request=&request=eyJ", "", ""},
		{"client_id=spa&scope=openid&request_uri=&request_uri=urn:x", "", ""},
		{"client_id=spa&scope=openid", "prompt=none", ""},
		{"client_id=spa&scope=openid", "username=a&Prompt=none", ""},
	} {
		before, method := r.count(), "GET"
		if row.body != "" {
			method = "POST"
		}
		resp := b.visit(method, "/authorize?"+row.query, row.body)
		if row.want == "" {
			if r.count() != before || resp.StatusCode != 400 {
				t.Errorf("%s with %q: %d, %+v went up", row.query, row.body, resp.StatusCode, r.last())
			}
		} else if got := r.last().query; got != row.want {
			t.Errorf("%s: the upstream got %s", row.query, got)
		}
	}
}

// A login that no ORT came of counts too, by its auth_time.
func TestBrowsersThatMustLogInMayDoSoWithoutAnORT(t *testing.T) {
	for name, change := range map[string][]string{"not asked for": {"scope", "openid"}, "not allowed": {"client_id", "spa2"}} {
		t.Run(name, func(t *testing.T) {
			r, b := forced(t, policy(ortengine.Policy{Clients: []string{"spa"}}))
			a := r.app()
			query := a.authorize(change...)
			a.client = query.Get("client_id")
			resp := b.visit("POST", "/authorize?"+query.Encode(), "username=alice")
			to, err := resp.Location()
			if err != nil || !to.Query().Has("code") {
				t.Fatalf("the login form: %d %v", resp.StatusCode, to)
			}
			if got := b.asks("prompt", "none"); got != "login_required" {
				t.Errorf("before the code exchange: %s", got)
			}
			r.is("the code", r.do(http.MethodPost, "/token", a.codeForm(to.Query().Get("code")).Encode()), 200)
			if got := b.asks("prompt", "none"); got != "code" {
				t.Errorf("after it: %s", got)
			}
		})
	}
}

// A POST to the form of such a browser keeps its bytes.
func TestBrowsersThatMustLogInMayPostTheForm(t *testing.T) {
	r, b := forced(t)
	b.visit("POST", "/authorize?client_id=spa&scope=openid&prompt=login", "username=alice&password=x")
	if got := r.last(); got.query != "client_id=spa&scope=openid&prompt=login" || got.body != "username=alice&password=x" {
		t.Errorf("the upstream got %+v", got)
	}
}

func decodeBase64(s string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(s)
	return b
}
