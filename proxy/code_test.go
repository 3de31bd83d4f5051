package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// Code exchanges that bring no ORT: the answer passes without refresh_token.
func TestCodeExchangesWithoutAnORT(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault func(*proxytest.IdP) proxytest.Fault
	}{
		{"the upstream sends none", func(*proxytest.IdP) proxytest.Fault { return proxytest.With("refresh_token", nil) }},
		{"the login is past the absolute timeout", func(p *proxytest.IdP) proxytest.Fault {
			return proxytest.With("id_token", p.Sign(map[string]any{"iss": public, "aud": "spa", "sub": "alice", "auth_time": time.Now().Add(-9 * time.Hour).Unix()}))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, idp := idpRig(t, nil)
			a := r.app()
			code := a.code()
			idp.Next("/token", row.fault(idp))
			resp := a.redeem(code)
			body := r.is("code exchange", resp, 200, "access_token")
			if strings.Contains(body, "refresh_token") || strings.Contains(body, "session_idle_expires_in") || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%v %s", resp.Header, body)
			}
			if !strings.Contains(r.log.String(), "level=WARN") {
				t.Errorf("no warning: %s", r.log)
			}
		})
	}
}

// A client that is not allowed: recorded as none. No proof is asked, no refresh
// token passes, and DPoP is between it and the upstream.
func TestTransactionsOfNoORT(t *testing.T) {
	r, _ := idpRig(t, func(c *proxytest.Config) { c.RefreshUnasked = true }, policy(ortengine.Policy{Clients: []string{"other"}}))
	a := r.app()
	code, cookie := a.visit("")
	if code == "" || cookie != "" {
		t.Fatalf("code %q, cookie %q", code, cookie)
	}
	resp := r.do(http.MethodPost, "/token", a.codeForm(code).Encode(), "DPoP", "any proof")
	body := r.is("code exchange", resp, 200, "access_token")
	if strings.Contains(body, "refresh_token") || r.last().header.Get("DPoP") != "any proof" || resp.Header.Get("DPoP-Nonce") != "" {
		t.Errorf("%s, up went the proof %q", body, r.last().header.Get("DPoP"))
	}
	b := r.app()
	r.says(400, `{"error":"use_dpop_nonce"}`, "DPoP-Nonce", "of-the-upstream")
	b.visit("")
	resp = r.do(http.MethodPost, "/token", b.codeForm("c").Encode(), "DPoP", "any proof")
	if resp.StatusCode != 400 || resp.Header.Get("DPoP-Nonce") != "of-the-upstream" {
		t.Errorf("the upstream's nonce: %d %q", resp.StatusCode, resp.Header.Get("DPoP-Nonce"))
	}
}

// A code that was exchanged is never sent again, and nothing else ends.
func TestCodeThatComesAgain(t *testing.T) {
	r, idp := idpRig(t, nil)
	a := r.app()
	code := a.code()
	a.with(code)
	before := len(idp.At("/token"))
	r.is("again", a.redeem(code), 400, `"error":"invalid_grant"`)
	other := a.codeForm(code)
	other.Set("code_verifier", strings.Repeat("o", 43))
	r.is("with another verifier", r.do(http.MethodPost, "/token", other.Encode()), 400, `"error":"invalid_grant"`)
	if n := len(idp.At("/token")); n != before {
		t.Errorf("%d token requests went up", n-before)
	}
	r.is("the ORT lives", a.exchange(), 200)
}

// Without its transaction a code of a rewritten request is worth nothing.
func TestCodeWithoutItsTransaction(t *testing.T) {
	var c clock
	r, _ := idpRig(t, nil, by(&c))
	a := r.app()
	a.code()
	c.pass(2 * time.Hour) // past the login timeout
	code := func() string {
		a.cookie = ""
		return a.code()
	}()
	wrong := a.codeForm(code)
	wrong.Set("code_verifier", strings.Repeat("w", 43))
	r.is("another verifier", r.do(http.MethodPost, "/token", wrong.Encode()), 400, "invalid_grant")
	none := a.codeForm(code)
	none.Del("code_verifier")
	r.is("no verifier", r.do(http.MethodPost, "/token", none.Encode()), 400, "invalid_grant")
}

