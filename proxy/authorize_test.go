package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

func policy(p ortengine.Policy) rigOption {
	return func(_ *rig, _ *Config, e *ortengine.Config) { e.Policy = p }
}

// Each row of the table of authorization requests, in its order: what reaches the
// upstream, %C standing for the gateway's own challenge.
func TestAuthorizationRequests(t *testing.T) {
	const rest = "&client_id=spa&redirect_uri=https%3A%2F%2Fapp.example%2Fcb%3Fx&response_type=code&state=%7e&&odd=%zz"
	const challenge = "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
	own := "&code_challenge=%C&code_challenge_method=S256"
	good := strings.ReplaceAll(rest, "&odd=%zz", "&odd")
	for _, row := range []struct {
		name      string
		query     string
		want      string // "": nothing reaches it, 400 page
		cookie    bool
		configure []rigOption
	}{
		{"no online_access: byte for byte", "scope=openid" + rest, "scope=openid" + rest, false, nil},
		{"offline_access alone: byte for byte", "scope=openid+offline_access" + rest + challenge, "scope=openid+offline_access" + rest + challenge, false, nil},
		{"online_access in another scope's name", "scope=online_accessible" + good, "scope=online_accessible" + good, false, nil},
		{"a request object: byte for byte", "scope=openid+online_access&request=eyJ" + good, "scope=openid+online_access&request=eyJ" + good, false, nil},
		{"a request_uri by URL: byte for byte", "scope=openid+online_access&request_uri=https%3A%2F%2Fapp.example%2Fro" + good, "scope=openid+online_access&request_uri=https%3A%2F%2Fapp.example%2Fro" + good, false, nil},
		{"bad escapes beside online_access", "scope=openid+online_access" + rest + challenge, "", false, nil},
		{"implicit: dropped silently", strings.Replace("scope=openid+online_access"+good, "response_type=code", "response_type=id_token+token", 1), strings.Replace("scope=openid"+good, "response_type=code", "response_type=id_token+token", 1), false, nil},
		{"a client that is not allowed: no cookie, own challenge", "scope=openid+online_access" + good + challenge, "scope=openid" + good + own, false, []rigOption{policy(ortengine.Policy{Clients: []string{"other"}})}},
		{"and its dpop_jkt is the upstream's", "dpop_jkt=x&scope=openid+online_access" + good + challenge, "dpop_jkt=x&scope=openid" + good + own, false, []rigOption{policy(ortengine.Policy{Clients: []string{"other"}})}},
		{"no consent is asked for, and no max_age", "scope=online_access" + good + challenge, strings.TrimPrefix(good, "&") + own, false, []rigOption{policy(ortengine.Policy{Clients: []string{"other"}}), consent}},
		{"an audience that is not allowed", "scope=openid+online_access&resource=urn:b" + good + challenge, "scope=openid&resource=urn:b" + good + own, false, []rigOption{policy(ortengine.Policy{Audiences: []string{"urn:a"}})}},
		{"otherwise: scope, challenge and max_age, all else keeps its bytes", "scope=openid+online_access" + good + challenge, "scope=openid+offline_access" + good + own + "&max_age=28800", true, nil},
		{"no openid, no max_age", "scope=online_access" + good + challenge, "scope=offline_access" + good + own, true, nil},
		{"a smaller max_age stays", "max_age=60&scope=openid+online_access" + good + challenge, "max_age=60&scope=openid+offline_access" + good + own, true, nil},
		{"a max_age that fits no integer is put down", "max_age=99999999999999999999&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"a max_age with an exponent is put down", "max_age=1e9&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"a max_age that is none is replaced", "max_age=x&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"an empty max_age is replaced", "max_age=&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"a max_age without a value is replaced", "max_age&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"a negative max_age is replaced", "max_age=-1&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"a max_age with a sign is replaced", "max_age=%2B60&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"a max_age with a unit is replaced", "max_age=99999s&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"a max_age with a space is replaced", "max_age=+60&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"a max_age of 0 stays", "max_age=0&scope=openid+online_access" + good + challenge, "max_age=0&scope=openid+offline_access" + good + own, true, nil},
		{"a larger max_age is put down", "max_age=99999&scope=openid+online_access" + good + challenge, "max_age=28800&scope=openid+offline_access" + good + own, true, nil},
		{"dpop_jkt ends here", "dpop_jkt=" + strings.Repeat("A", 43) + "&scope=openid+online_access" + good + challenge, "scope=openid+offline_access" + good + own + "&max_age=28800", true, nil},
		{"dpop_jkt goes up where the upstream is the authority", "dpop_jkt=" + strings.Repeat("A", 43) + "&scope=openid+online_access" + good + challenge, "dpop_jkt=" + strings.Repeat("A", 43) + "&scope=openid+offline_access" + good + own + "&max_age=28800", true,
			[]rigOption{func(_ *rig, c *Config, _ *ortengine.Config) { c.DPoPUpstream = true }}},
		{"another upstream scope", "scope=online_access" + good + challenge, "scope=offline" + good + own, true,
			[]rigOption{func(_ *rig, c *Config, _ *ortengine.Config) { c.UpstreamScope = []string{"offline"} }}},
		{"no upstream scope: an empty scope is left out", "scope=online_access" + good + challenge, strings.TrimPrefix(good, "&") + own, true,
			[]rigOption{func(_ *rig, c *Config, _ *ortengine.Config) { c.UpstreamScope = []string{} }}},
		{"Keycloak gets no offline_access", "scope=online_access" + good + challenge, strings.TrimPrefix(good, "&") + own, true,
			[]rigOption{func(r *rig, _ *Config, _ *ortengine.Config) {
				r.meta["end_session_endpoint"] = public + "/realms/r/protocol/openid-connect/logout"
			}}},
		{"consent is asked for where it is configured", "prompt=login&scope=online_access" + good + challenge, "prompt=login+consent&scope=offline_access" + good + own, true, []rigOption{consent}},
		{"but never beside none", "prompt=none&scope=online_access" + good + challenge, "prompt=none&scope=offline_access" + good + own, true, []rigOption{consent}},
		{"an upstream without S256: dropped", "scope=openid+online_access" + good + challenge, "scope=openid" + good + challenge, false,
			[]rigOption{func(r *rig, _ *Config, _ *ortengine.Config) {
				r.meta["code_challenge_methods_supported"] = []string{"plain"}
			}}},
		{"an online-only client loses offline_access", "scope=openid+offline_access" + good, "scope=openid" + good, false, []rigOption{policy(ortengine.Policy{OnlineOnly: []string{"spa"}})}},
		{"and may ask for both", "scope=offline_access+online_access" + good + challenge, "scope=offline_access" + good + own, true, []rigOption{policy(ortengine.Policy{OnlineOnly: []string{"*"}})}},
		{"an online-only client and a repeated scope", "scope=openid&scope=offline_access" + good, "scope=openid" + good + "&scope=", false, []rigOption{policy(ortengine.Policy{OnlineOnly: []string{"spa"}})}},
		{"an online-only client named second", "client_id=other&scope=offline_access" + good, "client_id=other" + good, false, []rigOption{policy(ortengine.Policy{OnlineOnly: []string{"spa"}})}},
		{"another client keeps offline_access", "scope=offline_access" + good, "scope=offline_access" + good, false, []rigOption{policy(ortengine.Policy{OnlineOnly: []string{"only"}})}},
		{"online-only for all that may: another keeps it", "scope=offline_access" + good, "scope=offline_access" + good, false, []rigOption{policy(ortengine.Policy{Clients: []string{"x"}, OnlineOnly: []string{"*"}})}},
		{"a plain challenge", "scope=online_access" + good + "&code_challenge=" + strings.Repeat("p", 43), "scope=offline_access" + good + own, true, nil},
		{"a scope that is there is not repeated", "scope=offline+online_access" + good + challenge, "scope=offline" + good + own, true,
			[]rigOption{func(_ *rig, c *Config, _ *ortengine.Config) { c.UpstreamScope = []string{"offline"} }}},
		{"escapes in online_access", "scope=openid+online%5Faccess" + good + challenge, "scope=openid+offline_access" + good + own + "&max_age=28800", true, nil},
		{"escapes in online_access beside a bad one", "scope=openid+online%5Faccess" + rest + challenge, "", false, nil},
		{"a parameter behind a semicolon", "a=b;code_challenge=x&scope=online_access" + good + challenge, "", false, nil},
		{"brackets", "scope[]=x&scope=online_access" + good + challenge, "", false, nil},
		{"another case", "Code_Challenge=x&scope=online_access" + good + challenge, "", false, nil},
		{"a dpop_jkt that is none", "dpop_jkt=x&redirect_uri=&scope=online_access" + strings.Replace(good, "&redirect_uri=https%3A%2F%2Fapp.example%2Fcb%3Fx", "", 1) + challenge, "", false, nil},
		{"resource and audience may repeat", "resource=urn:a&resource=urn:b&audience=c&scope=online_access" + good + challenge, "resource=urn:a&resource=urn:b&audience=c&scope=offline_access" + good + own, true, nil},
		{"a repeated scope", "scope=openid&scope=online_access" + good + challenge, "", false, nil},
		{"a repeated parameter", "state=2&scope=online_access" + good + challenge, "", false, nil},
		{"a name that a lenient upstream reads as ours", "code.challenge=x&scope=online_access" + good + challenge, "", false, nil},
		{"no client_id", strings.Replace("scope=online_access"+good+challenge, "client_id=spa", "client=spa", 1), "", false, nil},
		{"a challenge that is none", "scope=online_access" + good + "&code_challenge=short&code_challenge_method=S256", "", false, nil},
		{"a challenge method that is unknown", "scope=online_access" + good + strings.Replace(challenge, "S256", "S512", 1), "", false, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, row.configure...)
			resp := r.do(http.MethodGet, "/authorize?"+row.query, "")
			cookie := strings.HasPrefix(resp.Header.Get("Set-Cookie"), "__Host-ort=")
			if cookie != row.cookie {
				t.Errorf("cookie set: %v", cookie)
			}
			if row.want == "" {
				if resp.StatusCode != http.StatusBadRequest || r.count() != 0 || !strings.Contains(resp.Header.Get("Content-Type"), "text/html") {
					t.Errorf("got %d, %d requests reached the upstream", resp.StatusCode, r.count())
				}
				return
			}
			got := r.last().query
			want := row.want
			if strings.Contains(want, "%C") {
				q, _ := url.ParseQuery(got)
				if c := q.Get("code_challenge"); len(c) != 43 || c == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" {
					t.Errorf("the upstream got the challenge %q", c)
				}
				want = strings.Replace(want, "%C", q.Get("code_challenge"), 1)
			}
			if got != want {
				t.Errorf("the upstream got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func consent(_ *rig, c *Config, _ *ortengine.Config) { c.UpstreamConsent = true }

func TestBrowserCookie(t *testing.T) {
	r := newRig(t)
	a := r.app()
	resp := r.do(http.MethodGet, "/authorize?"+a.authorize().Encode(), "")
	line := resp.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-ort=", "; Path=/", "; Max-Age=28800", "; HttpOnly", "; SameSite=Lax", "; Secure"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q misses %q", line, want)
		}
	}
	value := resp.Cookies()[0].Value
	resp = r.do(http.MethodGet, "/authorize?"+r.app().authorize().Encode(), "", "Cookie", "a=1; __Host-ort="+value+"; b=2")
	if got := resp.Cookies()[0].Value; got != value {
		t.Error("a browser that has a cookie got another one")
	}
	if got := r.last().header.Get("Cookie"); strings.Contains(got, "ort") || !strings.Contains(got, "a=1") {
		t.Errorf("the upstream got the cookies %q", got)
	}
	resp = r.do(http.MethodGet, "/authorize?"+r.app().authorize().Encode(), "", "Cookie", "__Host-ort="+strings.Repeat("A", 43))
	if got := resp.Cookies()[0].Value; got == strings.Repeat("A", 43) {
		t.Error("a planted cookie was taken")
	}
}

func TestConflictIsToldWhereTheUpstreamRedirects(t *testing.T) {
	r := newRig(t)
	a := r.app()
	both := a.authorize("scope", "openid online_access offline_access", "state", "a b&c")
	resp := r.do(http.MethodGet, "/authorize?"+both.Encode(), "")
	want := redirect + "?error=invalid_request&error_description=Cannot+request+both+online_access+and+offline_access+scopes&state=a+b%26c&iss=https%3A%2F%2Fid.example"
	if resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != want {
		t.Errorf("got %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	asked := r.count()
	if q, _ := url.ParseQuery(r.last().query); q.Get("prompt") != "none" || r.last().header.Get("Cookie") != "" {
		t.Errorf("the upstream was asked with %s", r.last().query)
	}
	both.Set("response_mode", "fragment")
	resp = r.do(http.MethodGet, "/authorize?"+both.Encode(), "")
	if got := resp.Header.Get("Location"); !strings.HasPrefix(got, redirect+"#error=invalid_request") || r.count() != asked {
		t.Errorf("got %s, %d questions more", got, r.count()-asked)
	}
	both.Set("response_mode", "form_post")
	if resp = r.do(http.MethodGet, "/authorize?"+both.Encode(), ""); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("form_post: %d", resp.StatusCode)
	}
	plain := a.authorize("code_challenge", "", "code_challenge_method", "")
	resp = r.do(http.MethodGet, "/authorize?"+plain.Encode(), "")
	if got := resp.Header.Get("Location"); !strings.Contains(got, "error=invalid_request") || !strings.Contains(got, "PKCE") {
		t.Errorf("without a challenge: %d %s", resp.StatusCode, got)
	}
}

func TestNoOpenRedirector(t *testing.T) {
	r := newRig(t)
	for _, uri := range []string{
		"https://evil.example/", "//evil.example/", "https://app.example@evil.example/", "https://app.example\\@evil.example/",
		"javascript:alert(1)", "https://app.example/\r\nX: y", "", "https://app.example.evil.example/callback", "/callback", "https://app.example/#f",
	} {
		q := r.app().authorize("scope", "online_access offline_access", "redirect_uri", uri)
		resp := r.do(http.MethodGet, "/authorize?"+q.Encode(), "")
		if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
			t.Errorf("%q: %d %s", uri, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
}

func TestPostedRequestsReadQueryAndBodyForThemselves(t *testing.T) {
	r := newRig(t)
	a := r.app()
	r.do(http.MethodPost, "/authorize?theme=dark", a.authorize().Encode())
	if got := r.last(); got.query != "theme=dark" || strings.Contains(got.body, "online_access") || strings.Contains(got.body, challengeOf(a.verifier)) {
		t.Errorf("a request in the body: %+v", got)
	}
	// A login form without an action is posted to the request's own URL.
	r.do(http.MethodGet, "/authorize?"+a.authorize().Encode(), "")
	first := r.last().query
	r.do(http.MethodPost, "/authorize?"+a.authorize().Encode(), "username=alice&password=online_access")
	if got := r.last(); got.query != first || got.body != "username=alice&password=online_access" {
		t.Errorf("a login form's post: %+v\nwant the query %s", got, first)
	}
	if resp := r.do(http.MethodPost, "/authorize", `{"scope":"online_access"}`, "Content-Type", "", "Content-Type", "application/json"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a request in JSON: %d", resp.StatusCode)
	}
	if resp := r.do(http.MethodPost, "/authorize", "scope=online_access&x="+strings.Repeat("x", 1<<20)); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("more than 1 MiB: %d", resp.StatusCode)
	}
}

func TestTransactionsStandAndEnd(t *testing.T) {
	r := newRig(t)
	a := r.app()
	code := a.code()
	if other := r.do(http.MethodGet, "/authorize?"+a.authorize("client_id", "other").Encode(), ""); other.StatusCode != http.StatusBadRequest {
		t.Errorf("another client with this challenge: %d", other.StatusCode)
	}
	if other := r.do(http.MethodGet, "/authorize?"+a.authorize("resource", "urn:x").Encode(), ""); other.StatusCode != http.StatusBadRequest {
		t.Errorf("other values with this challenge: %d", other.StatusCode)
	}
	for _, state := range []string{"second", "third"} { // two tabs of one login
		if resp := r.do(http.MethodPost, "/token", a.codeForm(code).Encode(), "DPoP", a.proof("/token")); resp.StatusCode != http.StatusOK {
			t.Errorf("code exchange: %d %s", resp.StatusCode, text(resp))
		}
		code = a.code("state", state)
	}
	b := r.app()
	r.do(http.MethodGet, "/authorize?"+b.authorize("prompt", "none").Encode(), "") // answered by an error
	r.do(http.MethodPost, "/token", b.codeForm("x").Encode())
	if !strings.Contains(r.last().body, b.verifier) {
		t.Error("a transaction whose request failed at once stands still")
	}
}

func TestPushedRequests(t *testing.T) {
	r := newRig(t)
	a := r.app()
	before := r.count()
	r.refused(r.do(http.MethodPost, "/par", a.authorize("scope", "online_access offline_access").Encode()), before, 400, "invalid_request")
	r.refused(r.do(http.MethodPost, "/par", a.authorize("code_challenge", "").Encode()), before, 400, "invalid_request")
	jkt := a.key.Thumbprint()
	r.refused(r.do(http.MethodPost, "/par", a.authorize("dpop_jkt", strings.Repeat("A", 43)).Encode(), "DPoP", a.proof("/par")), before, 400, "invalid_dpop_proof")
	resp := r.do(http.MethodPost, "/par", a.authorize("dpop_jkt", jkt).Encode(), "DPoP", a.proof("/par"))
	if got := r.last(); resp.StatusCode != http.StatusCreated || strings.Contains(got.body, "online_access") || got.header.Get("DPoP") != "" || strings.Contains(got.body, "dpop_jkt") {
		t.Fatalf("pushed: %d, the upstream got %+v", resp.StatusCode, got)
	}
	used := r.do(http.MethodGet, "/authorize?client_id=spa&request_uri=urn%3apar:1", "")
	if got := r.last().query; got != "client_id=spa&request_uri=urn%3apar:1" || used.Header.Get("Set-Cookie") == "" {
		t.Errorf("using it: %s, cookie %q", got, used.Header.Get("Set-Cookie"))
	}
	thief := *a
	thief.key = r.app().key
	before = r.count()
	r.refused(r.do(http.MethodPost, "/token", a.codeForm("c").Encode(), "DPoP", thief.proof("/token")), before, 400, "invalid_dpop_proof")
	if resp := r.do(http.MethodPost, "/token", a.codeForm("c").Encode(), "DPoP", a.proof("/token")); resp.StatusCode != http.StatusOK {
		t.Errorf("code exchange by the right key: %d %s", resp.StatusCode, text(resp))
	}
}

func TestUpstreamThatIsSilentOrGone(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	r.impatient()
	hold := make(chan struct{})
	r.mu.Lock()
	r.answer = func(http.ResponseWriter, *http.Request, string) { <-hold }
	r.mu.Unlock()
	defer close(hold)
	if resp := r.do(http.MethodGet, "/authorize?scope=openid", ""); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("authorize: %d", resp.StatusCode)
	}
	for path, body := range map[string]string{"/token": "grant_type=client_credentials", "/revoke": "token=x", "/par": "client_id=spa"} {
		resp := r.do(http.MethodPost, path, body)
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(text(resp), "temporarily_unavailable") {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	if resp := r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode()); resp.StatusCode != http.StatusOK {
		t.Errorf("revoking an ORT needs no upstream: %d", resp.StatusCode)
	}
}

// A request without online_access is never changed; after rewriting the upstream
// sees neither online_access nor the client's challenge, however it is spelled.
func FuzzAuthorizationQuery(f *testing.F) {
	const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	f.Add("scope=openid+online_access&client_id=a&response_type=code&code_challenge=" + challenge + "&code_challenge_method=S256")
	f.Add("scope=openid&x=%zz")
	f.Add("Scope=online_access&scope=online%5faccess")
	f.Add("scope=online_access&client_id=a&response_type=code&code_challenge=" + challenge + "&a=b;code_challenge=" + challenge)
	f.Add("scope=online_access&client_id=a&response_type=code&code_challenge%5b%5d=x&code_challenge=" + challenge)
	f.Add("scope=online_access&request_uri=urn%3ax")
	f.Add("scope=online_access&client_id=a&response_type=code&code_challenge=" + challenge + "&code_challenge%00x=" + challenge)
	f.Add("scope=online_access&client_id=a&response_type=code&code_challenge=" + challenge + "&+Code.Challenge=" + challenge)
	f.Add("scope=online_access&client_id=a&response_type=code&code_challenge=" + challenge + "&code%5bchallenge=" + challenge)
	r := newRig(f) // for all inputs: one made with t ends with the first
	f.Fuzz(func(t *testing.T, query string) {
		a := &authorization{Gateway: r.Gateway, at: &location{providers: r.providers()}, from: httptestGet()}
		part := newPart(query)
		a.survey(part)
		got, changed, err := a.read(part)
		if err != nil {
			if e := ortengine.AsError(err); e.Status >= 500 {
				t.Errorf("%q: %v", query, e)
			}
			return
		}
		if !changed && got != query {
			t.Errorf("%q is %q, and said to be unchanged", query, got)
		}
		before, parsed := url.ParseQuery(query)
		if parsed == nil && !asksAnywhere(before) && changed {
			t.Errorf("%q was changed to %q", query, got)
		}
		if !changed {
			return
		}
		after, err := url.ParseQuery(got)
		if err != nil && !strings.Contains(query, ";") {
			t.Errorf("%q became %q, which nobody can read: %v", query, got, err)
		}
		if asksAnywhere(after) {
			t.Errorf("%q still asks: %q", query, got)
		}
		for name, values := range after {
			for _, v := range values {
				if loosely(name) == "scope" && slices.Contains(strings.Fields(v), "online_access") {
					t.Errorf("%q still asks in %q: %q", query, name, got)
				}
				if len(a.begun) > 0 && loosely(name) == "code_challenge" && v != a.begun[0].Challenge {
					t.Errorf("%q went up with another challenge in %q: %q", query, name, got)
				}
			}
		}
		if len(a.begun) > 0 && after.Get("code_challenge") != a.begun[0].Challenge {
			t.Errorf("%q went up with another challenge: %q", query, got)
		}
	})
}

// loosely is a parameter's name as the most lenient of readers take it: in any
// case, PHP's underscores, up to a bracket or NUL.
func loosely(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	name, _, _ = strings.Cut(name, "\x00")
	if before, _, ok := strings.Cut(name, "["); ok && strings.Contains(name, "]") {
		return before
	}
	return strings.NewReplacer(".", "_", " ", "_", "[", "_").Replace(name)
}

func asksAnywhere(q url.Values) bool {
	return slices.ContainsFunc(q["scope"], func(s string) bool { return slices.Contains(strings.Fields(s), "online_access") })
}

func httptestGet() *http.Request {
	r, _ := http.NewRequest(http.MethodGet, public+"/authorize", nil)
	r.RemoteAddr = "192.0.2.1:1"
	return r
}
