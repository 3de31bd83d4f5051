package proxy

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// Any number of tabs use one ORT at once before an upstream that rotates, and ends
// everything when a refresh token comes twice.
func TestManyExchangesAtOnce(t *testing.T) {
	r, idp := idpRig(t, nil)
	a := r.app().login()
	var tabs sync.WaitGroup
	status := make([]int, 20)
	for i := range status {
		proof := a.proof("/token")
		tabs.Go(func() {
			status[i] = r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", proof).StatusCode
		})
	}
	tabs.Wait()
	for i, s := range status {
		if s != 200 {
			t.Errorf("tab %d: %d", i, s)
		}
	}
	sent := map[string]bool{}
	for _, q := range idp.At("/token") {
		if token := q.Form().Get("refresh_token"); token != "" && sent[token] {
			t.Error("a refresh token was sent twice")
		} else {
			sent[token] = true
		}
	}
	if !strings.HasPrefix(a.ort, "ORT1.") || a.exchange().StatusCode != 200 {
		t.Error("the ORT is dead")
	}
}

// What refresh_expires_in and the deadlines become.
func TestRefreshExpiresIn(t *testing.T) {
	for name, row := range map[string]struct{ upstream, want string }{
		"none: none is added": {``, `"session_idle_expires_in":36`},
		"smaller":             {`,"refresh_expires_in":60`, `,"refresh_expires_in":60,"session_idle_expires_in":60,"session_expires_in":28`},
		"larger":              {`,"refresh_expires_in":99999`, `,"refresh_expires_in":3600,"session_idle_expires_in":3600,"session_expires_in":28`},
		"0 is no limit":       {`,"refresh_expires_in":0`, `,"refresh_expires_in":3600,"session_idle_expires_in":3600,`},
		"a text stays":        {`,"refresh_expires_in":"60"`, `,"refresh_expires_in":"60","session_idle_expires_in":3600,`},
		"more than a number":  {`,"refresh_expires_in":1e300`, `,"refresh_expires_in":3600,"session_idle_expires_in":3600,`},
	} {
		t.Run(name, func(t *testing.T) {
			var c clock
			r := newRig(t, by(&c))
			a := r.app().login()
			r.says(200, `{"access_token":"x"`+row.upstream+`}`)
			body := r.is("exchange", a.exchange(), 200, row.want)
			if row.upstream == "" && strings.Contains(body, "refresh_expires_in") {
				t.Error(body)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	var c clock
	r, _ := idpRig(t, func(conf *proxytest.Config) { conf.Now = c.now }, by(&c)) // idle 1 h, absolute 8 h
	a, b := r.app().login(), r.app().login()
	for range 8 {
		c.pass(59 * time.Minute)
		if resp := a.exchange(); resp.StatusCode != 200 {
			t.Fatalf("used within the idle timeout: %s", text(resp))
		}
	}
	before := r.count()
	r.is("idle", b.exchange(), 400, `"error":"invalid_grant"`, "Unknown or invalid refresh token", "idle")
	c.pass(9 * time.Minute)
	r.is("absolute", a.exchange(), 400, `"error":"invalid_grant"`, "Unknown or invalid refresh token", "maximum age")
	if r.count() != before {
		t.Error("it reached the upstream")
	}
}

// The idle deadline moves only after the upstream's success.
func TestARefusedExchangeExtendsNothing(t *testing.T) {
	var c clock
	r := newRig(t, by(&c))
	a := r.app().login()
	c.pass(50 * time.Minute)
	r.says(503, `busy`)
	r.unavailable("a fault", a.exchange())
	r.says(400, `{"error":"invalid_scope"}`)
	r.is("a refusal", a.exchange(), 400)
	r.does(nil)
	c.pass(11 * time.Minute)
	r.is("afterwards", a.exchange(), 400, "idle")
}

func TestConfidentialClientsInEachForm(t *testing.T) {
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
	}
	assertion := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"a b:c","sub":"a b:c"}`)) + ".c2ln"
	for _, row := range []struct {
		name   string
		form   url.Values // beside the usual ones
		header []string
		status int
		code   string
	}{
		{"a secret in the form", url.Values{"client_id": {"a b:c"}, "client_secret": {"s"}}, nil, 200, ""},
		{"Basic, form-decoded", nil, []string{"Authorization", basic("a b:c", "s&%")}, 200, ""},
		{"an assertion's subject", url.Values{"client_assertion": {assertion}}, nil, 200, ""},
		{"named twice, the same", url.Values{"client_id": {"a b:c"}}, []string{"Authorization", basic("a b:c", "s")}, 200, ""},
		{"a certificate from a trusted proxy", url.Values{"client_id": {"a b:c"}}, []string{"Client-Cert", ":MIIB:"}, 200, ""},
		{"named twice, not the same", url.Values{"client_id": {"other"}}, []string{"Authorization", basic("a b:c", "s")}, 400, "invalid_request"},
		{"an assertion of another", url.Values{"client_id": {"a b:c"}, "client_assertion": {strings.Replace(assertion, ".", ".", 1)}}, []string{"Authorization", basic("other", "s")}, 400, "invalid_request"},
		{"authenticated twice", nil, []string{"Authorization", basic("a b:c", "s"), "Authorization", basic("other", "s")}, 400, "invalid_request"},
		{"no authentication", url.Values{"client_id": {"a b:c"}}, nil, 401, "invalid_client"},
		{"an empty secret", url.Values{"client_id": {"a b:c"}, "client_secret": {""}}, nil, 401, "invalid_client"},
		{"Basic without a secret", nil, []string{"Authorization", basic("a b:c", "")}, 401, "invalid_client"},
		{"another client", url.Values{"client_id": {"other"}, "client_secret": {"s"}}, nil, 400, "invalid_grant"},
		{"no client", nil, nil, 400, "invalid_grant"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, confidential("a b:c"), func(_ *rig, c *Config, _ *ortengine.Config) {
				c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
			})
			a := r.app()
			a.client = "a b:c"
			form := a.codeForm(a.code())
			form.Set("client_secret", "s")
			body := r.is("code exchange", r.do(http.MethodPost, "/token", form.Encode()), 200, "ORT1.")
			_, rest, _ := strings.Cut(body, `"refresh_token":"`)
			a.ort, _, _ = strings.Cut(rest, `"`)
			ask := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.ort}}
			for name, values := range row.form {
				ask[name] = values
			}
			resp := r.do(http.MethodPost, "/token", ask.Encode(), row.header...)
			if row.status != 200 {
				r.refused(resp, r.count(), row.status, row.code)
				return
			}
			r.is("exchange", resp, 200)
			if got := r.last(); strings.Contains(got.body, "ORT1.") || len(row.header) > 0 && got.header.Get(row.header[0]) != row.header[1] {
				t.Errorf("the upstream got %+v", got)
			}
		})
	}
}

