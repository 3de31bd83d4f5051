package app

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
)

// Where everything is right, every fact is ok but those that nobody can find out.
func TestCheckGood(t *testing.T) {
	u := newCheckUpstream()
	r, text := u.check(t)
	for _, f := range r.Facts {
		unknowable := []string{"identity provider", "login cookies", "CORS", "lifetimes", "TLS"}
		if f.Level == levelFail || f.Level == levelWarn || f.Level == levelSkip && !slices.Contains(unknowable, f.Topic) {
			t.Errorf("%s %s: %s", f.Level, f.Topic, f.Fact)
		}
	}
	golden := filepath.Join("testdata", "check_good.golden")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// One row a fact: what is wrong, and the line that says so with the setting to change.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	set := func(name string, value any) func(*checkUpstream) {
		return func(u *checkUpstream) { u.doc[name] = value }
	}
	unset := func(name string) func(*checkUpstream) { return func(u *checkUpstream) { delete(u.doc, name) } }
	answer := func(client string, status int, code string) func(*checkUpstream) {
		return func(u *checkUpstream) {
			u.token = func(w http.ResponseWriter, r *http.Request) bool {
				id, _, _ := r.BasicAuth()
				if r.PostForm.Get("client_id") != client && id != client {
					return false
				}
				oauthError(w, status, code)
				return true
			}
		}
	}
	for _, row := range []struct {
		name  string
		wrong func(*checkUpstream)
		env   []string
		want  string
	}{
		{"unknown setting", nil, []string{"ORT_ISUER=x"}, "warn settings: ORT_ISUER: unknown"},
		{"trailing slash", set("issuer", checkIssuer+"/"), nil, "fail issuer: … the slash at the end differs; change: ORT_ISSUER=" + checkIssuer + "/"},
		{"issuer's scheme", set("issuer", "http://login.test/main"), nil, "fail issuer: … the scheme differs … change: set the identity provider's public (external) URL so that its issuer is exactly " + checkIssuer},
		{"issuer's host", set("issuer", "https://inner/main"), nil, "fail issuer: … the host differs"},
		{"issuer's path", set("issuer", "https://login.test/other"), nil, "fail issuer: … the path differs; change: ORT_ISSUER=https://login.test/other, or"},
		{"issuer is no URL", set("issuer", "main"), nil, "fail issuer: … no URL"},
		{"a document of another kind", func(u *checkUpstream) { u.text = "<html>" }, nil, "fail discovery: no discovery document: /main/.well-known/openid-configuration is not a JSON document of metadata, "},
		{"lists in RFC 8414's alone", func(u *checkUpstream) {
			u.oauth = maps.Clone(u.doc)
			delete(u.doc, "grant_types_supported")
		}, nil, "ok   refresh tokens: grant type refresh_token in the metadata"},
		{"grant types not said", unset("grant_types_supported"), nil, "skip refresh tokens: the metadata list no grant types"},
		{"scopes not said", unset("scopes_supported"), nil, "skip upstream scope: … the metadata list no scopes"},
		{"no client named", nil, []string{"ORT_CLIENTS=", "ORT_CONFIDENTIAL_CLIENTS="}, "skip PKCE: not tried: ORT_CLIENTS names no client to try it with"},
		{"no other response type", func(u *checkUpstream) { u.pkce = "unsupported" }, nil, `fail authorization code: client "spa": may not use the code flow: unsupported_response_type`},
		{"authorization endpoint with a query", set("authorization_endpoint", "https://login.test/authorize?tenant=a"), nil, `ok   PKCE: client "spa": S256 is taken, a request without challenge refused`},
		{"DPoP that is not used", set("dpop_signing_alg_values_supported", []string{"ES256"}), nil, "ok   DPoP: ends at the gateway (ORT_DPOP_AUTHORITY=gateway); the upstream never sees a proof, though it knows DPoP"},
		{"keys by setting", nil, []string{"ORT_SEALING_KEYS=" + goodKey}, `ok   sealing keys: 1 in ORT_SEALING_KEYS, "k1" seals`},
		{"the gateway's own origins", nil, []string{"ORT_CORS_ORIGINS=https://app.test"}, "ok   CORS: the gateway allows https://app.test itself (ORT_CORS_ORIGINS)"},
		{"userinfo for no origin", nil, []string{"ORT_CORS_ORIGINS=https://app.test"}, "warn CORS: the userinfo endpoint, which the gateway only forwards, does not allow https://app.test"},
		{"no document", func(u *checkUpstream) { u.doc = nil }, nil, "fail discovery: no discovery document: /main/.well-known/openid-configuration answers 404, … change: ORT_ISSUER must be"},
		{"upstream is starting", func(u *checkUpstream) { u.status = 503 }, nil, "fail discovery: … answers 503"},
		{"other issuer in RFC 8414's", func(u *checkUpstream) { u.oauth = map[string]any{"issuer": "https://inner"} }, nil, `warn discovery: … another issuer ("https://inner")`},
		{"the rest in RFC 8414's", func(u *checkUpstream) {
			u.oauth = maps.Clone(u.doc)
			delete(u.doc, "revocation_endpoint")
		}, nil, "ok   revocation: endpoint at /revoke"},
		{"endpoint elsewhere", set("token_endpoint", "http://10.0.0.1:8080/oauth/token"), nil, "fail endpoints: not on the public origin https://login.test, … token_endpoint http://10.0.0.1:8080/oauth/token; change: … X-Forwarded-Proto"},
		{"all endpoints elsewhere", func(u *checkUpstream) {
			for name, value := range u.doc {
				if address, ok := value.(string); ok {
					u.doc[name] = strings.Replace(address, "login.test", "inner", 1)
				}
			}
		}, nil, "fail endpoints: not on the public origin https://login.test, … all 7 are on https://inner; change:"},
		{"no Date, no DPoP", func(u *checkUpstream) { u.noDate = true }, nil, "skip clock: the upstream sends no Date field"},
		{"clock by proofs", byProof(0), nil, "ok   clock: the upstream sends no Date field, but takes a DPoP proof made now"},
		{"clock by proofs, ahead", byProof(2 * time.Minute), nil, "fail clock: the upstream's is about 2m ahead of this machine's"},
		{"clock by proofs, behind", byProof(-time.Minute), nil, "fail clock: the upstream's is about 1m behind this machine's"},
		{"clock beyond proofs", byProof(48 * time.Hour), nil, "skip clock: "},
		{"no token endpoint", unset("token_endpoint"), nil, "fail endpoints: missing in the metadata: token_endpoint"},
		{"no code", set("response_types_supported", []string{"id_token"}), nil, "fail authorization code: "},
		{"signed requests", set("require_signed_request_object", true), nil, "fail request objects: "},
		{"plain alone", set("code_challenge_methods_supported", []string{"plain"}), nil, "fail PKCE: code_challenge_methods_supported is plain, without S256: online_access is dropped; change: allow"},
		{"methods not said", unset("code_challenge_methods_supported"), nil, "skip PKCE: the metadata do not say"},
		{"S256 refused", func(u *checkUpstream) { u.pkce = "plain" }, nil, `fail PKCE: client "spa": a request with an S256 challenge is refused: about PKCE; change: … client "spa"`},
		{"PKCE not demanded", func(u *checkUpstream) { u.pkce = "" }, nil, `warn PKCE: client "spa": S256 is taken, but a request without challenge too`},
		{"PKCE not demanded of a confidential client", func(u *checkUpstream) { u.pkce = "" }, nil, `ok   PKCE: client "web": S256 is taken; requests without challenge too`},
		{"PKCE ignored", func(u *checkUpstream) { u.pkce = "ignored" }, nil, `warn PKCE: client "spa": neither a missing challenge nor an unknown method is refused`},
		{"PKCE cannot be tried", func(u *checkUpstream) { u.page = true }, nil, `skip PKCE: client "spa": not tried: no redirect_uri is known here, and the upstream wants one (answer 400)`},
		{"client refused", func(u *checkUpstream) { u.pkce = "unauthorized" }, nil, `fail authorization code: client "spa": may not use the code flow: unauthorized_client`},
		{"client's request refused otherwise", func(u *checkUpstream) { u.pkce = "busy" }, nil, `skip PKCE: client "spa": not tried: its authorization request is refused: temporarily_unavailable`},
		{"scope refused", func(u *checkUpstream) { u.scope = "openid" }, nil, `fail upstream scope: client "spa": offline_access is refused: invalid_scope`},
		{"everybody refused", answer("spa", 403, "access_denied"), nil, `fail clients: client "spa": refused whatever it sends (403 access_denied no`},
		{"no refresh", set("grant_types_supported", []string{"authorization_code"}), nil, "fail refresh tokens: grant_types_supported has no refresh_token"},
		{"scope missing", set("scopes_supported", []string{"openid"}), nil, "warn upstream scope: ORT_UPSTREAM_SCOPE is not set, … has no offline_access"},
		{"another scope", nil, []string{"ORT_UPSTREAM_SCOPE=offline"}, "warn upstream scope: ORT_UPSTREAM_SCOPE is offline; scopes_supported has no offline"},
		{"no scope", nil, []string{"ORT_UPSTREAM_SCOPE="}, "skip upstream scope: ORT_UPSTREAM_SCOPE is empty"},
		{"unknown client", nil, []string{"ORT_CLIENTS=spa,spaa"}, `warn clients: client "spaa": refused without authentication (401 invalid_client)`},
		{"client may not refresh", answer("spa", 400, "unauthorized_client"), nil, `fail clients: client "spa": may not refresh (400 unauthorized_client); change: allow client "spa" the grant type refresh_token`},
		{"client's answer says nothing", answer("spa", 500, "server_error"), nil, `skip clients: client "spa": could not be found out: 500 server_error`},
		{"any refresh token taken", answer("spa", 200, ""), nil, `fail clients: client "spa": the token endpoint takes a refresh token that nobody has`},
		{"confidential client is public there", nil, []string{"ORT_CONFIDENTIAL_CLIENTS=spa"}, `fail confidential clients: client "spa": a refresh without authentication is not refused, … (400 invalid_grant) … change: make "spa" a confidential client`},
		{"wrong secret taken", func(u *checkUpstream) {
			u.token = func(w http.ResponseWriter, r *http.Request) bool {
				if r.PostForm.Get("client_secret") == "" {
					return false
				}
				oauthError(w, 400, "invalid_grant")
				return true
			}
		}, nil, `fail confidential clients: client "web": a refresh with wrong authentication (client_secret_post) is not refused`},
		{"confidential client's answer says nothing", answer("web", 503, ""), nil, `skip confidential clients: client "web": could not be found out: a refresh without authentication is answered status 503`},
		{"every client, any secret", nil, []string{"ORT_CONFIDENTIAL_CLIENTS=*"}, `fail confidential clients: ORT_CONFIDENTIAL_CLIENTS is *, and the upstream takes a made-up secret from the public client "spa"`},
		{"every client, wrong secrets refused", func(u *checkUpstream) {
			u.token = func(w http.ResponseWriter, r *http.Request) bool {
				_, _, basic := r.BasicAuth()
				if !basic && r.PostForm.Get("client_secret") == "" {
					return false
				}
				oauthError(w, 401, "invalid_client")
				return true
			}
		}, []string{"ORT_CONFIDENTIAL_CLIENTS=*"}, "ok   confidential clients: ORT_CONFIDENTIAL_CLIENTS is *, and wrong authentication of the public clients"},
		{"every client, none known", nil, []string{"ORT_CLIENTS=", "ORT_CONFIDENTIAL_CLIENTS=*"}, "skip confidential clients: ORT_CONFIDENTIAL_CLIENTS is *: "},
		{"DPoP demanded", answer("spa", 400, "invalid_dpop_proof"), nil, `fail DPoP: client "spa": the upstream asks it for a proof … or ORT_DPOP_AUTHORITY=upstream`},
		{"DPoP not there", nil, []string{"ORT_DPOP_AUTHORITY=upstream"}, "fail DPoP: ORT_DPOP_AUTHORITY=upstream, and the upstream does not advertise DPoP … change: ORT_DPOP_AUTHORITY=gateway"},
		{"DPoP of other algorithms", set("dpop_signing_alg_values_supported", []string{"ES256K"}), []string{"ORT_DPOP_AUTHORITY=upstream"}, "fail DPoP: no algorithm of ORT_DPOP_ALGS is among the upstream's: ES256K"},
		{"DPoP of another name", func(u *checkUpstream) {
			u.doc["dpop_signing_alg_values_supported"], u.doc["issuer"] = []string{"ES256"}, "https://inner"
		}, []string{"ORT_DPOP_AUTHORITY=upstream"}, "fail DPoP: proofs name the public address"},
		{"DPoP at both", set("dpop_signing_alg_values_supported", []string{"ES256"}), []string{"ORT_DPOP_AUTHORITY=upstream"}, "ok   DPoP: the upstream binds its tokens (ORT_DPOP_AUTHORITY=upstream), by ES256"},
		{"no sid", func(u *checkUpstream) {
			u.doc["claims_supported"], u.doc["backchannel_logout_session_supported"] = []string{"sub"}, false
		}, nil, "warn sid: not in the metadata"},
		{"pairwise", set("subject_types_supported", []string{"pairwise"}), nil, "ok   subject types: pairwise: sub may differ between clients, so they join a session by sid"},
		{"pairwise without sid", func(u *checkUpstream) {
			u.doc["claims_supported"], u.doc["backchannel_logout_session_supported"] = nil, false
			u.doc["subject_types_supported"] = []string{"public", "pairwise"}
		}, nil, "warn subject types: public pairwise: "},
		{"subject types not said", unset("subject_types_supported"), nil, "warn subject types: the metadata do not say"},
		{"no revocation", unset("revocation_endpoint"), nil, "warn revocation: no endpoint at the upstream: … confidential ones cannot revoke; upstream credentials are not given back"},
		{"revocation without authentication", func(u *checkUpstream) { u.revoke = 200 }, nil, `warn revocation: client "web": wrong authentication is not refused`},
		{"no introspection", unset("introspection_endpoint"), nil, "ok   introspection: no endpoint"},
		{"no end session", unset("end_session_endpoint"), nil, "warn end session: no end_session_endpoint"},
		{"no end session, but needed", unset("end_session_endpoint"), []string{"ORT_UPSTREAM_END=logout"}, "fail end session: … ORT_UPSTREAM_END=logout needs it"},
		{"no back-channel logout", unset("backchannel_logout_supported"), nil, "warn back-channel logout: … change: backchannel_logout_uri https://login.test/_ort/backchannel-logout for each client"},
		{"cookies without Secure", func(u *checkUpstream) { u.cookie = "auth=1" }, nil, "warn cookies: auth without Secure though the public origin is https"},
		{"cookies of another domain", func(u *checkUpstream) { u.cookie = "auth=1; Domain=inner.test" }, nil, "fail cookies: auth for another domain than login.test"},
		{"no cookies", func(u *checkUpstream) { u.cookie = "" }, nil, "skip cookies: none was set"},
		{"clock", func(u *checkUpstream) { u.date = 30 * time.Second }, nil, "warn clock: the upstream's is "},
		{"clock far off", func(u *checkUpstream) { u.date = -2 * time.Minute }, nil, "fail clock: the upstream's is … behind"},
		{"links follow the request", func(u *checkUpstream) { u.links = true }, nil, "ok   forwarded headers: links follow Host, X-Forwarded-Host"},
		{"public name elsewhere", func(u *checkUpstream) { u.public = true }, nil, "fail public name: leads past the gateway: … change: let https://login.test lead to the gateway's ORT_LISTEN_ADDR (:8080)"},
		{"preflights for anybody", func(u *checkUpstream) { u.cors, u.page = "ORIGIN", true }, nil, "skip CORS: … could not be found out: the upstream's preflight allows any origin"},
		{"preflights for some", func(u *checkUpstream) { u.page = true }, nil, "skip CORS: … could not be found out: the upstream's preflight refuses a strange origin"},
		{"origin not allowed", func(u *checkUpstream) { u.origin = "" }, nil, `warn CORS: client "spa": https://app.test, where its logins end, is not allowed`},
		{"origin refused", func(u *checkUpstream) { u.origin = "refused" }, nil, `fail CORS: client "spa": https://app.test is refused (403 invalid_request no`},
		{"origin allowed by the gateway", nil, []string{"ORT_CORS_ORIGINS=https://other.test"}, `ok   CORS: client "spa": https://other.test is allowed by the gateway alone`},
		{"origin not allowed at userinfo", nil, []string{"ORT_CORS_ORIGINS=https://app.test"}, "warn CORS: the userinfo endpoint, which the gateway only forwards, does not allow https://app.test"},
		{"no clients", nil, []string{"ORT_CLIENTS=", "ORT_CONFIDENTIAL_CLIENTS="}, "skip clients: none is named"},
		{"proxy not named", nil, []string{"ORT_TRUSTED_PROXIES="}, "warn trusted proxies: none, though something before the gateway ends TLS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := newCheckUpstream()
			if row.wrong != nil {
				row.wrong(u)
			}
			r, text := u.check(t, row.env...)
			if !hasLine(text, row.want) {
				t.Errorf("no line %q in\n%s", row.want, text)
			}
			if fails := strings.HasPrefix(row.want, "fail"); fails != (r.Result == levelFail) {
				t.Errorf("result %s in\n%s", r.Result, text)
			}
			if strings.ContainsRune(text, 0x1b) {
				t.Error("a control byte of the upstream's was printed")
			}
		})
	}
}

