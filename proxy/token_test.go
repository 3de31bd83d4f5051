package proxy

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
	"github.com/ort-gateway/ort-gateway/ortengine"
)

func confidential(clients ...string) rigOption {
	return policy(ortengine.Policy{Confidential: clients})
}

// What the answer to a code exchange keeps, and what is added.
func TestCodeExchangeAnswer(t *testing.T) {
	r := newRig(t)
	a := r.app()
	resp := r.do(http.MethodPost, "/token", a.codeForm(a.code()).Encode(), "DPoP", a.proof("/token"))
	body := text(resp)
	for _, want := range []string{
		`{"access_token" : "AT","n":12345678901234567890,"refresh_token":"ORT1.`, `"twice":1,"twice":2,"scope":"openid","id_token"`, `"esc":"\u0041\/"`,
		`"session_idle_expires_in":3`, `"session_expires_in":28`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s\nmisses %s", body, want)
		}
	}
	if strings.Contains(body, "R-of-the-upstream") || resp.Header.Get("Cache-Control") != "no-store" || len(resp.Header.Values("DPoP-Nonce")) != 1 {
		t.Errorf("%v %s", resp.Header, body)
	}
	up := r.last()
	if up.header.Get("DPoP") != "" || strings.Contains(up.body, a.verifier) || up.header.Get("Accept-Encoding") != "identity" {
		t.Errorf("the upstream got %+v", up)
	}
}

// Each refusal of a code exchange, in the order of the checks; the code stays usable.
func TestCodeExchangeRefusals(t *testing.T) {
	r := newRig(t, confidential("web"))
	for _, row := range []struct {
		name   string
		change func(a *app, form url.Values, h *[]string)
		code   string
	}{
		{"another client than the transaction's", func(_ *app, form url.Values, _ *[]string) { form.Set("client_id", "other") }, "invalid_grant"},
		{"no client", func(_ *app, form url.Values, _ *[]string) { form.Del("client_id") }, "invalid_grant"},
		{"a public client without a proof", func(_ *app, _ url.Values, h *[]string) { *h = nil }, "invalid_dpop_proof"},
		{"a public client, whatever secret it sends", func(_ *app, form url.Values, h *[]string) { *h = nil; form.Set("client_secret", "x") }, "invalid_dpop_proof"},
		{"two proofs", func(a *app, _ url.Values, h *[]string) { *h = append(*h, "DPoP", a.proof("/token")) }, "invalid_dpop_proof"},
		{"a proof for another endpoint", func(a *app, _ url.Values, h *[]string) { *h = []string{"DPoP", a.proof("/revoke")} }, "invalid_dpop_proof"},
		{"a proof without a nonce", func(a *app, _ url.Values, h *[]string) {
			*h = []string{"DPoP", a.key.Proof(http.MethodPost, public+"/token")}
		}, "use_dpop_nonce"},
		{"a proof with a foreign nonce", func(a *app, _ url.Values, h *[]string) {
			*h = []string{"DPoP", a.proof("/token", dpoptest.Nonce("foreign"))}
		}, "use_dpop_nonce"},
		{"a proof with another signature", func(a *app, _ url.Values, h *[]string) {
			*h = []string{"DPoP", a.proof("/token", dpoptest.SignedBy(dpoptest.NewKey("ES256")))}
		}, "invalid_dpop_proof"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := r.app()
			a.rig.t = t
			code := a.code()
			form, header := a.codeForm(code), []string{"DPoP", a.proof("/token")}
			row.change(a, form, &header)
			r.refused(r.do(http.MethodPost, "/token", form.Encode(), header...), r.count(), 400, row.code)
			if resp := r.do(http.MethodPost, "/token", a.codeForm(code).Encode(), "DPoP", a.proof("/token")); resp.StatusCode != http.StatusOK {
				t.Errorf("the code is not usable any more: %s", text(resp))
			}
		})
	}
}

