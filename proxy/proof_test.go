package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

// proven is an ORT exchange with that proof, or with those.
func (a *app) proven(proofs ...string) *http.Response {
	a.t.Helper()
	var header []string
	for _, p := range proofs {
		header = append(header, "DPoP", p)
	}
	return a.do(http.MethodPost, "/token", a.refreshForm().Encode(), header...)
}

func (r *rig) verifies(c dpop.Config) {
	v, err := dpop.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Verifier = v
}

// What can be read without a signature check is refused before a nonce is asked
// for; the signature, the key and the replay come after it.
func TestNoncesAreAskedForAfterTheFormAndBeforeTheSignature(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	stranger := dpoptest.NewKey("ES256")
	bare := func(options ...dpoptest.Option) string {
		return a.key.Proof(http.MethodPost, public+"/token", options...)
	}
	for _, row := range []struct {
		name   string
		proofs []string
		want   string // without a nonce
	}{
		{"none", nil, "invalid_dpop_proof"},
		{"two", []string{bare(), bare()}, "invalid_dpop_proof"},
		{"two in one field", []string{bare() + ", " + bare()}, "invalid_dpop_proof"},
		{"an empty one", []string{""}, "invalid_dpop_proof"},
		{"no JWS", []string{"x.y"}, "invalid_dpop_proof"},
		{"another typ", []string{bare(dpoptest.Header("typ", "JWT"))}, "invalid_dpop_proof"},
		{"alg none", []string{bare(dpoptest.Header("alg", "none"))}, "invalid_dpop_proof"},
		{"a symmetric algorithm", []string{bare(dpoptest.Header("alg", "HS256"))}, "invalid_dpop_proof"},
		{"no key", []string{bare(dpoptest.WithoutHeader("jwk"))}, "invalid_dpop_proof"},
		{"a private key", []string{bare(dpoptest.JWK("d", "AAAA"))}, "invalid_dpop_proof"},
		{"no jti", []string{bare(dpoptest.Without("jti"))}, "invalid_dpop_proof"},
		{"no iat", []string{bare(dpoptest.Without("iat"))}, "invalid_dpop_proof"},
		{"another method", []string{a.key.Proof(http.MethodGet, public+"/token")}, "invalid_dpop_proof"},
		{"another path", []string{a.key.Proof(http.MethodPost, public+"/par")}, "invalid_dpop_proof"},
		{"the upstream's address", []string{a.key.Proof(http.MethodPost, r.Upstream.String()+"/token")}, "invalid_dpop_proof"},
		{"no htu", []string{bare(dpoptest.Without("htu"))}, "invalid_dpop_proof"},
		{"another signature", []string{bare(dpoptest.SignedBy(stranger))}, "use_dpop_nonce"},
		{"another key", []string{stranger.Proof(http.MethodPost, public+"/token")}, "use_dpop_nonce"},
		{"all right but for the nonce", []string{bare()}, "use_dpop_nonce"},
		{"a nonce that is no text", []string{bare(dpoptest.Claim("nonce", 7))}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r.t = t
			before := r.count()
			resp := a.do(http.MethodPost, "/token", a.refreshForm().Encode(), fields("DPoP", row.proofs)...)
			body := text(resp)
			var e struct {
				Error, Description string
			}
			json.Unmarshal([]byte(strings.Replace(body, "error_description", "description", 1)), &e)
			if resp.StatusCode != 400 || row.want != "" && e.Error != row.want || r.count() != before || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("got %d %s, %d requests went up", resp.StatusCode, body, r.count()-before)
			}
			if n := len(resp.Header.Values("DPoP-Nonce")); (n == 1) != (e.Error == "use_dpop_nonce") {
				t.Errorf("%d nonces on %s", n, e.Error)
			}
			if strings.ContainsFunc(e.Description, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) || e.Description == "" {
				t.Errorf("described as %q", e.Description)
			}
		})
	}
	r.t = t
	r.is("nothing of it did harm", a.exchange(), 200)
}

// fields are header fields of one name; an empty value is one too.
func fields(name string, values []string) (header []string) {
	for _, v := range values {
		if v == "" {
			v = " "
		}
		header = append(header, name, v)
	}
	return header
}