func TestErrorsOfTheUpstreamAtACodeExchange(t *testing.T) {
	for _, row := range []struct {
		name   string
		fault  proxytest.Fault
		status int
		parts  []string
	}{
		{"its refusal is unchanged", proxytest.Answer(400, `{"error" : "invalid_grant","x":1.50}`), 400, []string{`{"error" : "invalid_grant","x":1.50}`}},
		{"401", proxytest.Error(401, "invalid_client"), 401, []string{"invalid_client"}},
		{"a fault is unchanged too", proxytest.Answer(500, "oops"), 500, []string{"oops"}},
		{"two objects as 201", proxytest.Answer(201, `{"refresh_token":"R"}{"refresh_token":"R"}`), 502, []string{"server_error"}},
		{"an object as 203", proxytest.Answer(203, `{"refresh_token":"R"}`), 502, []string{"server_error"}},
		{"a redirect", proxytest.Answer(302, `{"refresh_token":"R"}`), 502, []string{"server_error"}},
		{"no answer", proxytest.Down, 503, []string{"temporarily_unavailable"}},
		{"no JSON", proxytest.Answer(200, "<html>"), 502, []string{"server_error"}},
		{"two objects", proxytest.Twice, 502, []string{"server_error"}},
		{"an array", proxytest.Answer(200, `[{"access_token":"x"}]`), 502, []string{"server_error"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, idp := idpRig(t, nil)
			a := r.app()
			code := a.code()
			idp.Next("/token", row.fault)
			resp := a.redeem(code)
			body := r.is("code exchange", resp, row.status, row.parts...)
			if resp.Header.Get("Cache-Control") != "no-store" || strings.Contains(body, "refresh_token") {
				t.Errorf("%v %s", resp.Header, body)
			}
			if row.status == 503 && resp.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

// Device codes: a refresh token is in the answer only where offline_access was asked.
func TestDeviceGrants(t *testing.T) {
	for _, row := range []struct {
		scope, want string
		refresh     bool
	}{
		{"openid online_access", "openid", false},
		{"openid online_access offline_access", "openid offline_access", true},
		{"openid", "openid", true},
	} {
		t.Run(row.scope, func(t *testing.T) {
			r, idp := idpRig(t, nil)
			body := r.is("device", r.do(http.MethodPost, "/device", url.Values{"client_id": {"spa"}, "scope": {row.scope}}.Encode()), 200)
			if got := idp.At("/device")[0].Form().Get("scope"); got != row.want {
				t.Errorf("the upstream was asked for %q", got)
			}
			_, rest, _ := strings.Cut(body, `"device_code":"`)
			code, _, _ := strings.Cut(rest, `"`)
			form := url.Values{"grant_type": {grantDevice}, "client_id": {"spa"}, "device_code": {code}}
			body = r.is("token", r.do(http.MethodPost, "/token", form.Encode()), 200, "access_token")
			if strings.Contains(body, "refresh_token") != row.refresh {
				t.Error(body)
			}
		})
	}
}

// Refresh tokens that are no ORTs pass byte for byte, both ways.
func TestOtherRefreshTokensPass(t *testing.T) {
	r := newRig(t)
	const answer = `{"refresh_token" : "R2" , "n":1e5}`
	r.says(200, answer, "DPoP-Nonce", "of-the-upstream", "Cache-Control", "private")
	const body = "grant_type=refresh_token&&refresh_token=R%31&scope=online_access"
	resp := r.do(http.MethodPost, "/token", body, "DPoP", "any proof")
	if got := text(resp); got != answer || r.last().body != body || r.last().header.Get("DPoP") != "any proof" || resp.Header.Get("DPoP-Nonce") != "of-the-upstream" || resp.Header.Get("Cache-Control") != "private" {
		t.Errorf("%v %s, up went %+v", resp.Header, got, r.last())
	}
}

// Clients that get refresh tokens as ORTs alone get none in any other way.
func TestOnlineOnlyClientsGetNoOtherRefreshTokens(t *testing.T) {
	for _, status := range []int{200, 201, 203} {
		r := newRig(t, policy(ortengine.Policy{OnlineOnly: []string{"only"}}))
		r.says(status, `{"access_token":"x","refresh_token":"R"}`)
		for _, grant := range []string{"password", "refresh_token&refresh_token=R0", "authorization_code&code=c&code_verifier=" + strings.Repeat("v", 43), grantDevice, "urn:ietf:params:oauth:grant-type:token-exchange"} {
			got := text(r.do(http.MethodPost, "/token", "client_id=only&grant_type="+grant))
			if strings.Contains(got, "refresh_token") {
				t.Errorf("status %d, %s: %s", status, grant, got)
			}
			if got := text(r.do(http.MethodPost, "/token", "client_id=other&grant_type="+grant)); !strings.Contains(got, "refresh_token") {
				t.Errorf("another client, %s: %s", grant, got)
			}
		}
		r.says(status, `{"refresh_token":"R"}{"refresh_token":"R"}`)
		r.is("two objects", r.do(http.MethodPost, "/token", "client_id=only&grant_type=password"), 502)
	}
	r := newRig(t, policy(ortengine.Policy{OnlineOnly: []string{"only"}}))
	r.says(200, ``)
	r.is("a revocation has no answer to speak of", r.do(http.MethodPost, "/revoke", "client_id=only&token=x"), 200)
	r.says(200, `eyJ.jwt.x`)
	r.is("nor must introspection be JSON", r.do(http.MethodPost, "/introspect", "client_id=only&token=x"), 200, "eyJ.jwt.x")
	r.do(http.MethodPost, "/device", "client_id=only&scope=openid+offline_access")
	if got := r.last().body; got != "client_id=only&scope=openid" {
		t.Errorf("device: %s", got)
	}
}

// In whatever spelling, and wherever it stands, an ORT goes to no upstream.
func TestORTsInEverySpelling(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	escaped := strings.Replace(a.ort, "ORT1.", "%4f%52T1%2E", 1)
	double := strings.Replace(a.ort, "ORT1.", "ORT1%252e", 1)
	before := r.count()
	for _, ort := range []string{a.ort, escaped, double} {
		for _, q := range []struct{ method, target, body string }{
			{"POST", "/token", "grant_type=urn:x&subject_token=" + ort},
			{"POST", "/token", "grant_type=authorization_code&code=" + ort},
			{"POST", "/token", "grant_type=refresh_token&refresh_token=R&x=" + ort},
			{"POST", "/token", "grant_type=refresh_token&refresh_token=+" + ort},
			{"POST", "/token?x=" + ort, "grant_type=client_credentials"},
			{"GET", "/token?refresh_token=" + ort, ""},
			{"POST", "/revoke", "client_id=other&token=" + ort},
			{"POST", "/revoke", "token=x&y=" + ort},
			{"POST", "/revoke?token=" + ort, "token=x"},
			{"GET", "/revoke?token=" + ort + "&callback=x", ""},
			{"POST", "/introspect", "token=" + ort},
			{"POST", "/introspect?token=" + ort, "a=b"},
			{"GET", "/introspect?token=" + ort, ""},
			{"GET", "/logout?refresh_token=" + ort, ""},
			{"POST", "/logout?refresh_token=" + ort, "a=b"},
			{"POST", "/logout", "id_token_hint=" + ort},
			{"POST", "/logout", "client_id=other&refresh_token=" + ort},
			{"POST", "/logout/confirm", "client_id=other&refresh_token=" + ort},
			{"PUT", "/logout", "refresh_token=" + ort},
		} {
			r.do(q.method, q.target, q.body)
			if r.count() != before {
				t.Fatalf("%s %s %s reached the upstream: %+v", q.method, q.target, q.body, r.last())
			}
		}
		for _, media := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded; charset=latin1"} {
			r.do("POST", "/logout", `refresh_token=`+ort, "Content-Type", "", "Content-Type", media)
			if r.count() != before {
				t.Fatalf("%s: %+v", media, r.last())
			}
		}
	}
	r.is("none of it ended the session", a.exchange(), 200)
}

// What a code exchange names is judged before anything is sent: the code stays
// usable.
func TestCodeExchangesThatAskForTooMuch(t *testing.T) {
	r, _ := idpRig(t, nil, policy(ortengine.Policy{Audiences: []string{"urn:a", "urn:b"}}))
	a := r.app()
	code := a.code("resource", "urn:a")
	before := r.count()
	for _, name := range []string{"resource", "audience"} {
		form := a.codeForm(code)
		form.Set(name, "urn:c")
		r.refused(r.do(http.MethodPost, "/token", form.Encode(), "DPoP", a.proof("/token")), before, 400, "invalid_target")
	}
	form := a.codeForm(code)
	form.Set("resource", "urn:b")
	form.Set("scope", "openid online_access")
	body := r.is("an audience that is listed", r.do(http.MethodPost, "/token", form.Encode(), "DPoP", a.proof("/token")), 200, "ORT1.")
	if up := r.last().body; strings.Contains(up, onlineAccess) || !strings.Contains(up, "scope=openid&") && !strings.HasSuffix(up, "scope=openid") {
		t.Errorf("the upstream got %s, the client %s", up, body)
	}
	r.do(http.MethodPost, "/token", "grant_type=authorization_code&client_id=spa&code=x&scope=a+online_access")
	if up := r.last().body; up != "grant_type=authorization_code&client_id=spa&code=x&scope=a" {
		t.Errorf("of no transaction: the upstream got %s", up)
	}
}

// RFC 7636 section 4.1: the upstream never sees the client's verifier, so the
// gateway judges its form.
func TestVerifiersThatAreNone(t *testing.T) {
	r, _ := idpRig(t, nil)
	for _, verifier := range []string{"short", strings.Repeat("v", 129), strings.Repeat("v", 43) + " "} {
		a := r.app()
		a.verifier = verifier
		code := a.code()
		r.refused(a.redeem(code), r.count(), 400, "invalid_grant")
	}
}