// byProof is an upstream that tells the time by its verdict on DPoP proofs alone.
func byProof(off time.Duration) func(*checkUpstream) {
	return func(u *checkUpstream) {
		u.noDate, u.doc["dpop_signing_alg_values_supported"] = true, []string{"ES256"}
		u.token = func(w http.ResponseWriter, r *http.Request) bool {
			proof := r.Header.Get("Dpop")
			if proof == "" {
				return false
			}
			v, err := dpop.New(dpop.Config{Replay: dpop.NewMemoryReplay(0, nil, false), ProofLifetime: 25 * time.Second, Future: 15 * time.Second,
				Now: func() time.Time { return time.Now().Add(off) }})
			if err != nil {
				panic(err)
			}
			if _, err := v.Verify(r.Context(), dpop.Request{Proofs: []string{proof}, Method: r.Method, URL: "https://login.test/oauth/token"}); err != nil {
				oauthError(w, 400, "invalid_dpop_proof")
				return true
			}
			return false
		}
	}
}

// hasLine finds a line that begins with want's first piece and has the others, in their order; "…" is between pieces.
func hasLine(text, want string) bool {
	pieces := strings.Split(want, "…")
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, strings.TrimRight(pieces[0], " ")) {
			continue
		}
		rest, all := line, true
		for _, p := range pieces {
			_, after, ok := strings.Cut(rest, strings.TrimSpace(p))
			rest, all = after, all && ok
		}
		if all {
			return true
		}
	}
	return false
}