// The nonce of a refusal is good, and a fresh one rides on every success.
func TestTheNonceOfARefusalIsGood(t *testing.T) {
	r := newRig(t)
	a := r.app()
	form := a.codeForm(a.code()).Encode()
	refused := r.do(http.MethodPost, "/token", form, "DPoP", a.key.Proof(http.MethodPost, public+"/token"))
	r.refused(refused, r.count(), 400, "use_dpop_nonce")
	nonce := refused.Header.Get("DPoP-Nonce")
	resp := r.do(http.MethodPost, "/token", form, "DPoP", a.key.Proof(http.MethodPost, public+"/token", dpoptest.Nonce(refused.Header.Get("DPoP-Nonce"))))
	body := r.is("code exchange", resp, 200, "ORT1.")
	_, rest, _ := strings.Cut(body, `"refresh_token":"`)
	a.ort, _, _ = strings.Cut(rest, `"`)
	for range 3 {
		nonces := resp.Header.Values("DPoP-Nonce")
		if len(nonces) != 1 || nonces[0] == "" {
			t.Fatalf("nonces %q", nonces)
		}
		resp = a.proven(a.key.Proof(http.MethodPost, public+"/token", dpoptest.Nonce(nonces[0])))
		r.is("with the nonce of the answer before", resp, 200)
	}
	r.is("a nonce is no ticket for one", a.proven(a.key.Proof(http.MethodPost, public+"/token", dpoptest.Nonce(nonce))), 200)
}

// A browser whose clock is wrong works: a nonce tells the time.
func TestWrongClocksWorkWithANonce(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	for _, wrong := range []time.Duration{-365 * 24 * time.Hour, -time.Hour, time.Hour, 20 * 365 * 24 * time.Hour} {
		r.is(wrong.String(), a.proven(a.proof("/token", dpoptest.IssuedAt(time.Now().Add(wrong)))), 200)
	}
}