func TestConfidentialClients(t *testing.T) {
	r := newRig(t, confidential("web"))
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("web:s%2Bcret"))
	unbound := r.app()
	unbound.client = "web"
	form := unbound.codeForm(unbound.code())
	form.Del("client_id")
	resp := r.do(http.MethodPost, "/token", form.Encode(), "Authorization", basic)
	body := text(resp)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "ORT1.") {
		t.Fatalf("without a proof: %d %s", resp.StatusCode, body)
	}
	_, rest, _ := strings.Cut(body, `"refresh_token":"`)
	unbound.ort, _, _ = strings.Cut(rest, `"`)
	refused := r.do(http.MethodPost, "/token", unbound.refreshForm().Encode())
	r.refused(refused, r.count(), 401, "invalid_client")
	if refused.Header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
	if resp := r.do(http.MethodPost, "/token", unbound.refreshForm().Encode(), "Authorization", basic); resp.StatusCode != http.StatusOK || r.last().header.Get("Authorization") != basic {
		t.Errorf("with its authentication: %d", resp.StatusCode)
	}
	bound := r.app()
	bound.client = "web"
	bound.login() // with a proof: then the ORT is bound too
	r.refused(r.do(http.MethodPost, "/token", bound.refreshForm().Encode(), "Authorization", basic), r.count(), 400, "invalid_dpop_proof")
}

// A client that is confidential no more logs in anew, and is bound then.
func TestUnboundTokensOfClientsThatAreConfidentialNoMore(t *testing.T) {
	r := newRig(t, confidential("web"))
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("web:s"))
	a := r.app()
	a.client = "web"
	form := a.codeForm(a.code())
	form.Del("client_id")
	_, rest, _ := strings.Cut(text(r.do(http.MethodPost, "/token", form.Encode(), "Authorization", basic)), `"refresh_token":"`)
	a.ort, _, _ = strings.Cut(rest, `"`)
	status := func() int { return r.do("GET", "/_ort/session", "", "Authorization", "Bearer "+a.ort).StatusCode }
	if got := status(); got != 200 {
		t.Fatalf("its session: %d", got)
	}
	r.Engine.Policy.Confidential = []string{"other"}
	before := r.count()
	for _, h := range [][]string{nil, {"Authorization", basic}, {"Authorization", basic, "DPoP", a.proof("/token")}} {
		r.refused(r.do(http.MethodPost, "/token", a.refreshForm().Encode(), h...), before, 400, "invalid_grant")
	}
	if got := status(); got != 401 {
		t.Errorf("its session: %d", got)
	}
}

// Each refusal of an ORT exchange, in the order of the checks.
func TestORTExchangeRefusals(t *testing.T) {
	r := newRig(t)
	for _, row := range []struct {
		name   string
		change func(a *app, form url.Values, h *[]string)
		code   string
	}{
		{"a token that does not open", func(a *app, form url.Values, _ *[]string) { form.Set("refresh_token", a.ort+"A") }, "invalid_grant"},
		{"a token that is none", func(a *app, form url.Values, _ *[]string) { form.Set("refresh_token", "ORT1.") }, "invalid_grant"},
		{"two tokens", func(a *app, form url.Values, _ *[]string) { form.Add("refresh_token", a.ort) }, "invalid_request"},
		{"another client", func(_ *app, form url.Values, _ *[]string) { form.Set("client_id", "other") }, "invalid_grant"},
		{"a client named twice", func(_ *app, _ url.Values, h *[]string) {
			*h = append(*h, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("other:x")))
		}, "invalid_request"},
		{"no proof", func(_ *app, _ url.Values, h *[]string) { *h = nil }, "invalid_dpop_proof"},
		{"another key", func(a *app, _ url.Values, h *[]string) {
			*h = []string{"DPoP", dpoptest.NewKey("ES256").Proof(http.MethodPost, public+"/token", dpoptest.Nonce(a.Verifier.Nonce()))}
		}, "invalid_dpop_proof"},
		{"an audience that was never asked for", func(_ *app, form url.Values, _ *[]string) { form.Set("resource", "urn:x") }, "invalid_target"},
		{"an ORT as a code", func(a *app, form url.Values, _ *[]string) {
			form.Set("grant_type", "authorization_code")
			form.Set("code", a.ort)
		}, "invalid_request"},
		{"an ORT at another grant", func(_ *app, form url.Values, _ *[]string) {
			form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
		}, "invalid_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := r.app()
			a.rig.t = t
			a.login()
			form, header := a.refreshForm(), []string{"DPoP", a.proof("/token")}
			row.change(a, form, &header)
			r.refused(r.do(http.MethodPost, "/token", form.Encode(), header...), r.count(), 400, row.code)
		})
	}
}