// With "*" whoever sends authentication is confidential, and whoever sends none is not.
func TestConfidentialStar(t *testing.T) {
	r := newRig(t, confidential("*"))
	a := r.app()
	code := a.code()
	form := a.codeForm(code)
	r.refused(r.do(http.MethodPost, "/token", form.Encode()), r.count(), 400, "invalid_dpop_proof")
	form.Set("client_secret", "s")
	body := r.is("with a secret", r.do(http.MethodPost, "/token", form.Encode()), 200, "ORT1.")
	_, rest, _ := strings.Cut(body, `"refresh_token":"`)
	a.ort, _, _ = strings.Cut(rest, `"`)
	r.refused(r.do(http.MethodPost, "/token", a.refreshForm().Encode()), r.count(), 401, "invalid_client")
	bound := r.app().login()
	form = bound.refreshForm()
	form.Set("client_secret", "s")
	r.refused(r.do(http.MethodPost, "/token", form.Encode()), r.count(), 400, "invalid_dpop_proof")
}

// A transaction that is bound to a key asks a confidential client for it too.
func TestDPoPJKTBindsConfidentialClientsToo(t *testing.T) {
	r := newRig(t, confidential("web"))
	a := r.app()
	a.client = "web"
	form := a.codeForm(a.code("dpop_jkt", a.key.Thumbprint()))
	form.Set("client_secret", "s")
	r.refused(r.do(http.MethodPost, "/token", form.Encode()), r.count(), 400, "invalid_dpop_proof")
	other := dpoptest.NewKey("ES256").Proof(http.MethodPost, public+"/token", dpoptest.Nonce(r.Verifier.Nonce()))
	r.refused(r.do(http.MethodPost, "/token", form.Encode(), "DPoP", other), r.count(), 400, "invalid_dpop_proof")
	r.is("by the key", r.do(http.MethodPost, "/token", form.Encode(), "DPoP", a.proof("/token")), 200, "ORT1.")
}