// Nothing that was made up or configured as a secret is printed, and no request carries a cookie or a proof.
func TestCheckKeepsSecrets(t *testing.T) {
	u := newCheckUpstream()
	key := seal.NewKey()
	_, text := u.check(t, "ORT_SEALING_KEYS="+key, "ORT_ADMIN_TOKEN=geheim-4711-geheim-4711")
	_, secret, _ := strings.Cut(key, ":")
	for _, s := range []string{secret, "geheim-4711", "ort-gateway-check-"} {
		if strings.Contains(text, s) {
			t.Errorf("%q was printed:\n%s", s, text)
		}
	}
	if len(u.seen) < 10 {
		t.Fatalf("%d requests were seen", len(u.seen))
	}
	for _, r := range u.seen {
		if strings.Contains(r, "Cookie:") || strings.Contains(r, "Dpop:") {
			t.Errorf("sent %s", r)
		}
		if !strings.HasPrefix(r, "GET ") && !strings.HasPrefix(r, "OPTIONS ") && !strings.Contains(r, "ort-gateway-check-") && !strings.Contains(r, "Basic ") {
			t.Errorf("sent something that was not made up: %s", r)
		}
	}
}

// A second issuer at the same upstream is told apart, and its own faults are found.
func TestCheckSeveralIssuers(t *testing.T) {
	u := newCheckUpstream()
	s := httptest.NewServer(u)
	defer s.Close()
	settings, _, err := Load([]string{"ORT_ISSUER=" + checkIssuer + ",https://login.test/other", "ORT_UPSTREAM_URL=" + s.URL,
		"ORT_STORE_URL=bolt:" + filepath.Join(t.TempDir(), "store.db")}, checkSealingKeys)
	if err != nil {
		t.Fatal(err)
	}
	c := newChecker(settings)
	c.public = roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no way") })
	c.run(t.Context(), nil)
	var b bytes.Buffer
	if err := c.report.write(&b, false, 2); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ok   issuer: [" + checkIssuer + "] exactly", "fail discovery: [https://login.test/other] no discovery document"} {
		if !hasLine(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, &b)
		}
	}
}