func TestReplayedProofNeverReachesTheUpstream(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	proof := a.proof("/token")
	if resp := r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", proof); resp.StatusCode != http.StatusOK {
		t.Fatal(text(resp))
	}
	r.refused(r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", proof), r.count(), 400, "use_dpop_nonce")
}

func TestORTExchangeAnswer(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	form := a.refreshForm()
	form.Set("scope", "openid online_access")
	r.mu.Lock()
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("DPoP-Nonce", "of-the-upstream")
		io.WriteString(w, `{"access_token":"AT2","refresh_token":"R2","refresh_expires_in":60,"scope":"openid offline_access"}`)
	}
	r.mu.Unlock()
	resp := r.do(http.MethodPost, "/token", form.Encode(), "DPoP", a.proof("/token"))
	body := text(resp)
	if !strings.HasPrefix(body, `{"access_token":"AT2","refresh_expires_in":60,"scope":"openid","session_idle_expires_in":60,"session_expires_in":`) {
		t.Error(body)
	}
	if n := resp.Header.Values("DPoP-Nonce"); len(n) != 1 || n[0] == "of-the-upstream" {
		t.Errorf("nonces %q", n)
	}
	if strings.Contains(r.last().body, "online_access") || !strings.Contains(r.last().body, "refresh_token=R-of-the-upstream") {
		t.Errorf("the upstream got %s", r.last().body)
	}
	r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"))
	if !strings.Contains(r.last().body, "refresh_token=R2") {
		t.Errorf("the rotated credential was not used: %s", r.last().body)
	}
}

func TestAnswersOfTheUpstreamToAnExchange(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		body   string
		want   int
		error  string
		dead   bool
	}{
		{"invalid_grant ends the grant", 400, `{"error":"invalid_grant","error_description":"R-of-the-upstream is gone"}`, 400, "invalid_grant", true},
		{"another 4xx passes", 400, `{"error":"invalid_scope","error_description":"no"}`, 400, "invalid_scope", false},
		{"too many requests pass", 429, `{"error":"slow_down"}`, 429, "slow_down", false},
		{"a fault ends nothing", 500, `oops`, 503, "temporarily_unavailable", false},
		{"a redirect is a fault", 302, ``, 503, "temporarily_unavailable", false},
		{"no JSON", 200, `<html>"refresh_token":"R3"`, 502, "server_error", false},
		{"two objects", 200, `{"access_token":"x"}{"refresh_token":"R3"}`, 502, "server_error", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			a := r.app().login()
			r.mu.Lock()
			r.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
				w.WriteHeader(row.status)
				io.WriteString(w, row.body)
			}
			r.mu.Unlock()
			resp := r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"))
			body := text(resp)
			if resp.StatusCode != row.want || !strings.Contains(body, `"error":"`+row.error+`"`) || strings.Contains(body, "R-of-the-upstream") || strings.Contains(body, "R3") {
				t.Errorf("got %d %s", resp.StatusCode, body)
			}
			r.mu.Lock()
			r.answer = nil
			r.mu.Unlock()
			resp = r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"))
			if (resp.StatusCode == http.StatusOK) == row.dead {
				t.Errorf("afterwards: %d %s", resp.StatusCode, text(resp))
			}
			if row.want == 502 && !strings.Contains(r.last().body, "refresh_token=R3") {
				t.Errorf("the credential that could be read was lost: %s", r.last().body)
			}
		})
	}
}