// htu is held against the public URL, never against what the request says of
// itself; query and fragment are not looked at.
func TestProofsAreForThePublicURL(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	for _, row := range []struct {
		htu    string
		target string
		header []string
		good   bool
	}{
		{public + "/token", "/token", nil, true},
		{public + "/token?a=b#c", "/token", nil, true},
		{public + ":443/token", "/token", nil, true},
		{"HTTPS://ID.EXAMPLE/token", "/token", nil, true},
		{public + "/token", "/token?api-version=1", nil, true},
		{public + "/token", "/token", []string{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.example"}, true},
		{"https://evil.example/token", "/token", []string{"X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example"}, false},
		{"http://id.example/token", "/token", []string{"X-Forwarded-Proto", "http"}, false},
		{public + "/token/", "/token", nil, false},
		{public + "/Token", "/token", nil, false},
		{public, "/token", nil, false},
		{"/token", "/token", nil, false},
		{"https://user@id.example/token", "/token", nil, false},
	} {
		t.Run(row.htu+" at "+row.target, func(t *testing.T) {
			r.t = t
			proof := a.key.Proof(http.MethodPost, row.htu, dpoptest.Nonce(r.Verifier.Nonce()))
			resp := r.do(http.MethodPost, row.target, a.refreshForm().Encode(), append(row.header, "DPoP", proof)...)
			if (resp.StatusCode == 200) != row.good {
				t.Errorf("got %d %s", resp.StatusCode, text(resp))
			}
		})
	}
	evil := a.key.Proof(http.MethodPost, "https://evil.example/token", dpoptest.Nonce(r.Verifier.Nonce()))
	r.t = t
	if resp := r.hosted("evil.example", "/token", a.refreshForm().Encode(), "DPoP", evil); resp.StatusCode == 200 {
		t.Error("a proof for the Host that the sender chose was taken")
	}
	if resp := r.hosted("evil.example", "/token", a.refreshForm().Encode(), "DPoP", a.proof("/token")); resp.StatusCode != 200 {
		t.Errorf("another Host, and a proof for the public URL: %d", resp.StatusCode)
	}
}

// hosted is a POST with another Host.
func (r *rig) hosted(host, target, body string, header ...string) *http.Response {
	req := httptest.NewRequest(http.MethodPost, "https://"+host+target, strings.NewReader(body))
	req.RequestURI = target
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w.Result()
}

// The same jti is another proof by another key, or for another URL.
func TestReplaysAreOfKeyIDAndURL(t *testing.T) {
	r := newRig(t)
	a, b := r.app().login(), r.app().login()
	id := dpoptest.ID("the-same")
	r.is("first", a.proven(a.proof("/token", id)), 200)
	r.is("another key", b.proven(b.proof("/token", id)), 200)
	r.is("another URL", a.push([]string{"DPoP", a.proof("/par", id)}, "code_challenge", challengeOf("another-"+a.verifier)), 201)
	before := r.count()
	again := a.proven(a.proof("/token", id)) // made anew, with another nonce
	r.refused(again, before, 400, "use_dpop_nonce")
	r.is("and recovers with a proof of its own", a.exchange(), 200)
}

// What was refused was not taken: the same proof is good where it fits.
func TestRefusedProofsAreNotTaken(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	proof := a.proof("/token")
	wrong := a.refreshForm()
	wrong.Set("client_id", "other")
	r.refused(r.do(http.MethodPost, "/token", wrong.Encode(), "DPoP", proof), r.count(), 400, "invalid_grant")
	unknown := a.refreshForm()
	unknown.Set("refresh_token", "ORT1.x")
	r.refused(r.do(http.MethodPost, "/token", unknown.Encode(), "DPoP", proof), r.count(), 400, "invalid_grant")
	r.is("where it fits", a.proven(proof), 200)
}

// A full memory: a new generation of nonces, and honest clients go on.
func TestAFullReplayMemoryStartsANewGeneration(t *testing.T) {
	r := newRig(t)
	r.verifies(dpop.Config{Nonces: dpop.NewNonces(dpop.NoncesConfig{}), Replay: dpop.NewMemoryReplay(3, nil, true)})
	a := r.app().login()
	former := a.proof("/token")
	for range 10 {
		resp := a.exchange()
		if resp.StatusCode == 400 { // the one that found it full
			r.refused(resp, r.count(), 400, "use_dpop_nonce")
			resp = a.exchange()
		}
		r.is("exchange", resp, 200)
	}
	r.refused(a.proven(former), r.count(), 400, "use_dpop_nonce")
}

// Without nonces: iat counts, and a full memory is 503 until it has emptied itself.
func TestProofsWithoutNonces(t *testing.T) {
	r := newRig(t)
	r.verifies(dpop.Config{Replay: dpop.NewMemoryReplay(1, nil, false)})
	a := r.app().login()
	for offset, want := range map[time.Duration]string{-75 * time.Second: " s in the past", 20 * time.Second: " s in the future"} {
		resp := a.proven(a.key.Proof(http.MethodPost, public+"/token", dpoptest.IssuedAt(time.Now().Add(offset))))
		r.is(offset.String(), resp, 400, `"error":"invalid_dpop_proof"`, want)
		if resp.Header.Get("DPoP-Nonce") != "" {
			t.Error("a nonce, where none is issued")
		}
	}
	before := r.count()
	r.unavailable("a full memory", a.proven(a.key.Proof(http.MethodPost, public+"/token")))
	if resp := a.ask("/_ort/session"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("at the session endpoint: %d", resp.StatusCode)
	}
	if r.count() != before {
		t.Error("it reached the upstream")
	}
	r.verifies(dpop.Config{Replay: dpop.NewMemoryReplay(0, nil, false)})
	proof := a.key.Proof(http.MethodPost, public+"/token")
	resp := a.proven(proof)
	if r.is("an exchange", resp, 200); len(resp.Header.Values("DPoP-Nonce")) != 0 {
		t.Error("a nonce, where none is issued")
	}
	r.refused(a.proven(proof), r.count(), 400, "invalid_dpop_proof")
}

// ORT_DPOP_ALGS.
func TestAlgorithmsThatAreNotAllowed(t *testing.T) {
	r := newRig(t)
	r.verifies(dpop.Config{Algs: []string{"EdDSA"}, Nonces: dpop.NewNonces(dpop.NoncesConfig{}), Replay: dpop.NewMemoryReplay(0, nil, true)})
	a := r.app()
	code := a.code()
	r.refused(a.redeem(code), r.count(), 400, "invalid_dpop_proof")
	a.key = dpoptest.NewKey("EdDSA")
	r.is("one that is", a.redeem(code), 200)
}

// dpop_jkt binds the code to its key.
func TestDPoPJKTBindsTheCode(t *testing.T) {
	r := newRig(t)
	a := r.app()
	code := a.code("dpop_jkt", a.key.Thumbprint())
	thief := *a
	thief.key = dpoptest.NewKey("ES256")
	r.refused(thief.redeem(code), r.count(), 400, "invalid_dpop_proof")
	r.is("by the right key", a.redeem(code), 200)
}

// DPoP in requests that concern no ORT is not the gateway's, whoever is the
// authority: even what it would refuse passes.
func TestDPoPOfOthersPasses(t *testing.T) {
	for name, options := range map[string][]rigOption{"gateway": nil, "upstream": {dpopUpstream}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options...)
			for _, q := range []struct{ method, path, body string }{
				{"POST", "/token", "grant_type=client_credentials"},
				{"POST", "/token", "grant_type=refresh_token&refresh_token=R"},
				{"POST", "/token", "grant_type=authorization_code&code=c&code_verifier=v"},
				{"POST", "/revoke", "token=x"},
				{"POST", "/par", "client_id=spa&scope=openid"},
				{"GET", "/userinfo", ""},
				{"GET", "/api", ""},
			} {
				r.says(401, `{"error":"use_dpop_nonce"}`, "DPoP-Nonce", "of-the-upstream", "WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
				resp := r.do(q.method, q.path, q.body, "DPoP", "a", "DPoP", "b")
				if up := r.last().header.Values("DPoP"); strings.Join(up, " ") != "a b" {
					t.Errorf("%s %s: up went %q", q.path, q.body, up)
				}
				if resp.StatusCode != 401 || strings.Join(resp.Header.Values("DPoP-Nonce"), " ") != "of-the-upstream" || resp.Header.Get("WWW-Authenticate") != `DPoP error="use_dpop_nonce"` {
					t.Errorf("%s %s: %d %v", q.path, q.body, resp.StatusCode, resp.Header)
				}
			}
		})
	}
}