func TestScopesAndAudiencesOfAnExchange(t *testing.T) {
	for _, row := range []struct {
		name     string
		asked    []string // in the authorization request
		form     []string
		policy   []string // ORT_AUDIENCES
		want     string   // in the body that goes up; "": refused
		up, code string
	}{
		{"online_access is taken out", nil, []string{"scope", "openid online_access"}, nil, "scope=openid", "", ""},
		{"nothing but online_access", nil, []string{"scope", "online_access"}, nil, "client_id=spa&grant_type=refresh_token&refresh_token=R-of-the-upstream", "", ""},
		{"a scope beyond the grant: the upstream decides", nil, []string{"scope", "admin"}, nil, "scope=admin", `{"error":"invalid_scope"}`, "invalid_scope"},
		{"the resource that was asked for", []string{"resource", "urn:a"}, []string{"resource", "urn:a"}, nil, "resource=urn%3Aa", "", ""},
		{"that resource as audience", []string{"resource", "urn:a"}, []string{"audience", "urn:a"}, nil, "audience=urn%3Aa", "", ""},
		{"one that is listed", []string{"resource", "urn:a"}, []string{"audience", "urn:b"}, []string{"urn:a", "urn:b"}, "audience=urn%3Ab", "", ""},
		{"any other", []string{"resource", "urn:a"}, []string{"audience", "urn:b"}, nil, "", "", "invalid_target"},
		{"any other beside the right one", []string{"resource", "urn:a"}, []string{"audience", "urn:b", "resource", "urn:a"}, []string{"urn:a"}, "", "", "invalid_target"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, policy(ortengine.Policy{Audiences: row.policy}))
			a := r.app()
			a.with(a.code(row.asked...))
			before := r.count()
			if row.up != "" {
				r.says(400, row.up)
			}
			resp := a.exchange(row.form...)
			switch {
			case row.want == "":
				r.refused(resp, before, 400, row.code)
				r.is("it lives", a.exchange(), 200)
			case row.code != "":
				r.is("the upstream's refusal", resp, 400, row.code)
				r.does(nil)
				r.is("it lives", a.exchange(), 200)
			default:
				r.is("exchange", resp, 200)
			}
			if row.code == "" && (!strings.Contains(r.last().body, row.want) || strings.Contains(r.last().body, "online_access")) {
				t.Errorf("the upstream got %s", r.last().body)
			}
		})
	}
}

// An answer that comes after the time-out is kept, and what comes meanwhile waits
// for it.
func TestLateAnswerIsKept(t *testing.T) {
	inBubble(t, func(r *rig) {
		a := r.app().login()
		release := make(chan struct{})
		r.does(func(w http.ResponseWriter, _ *http.Request, _ string) {
			<-release
			io.WriteString(w, `{"access_token":"AT","refresh_token":"R-late"}`)
		})
		r.unavailable("slow", a.exchange())
		before := r.count()
		meanwhile := make(chan *http.Response, 1)
		go func() { meanwhile <- a.exchange() }()
		synctest.Wait()
		if r.count() != before {
			t.Error("another refresh went up before the first was answered")
		}
		close(release)
		r.is("meanwhile", <-meanwhile, 200)
		if got := r.last().body; !strings.Contains(got, "refresh_token=R-late") {
			t.Errorf("the next refresh was %s", got)
		}
	})
}