func TestOtherGrantsLoseOnlineAccess(t *testing.T) {
	r := newRig(t, policy(ortengine.Policy{OnlineOnly: []string{"only"}}))
	for _, row := range []struct{ name, body, want, answer string }{
		{"client_credentials", "client_id=a&grant_type=client_credentials&scope=a+online_access", "client_id=a&grant_type=client_credentials&scope=a", `{"access_token":"AT"}`},
		{"beside offline_access the upstream's stays", "client_id=a&grant_type=password&scope=offline_access+online_access", "client_id=a&grant_type=password&scope=offline_access", `{"access_token":"AT","refresh_token":"R-of-the-upstream"}`},
		{"not asked for: unchanged", "client_id=a&grant_type=password&&scope=a", "client_id=a&grant_type=password&&scope=a", `{"access_token":"AT","refresh_token":"R-of-the-upstream"}`},
		{"an online-only client", "grant_type=password&client_id=only", "grant_type=password&client_id=only", `{"access_token":"AT"}`},
		{"offline_access of an online-only client", "grant_type=password&client_id=only&scope=a+offline_access", "grant_type=password&client_id=only&scope=a", `{"access_token":"AT"}`},
		{"a client that is not named", "grant_type=password&scope=a+offline_access", "grant_type=password&scope=a", `{"access_token":"AT"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			resp := r.do(http.MethodPost, "/token", row.body)
			if got := text(resp); r.last().body != row.want || got != row.answer {
				t.Errorf("the upstream got %s, the client %s", r.last().body, got)
			}
		})
	}
	r.mu.Lock()
	r.answer = func(w http.ResponseWriter, q *http.Request, _ string) {
		if q.URL.Path == "/device" {
			io.WriteString(w, `{"device_code":"D"}`)
			return
		}
		io.WriteString(w, `{"access_token":"AT","refresh_token":"R"}`)
	}
	r.mu.Unlock()
	r.do(http.MethodPost, "/device", "client_id=tv&scope=openid+online_access")
	if r.last().body != "client_id=tv&scope=openid" {
		t.Errorf("device authorization: %s", r.last().body)
	}
	if got := text(r.do(http.MethodPost, "/token", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=D")); got != `{"access_token":"AT"}` {
		t.Errorf("device grant: %s", got)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	r := newRig(t)
	for _, row := range []struct {
		name, target, body string
		header             []string
		status             int
	}{
		{"JSON", "/token", `{}`, []string{"Content-Type", "", "Content-Type", "application/json"}, 400},
		{"another charset", "/token", `a=b`, []string{"Content-Type", "", "Content-Type", "application/x-www-form-urlencoded; charset=latin1"}, 400},
		{"compressed", "/token", `a=b`, []string{"Content-Encoding", "gzip"}, 400},
		{"a repeated parameter", "/token", "grant_type=a&grant_type=b", nil, 400},
		{"a bad escape", "/token", "grant_type=%zz", nil, 400},
		{"parameters in the query", "/token?grant_type=refresh_token", "a=b", nil, 400},
		{"an ORT in the query", "/token?refresh_token=ORT1.x", "a=b", nil, 400},
		{"more than 1 MiB", "/revoke", "a=" + strings.Repeat("x", 1<<20), nil, 413},
	} {
		t.Run(row.name, func(t *testing.T) {
			r.t = t
			r.refused(r.do(http.MethodPost, row.target, row.body, row.header...), r.count(), row.status, "invalid_request")
		})
	}
	if resp := r.do(http.MethodPost, "/token", "grant_type=x&resource=a&resource=b", "Content-Type", "", "Content-Type", "application/x-www-form-urlencoded;charset=UTF-8"); resp.StatusCode != http.StatusOK {
		t.Errorf("resource twice and charset UTF-8: %d", resp.StatusCode)
	}
}

func TestRevocation(t *testing.T) {
	r := newRig(t, confidential("web"))
	a := r.app().login()
	before := r.count()
	revoke := func(token, client string) *http.Response {
		return r.do(http.MethodPost, "/revoke", url.Values{"token": {token}, "client_id": {client}}.Encode())
	}
	r.refused(revoke(a.ort, "other"), before, 400, "invalid_grant")
	if resp := revoke("ORT1.unknown", "spa"); resp.StatusCode != http.StatusOK || r.count() != before {
		t.Errorf("an unknown ORT: %d", resp.StatusCode)
	}
	if resp := revoke("another-token", "spa"); resp.StatusCode != http.StatusOK || !strings.Contains(r.last().body, "another-token") {
		t.Errorf("another token passes: %d", resp.StatusCode)
	}
	before = r.count()
	for range 2 { // no proof needed; again is no error
		if resp := revoke(a.ort, "spa"); resp.StatusCode != http.StatusOK || text(resp) != "" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("revoking: %d", resp.StatusCode)
		}
	}
	dead := r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token"))
	if body := text(dead); dead.StatusCode != 400 || !strings.Contains(body, `"error_description":"Unknown or invalid refresh token: `) || r.count() != before {
		t.Errorf("the ORT lives: %d %s", dead.StatusCode, body)
	}
	web := r.app()
	web.client = "web"
	web.login()
	r.mu.Lock()
	r.answer = func(w http.ResponseWriter, _ *http.Request, body string) {
		w.WriteHeader(map[bool]int{true: 200, false: 401}[strings.Contains(body, "client_secret=right")])
	}
	r.mu.Unlock()
	form := url.Values{"token": {web.ort}, "client_id": {"web"}, "client_secret": {"wrong"}}
	if resp := r.do(http.MethodPost, "/revoke", form.Encode()); resp.StatusCode != http.StatusUnauthorized || strings.Contains(r.last().body, "ORT1.") {
		t.Errorf("a confidential client with a wrong secret: %d", resp.StatusCode)
	}
	form.Set("client_secret", "right")
	if resp := r.do(http.MethodPost, "/revoke", form.Encode()); resp.StatusCode != http.StatusOK {
		t.Errorf("with the right one: %d", resp.StatusCode)
	}
}

func TestORTsNeverReachTheUpstream(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	before := r.count()
	if resp := r.do(http.MethodPost, "/introspect", "token="+a.ort); text(resp) != `{"active":false}` || r.count() != before {
		t.Errorf("introspection: %d", resp.StatusCode)
	}
	if resp := r.do(http.MethodPost, "/logout", "client_id=spa&refresh_token="+a.ort); resp.StatusCode != http.StatusNoContent || r.count() != before {
		t.Errorf("end session: %d", resp.StatusCode)
	}
}

func TestNothingIsServedBeforeTheUpstreamIsKnown(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config, _ *ortengine.Config) { r.meta["issuer"] = "https://other.example" })
	for _, path := range []string{"/", "/token", "/authorize"} {
		if resp := r.do(http.MethodGet, path, ""); resp.StatusCode != http.StatusServiceUnavailable || r.count() != 0 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func TestDPoPAtTheUpstream(t *testing.T) {
	r := newRig(t, dpopUpstream)
	a := r.app()
	proof := a.key.Proof(http.MethodPost, public+"/token", dpoptest.IssuedAt(time.Now()))
	resp := r.do(http.MethodPost, "/token", a.codeForm(a.code()).Encode(), "DPoP", proof)
	if resp.StatusCode != http.StatusOK || r.last().header.Get("DPoP") != proof {
		t.Errorf("%d, the upstream got the proof %q", resp.StatusCode, r.last().header.Get("DPoP"))
	}
}

func TestMoreLoginCookiesThanABrowserHas(t *testing.T) {
	r := newRig(t)
	r.do(http.MethodGet, "/page", "", "Cookie", strings.Repeat("idp=x; ", 100)+"a=b")
	if got := r.last().header.Get("Cookie"); strings.Count(got, "idp=") > maxLoginCookies || !strings.HasSuffix(got, "a=b") {
		t.Errorf("the upstream got %q", got)
	}
}