// Faults that lose a credential for good end the grant with words that clients know.
func TestCredentialThatSomebodyElseUsed(t *testing.T) {
	r, idp := idpRig(t, nil)
	a := r.app().login()
	idp.Next("/token", idp.RotatedTwice)
	r.is("rotated twice", a.exchange(), 200)
	r.is("afterwards", a.exchange(), 400, `"error":"invalid_grant"`, "Unknown or invalid refresh token: ")
	before := r.count()
	r.is("and again", a.exchange(), 400, "invalid_grant")
	if r.count() != before {
		t.Error("a dead grant reached the upstream")
	}
	b := r.app().login()
	idp.Next("/token", proxytest.Lost)
	r.unavailable("a lost answer ends nothing here", b.exchange())
}

func TestTwoObjectsInOneAnswer(t *testing.T) {
	r, idp := idpRig(t, nil)
	a := r.app().login()
	idp.Next("/token", proxytest.Twice, proxytest.With("access_token", nil))
	body := r.is("two objects", a.exchange(), 502, "server_error")
	if strings.Contains(body, "refresh_token") {
		t.Error(body)
	}
	r.is("the credential is kept", a.exchange(), 200)
	r.is("and good", a.exchange(), 200, "access_token")
}

// Where the upstream is the authority its word and its nonces pass.
func TestExchangesWithDPoPAtTheUpstream(t *testing.T) {
	r := newRig(t, dpopUpstream)
	a := r.app()
	proof := func() string { return a.key.Proof(http.MethodPost, public+"/token", dpoptest.Nonce("of-the-upstream")) }
	code := a.code("dpop_jkt", a.key.Thumbprint())
	r.says(400, `{"error":"use_dpop_nonce"}`, "DPoP-Nonce", "of-the-upstream")
	resp := r.do(http.MethodPost, "/token", a.codeForm(code).Encode(), "DPoP", a.key.Proof(http.MethodPost, public+"/token"))
	r.is("its nonce is asked for", resp, 400, "use_dpop_nonce")
	if n := resp.Header.Values("DPoP-Nonce"); len(n) != 1 || n[0] != "of-the-upstream" {
		t.Errorf("nonces %q", n)
	}
	r.does(nil)
	body := r.is("with it", r.do(http.MethodPost, "/token", a.codeForm(code).Encode(), "DPoP", proof()), 200, "ORT1.")
	_, rest, _ := strings.Cut(body, `"refresh_token":"`)
	a.ort, _, _ = strings.Cut(rest, `"`)
	same := proof()
	resp = r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", same)
	if r.is("exchange", resp, 200); resp.Header.Get("DPoP-Nonce") != "" || r.last().header.Get("DPoP") != same {
		t.Errorf("nonce %q, up went %q", resp.Header.Get("DPoP-Nonce"), r.last().header.Get("DPoP"))
	}
	r.refused(r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", same), r.count(), 400, "invalid_dpop_proof")
	r.refused(r.do(http.MethodPost, "/token", a.refreshForm().Encode()), r.count(), 400, "invalid_dpop_proof")
	old := a.key.Proof(http.MethodPost, public+"/token", dpoptest.IssuedAt(time.Now().Add(-time.Hour)))
	r.refused(r.do(http.MethodPost, "/token", a.refreshForm().Encode(), "DPoP", old), r.count(), 400, "invalid_dpop_proof")
}

// A refusal of the upstream's passes with its header, and no nonce of another.
func TestUpstreamRefusalPasses(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	r.does(func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("WWW-Authenticate", `Basic realm="idp"`)
		w.Header().Set("DPoP-Nonce", "of-the-upstream")
		w.WriteHeader(401)
		io.WriteString(w, `{"error":"invalid_client"}`)
	})
	resp := a.exchange()
	r.is("401", resp, 401, "invalid_client")
	if resp.Header.Get("WWW-Authenticate") != `Basic realm="idp"` || resp.Header.Get("DPoP-Nonce") != "" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", resp.Header)
	}
}
