package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// deadPrefix begins the description of every refusal after a session has
// ended; client libraries look for it.
const deadPrefix = "Unknown or invalid refresh token"

// steps are the walkthrough, in order; each builds on those before it.
var steps = []struct {
	title string
	run   func(*walker)
}{
	{"Discovery says what the gateway adds", discovery},
	{"online_access and offline_access do not go together", bothScopes},
	{"Alice logs in; the login page is the identity provider's own", firstLogin},
	{"The code becomes an ORT, for the holder of a key only", codeExchange},
	{"The ORT becomes access tokens, and stays the same", threeExchanges},
	{"Eight tabs use one ORT at once", tabs},
	{"What a thief of the ORT can try", thief},
	{"The session endpoint tells the deadlines", sessionEndpoint},
	{"The second app: no password", secondApp},
	{"The code is bound as well", boundCode},
	{"More than was granted is refused, and harms nothing", beyondGrant},
	{"A confidential client needs its secret instead of a key", confidential},
	{"Clients that do not ask for online_access notice nothing", plainClient},
	{"Revocation by one app ends both, at once", revocation},
	{"A new login, and then another user in the same browser", userSwitch},
	{"The identity provider takes a credential back", upstreamRevokes},
}

func discovery(w *walker) {
	a := w.do(request{method: http.MethodGet, url: w.origin + "/.well-known/openid-configuration"})
	w.checkEqual("status", a.status, 200)
	w.metadata = a.json
	w.checkEqual("issuer", a.text("issuer"), w.origin)
	w.checkEqual("ort_session_endpoint", a.text("ort_session_endpoint"), w.origin+"/_ort/session")
	w.check("scopes_supported has online_access", listed(a.json["scopes_supported"], "online_access"))
	w.check("grant_types_supported has refresh_token", listed(a.json["grant_types_supported"], "refresh_token"))
	w.check("dpop_signing_alg_values_supported has ES256", listed(a.json["dpop_signing_alg_values_supported"], "ES256"))
}

func bothScopes(w *walker) {
	to, a := w.authorize(w.one, "scope", "openid online_access offline_access")
	if to == nil {
		w.stop("the error was not delivered to the app (status %d)", a.status)
	}
	w.checkEqual("error", to.Query().Get("error"), "invalid_request")
	w.checkEqual("description", to.Query().Get("error_description"), "Cannot request both online_access and offline_access scopes")
	w.checkEqual("state", to.Query().Get("state"), "state-"+w.one.id)
	to, _ = w.authorize(w.one, "code_challenge", "", "code_challenge_method", "")
	w.check("without PKCE: invalid_request", to != nil && to.Query().Get("error") == "invalid_request")
	_, a = w.authorize(w.one, "scope", "openid online_access offline_access", "redirect_uri", "http://127.0.0.1:1/elsewhere")
	w.checkEqual("to an address that is not the client's, nothing is delivered: status", a.status, 400)
}

func firstLogin(w *walker) {
	to, page := w.authorize(w.one)
	if to != nil {
		w.stop("no login page: %s", to)
	}
	origin, _ := url.Parse(w.origin)
	named := func(c *http.Cookie) bool { return c.Name == "ort" }
	w.check("the gateway has set its browser cookie", slices.ContainsFunc(w.browser.Jar.Cookies(origin), named))
	to = w.login(page, "alice", "alice-pass")
	w.checkEqual("state", to.Query().Get("state"), "state-"+w.one.id)
	w.check("a code", to.Query().Get("code") != "")
	w.one.ort = to.Query().Get("code") // until it is exchanged, in the next step
}

func codeExchange(w *walker) {
	code, before := w.one.ort, w.idp.Stats()
	a := w.token(w.one.codeForm(code))
	w.checkEqual("without a proof", errorOf(a), "400 invalid_dpop_proof")
	a = w.token(w.one.codeForm(code), w.prove(w.one))
	w.checkEqual("without the gateway's nonce", errorOf(a), "400 use_dpop_nonce")
	w.check("one DPoP-Nonce", len(a.header.Values("DPoP-Nonce")) == 1)
	w.checkEqual("codes that the identity provider has seen by now", w.idp.Stats().CodeExchanges, before.CodeExchanges)
	w.keepNonce(w.one, a)
	a = w.session(w.one, code)
	w.check("refresh_token begins with ORT1.", strings.HasPrefix(w.one.ort, "ORT1."))
	w.checkEqual("scope", a.text("scope"), "openid profile")
	w.checkEqual("sub in the ID token", claim(a.text("id_token"), "sub"), "alice")
	w.checkDeadlines(a)
	w.checkEqual("Cache-Control", a.header.Get("Cache-Control"), "no-store")
	w.check("a fresh DPoP-Nonce", a.header.Get("DPoP-Nonce") != "")
	a = w.provenToken(w.one, w.one.codeForm(code))
	w.checkEqual("the same code again", errorOf(a), "400 invalid_grant")
	w.checkEqual("codes sent twice to the identity provider", w.idp.Stats().CodeReplays, 0)
}

func threeExchanges(w *walker) {
	before := w.idp.Stats().Refreshes
	seen := map[string]bool{}
	for range 3 {
		a := w.provenToken(w.one, w.one.ortForm())
		w.checkEqual("status", a.status, 200)
		_, rotated := a.json["refresh_token"]
		w.check("an access token, and no refresh token", a.text("access_token") != "" && !rotated)
		w.checkDeadlines(a)
		seen[a.text("access_token")] = true
	}
	w.checkEqual("different access tokens", len(seen), 3)
	w.checkEqual("refreshes at the identity provider", w.idp.Stats().Refreshes-before, 3)
}

func tabs(w *walker) {
	const n = 8
	var wg sync.WaitGroup
	answers := make([]string, n)
	for i := range n {
		r := request{method: http.MethodPost, url: w.endpoint("token_endpoint"), form: w.one.ortForm(), header: http.Header{"Dpop": {w.prove(w.one)}}}
		wg.Go(func() {
			a, err := w.send(r)
			if err != nil {
				answers[i] = err.Error()
				return
			}
			answers[i] = errorOf(a)
		})
	}
	wg.Wait()
	fmt.Fprintf(w.out, "   → %d × POST %s\n   ← %s\n", n, w.endpoint("token_endpoint"), strings.Join(answers, ", "))
	good := 0
	for _, a := range answers {
		if a == "200" {
			good++
		}
	}
	w.checkEqual("good answers", good, n)
	w.checkEqual("rotated refresh tokens that the identity provider saw twice", w.idp.Stats().TokenReuses, 0)
}

func thief(w *walker) {
	used := w.prove(w.one)
	a := w.token(w.one.ortForm(), used)
	w.keepNonce(w.one, a)
	before := w.idp.Stats().Refreshes
	token := w.endpoint("token_endpoint")
	stranger, err := newAppClient(w.one.id, w.one.redirect)
	if err != nil {
		w.stop("%v", err)
	}
	form := w.one.ortForm()
	w.checkEqual("the ORT alone", errorOf(w.token(form)), "400 invalid_dpop_proof")
	w.checkEqual("another key", errorOf(w.token(form, stranger.proof("POST", token, w.one.nonce, ""))), "400 invalid_dpop_proof")
	w.checkEqual("a proof sent again", errorOf(w.token(form, used)), "400 use_dpop_nonce")
	w.checkEqual("two proofs", errorOf(w.token(form, w.prove(w.one), w.prove(w.one))), "400 invalid_dpop_proof")
	w.checkEqual("a proof for another address", errorOf(w.token(form, w.one.proof("POST", w.origin+"/elsewhere", w.one.nonce, ""))), "400 invalid_dpop_proof")
	w.checkEqual("a proof for another method", errorOf(w.token(form, w.one.proof("GET", token, w.one.nonce, ""))), "400 invalid_dpop_proof")
	w.checkEqual("a made-up nonce", errorOf(w.token(form, w.one.proof("POST", token, "made-up", ""))), "400 use_dpop_nonce")
	form.Set("client_id", w.two.id)
	w.checkEqual("another client", errorOf(w.token(form, w.prove(w.one))), "400 invalid_grant")
	form.Set("refresh_token", w.one.ort[:len(w.one.ort)-4]+"AAAA")
	form.Set("client_id", w.one.id)
	w.checkEqual("an ORT that was changed", errorOf(w.token(form, w.prove(w.one))), "400 invalid_grant")
	w.checkEqual("refreshes at the identity provider for all of this", w.idp.Stats().Refreshes-before, 0)
	w.checkEqual("the rightful holder afterwards", errorOf(w.provenToken(w.one, w.one.ortForm())), "200")
}

func sessionEndpoint(w *walker) {
	a := w.sessionStatus(w.one)
	w.checkEqual("status", a.status, 200)
	w.checkDeadlines(a)
	r := w.statusRequest(w.one, "")
	r.header.Del("Dpop")
	a = w.do(r)
	w.checkEqual("without a proof", fmt.Sprint(a.status, " ", challengeError(a)), "401 invalid_dpop_proof")
	r = w.statusRequest(w.one, "")
	r.header.Set("Authorization", "DPoP ORT1.AAAA")
	a = w.do(r)
	w.checkEqual("without a token that opens: status", a.status, 401)
}

func secondApp(w *walker) {
	before := w.idp.Stats().Logins
	to, _ := w.authorize(w.two)
	if to == nil {
		w.stop("a password was asked")
	}
	w.checkEqual("passwords asked", w.idp.Stats().Logins-before, 0)
	a := w.session(w.two, to.Query().Get("code"))
	w.checkDeadlines(a)
	w.check("an ORT of its own", w.two.ort != w.one.ort)
	w.checkEqual("exchange", errorOf(w.provenToken(w.two, w.two.ortForm())), "200")
	w.checkEqual("sessions that the gateway counts", w.metric("ort_gateway_sessions_active"), 1)
}

func boundCode(w *walker) {
	login := func() (*appClient, string) {
		c, err := newAppClient(w.two.id, w.two.redirect)
		if err != nil {
			w.stop("%v", err)
		}
		to, _ := w.authorize(c, "dpop_jkt", c.thumbprint())
		if to == nil {
			w.stop("no single sign-on")
		}
		return c, to.Query().Get("code")
	}
	c, code := login()
	stranger := *w.one
	stranger.id, stranger.redirect, stranger.verifier = c.id, c.redirect, c.verifier
	w.checkEqual("by another key than dpop_jkt named", errorOf(w.provenToken(&stranger, stranger.codeForm(code))), "400 invalid_dpop_proof")
	w.checkEqual("by that key", errorOf(w.provenToken(c, c.codeForm(code))), "200")
	c, code = login()
	c.newChallenge()
	w.checkEqual("with a verifier that belongs to no login", errorOf(w.provenToken(c, c.codeForm(code))), "400 invalid_grant")
}

func beyondGrant(w *walker) {
	form := w.one.ortForm()
	form.Set("scope", "openid email")
	w.checkEqual("a scope that was not granted", errorOf(w.provenToken(w.one, form)), "400 invalid_scope")
	form.Set("scope", "openid")
	a := w.provenToken(w.one, form)
	w.checkEqual("less than was granted", errorOf(a), "200")
	w.checkEqual("afterwards", errorOf(w.provenToken(w.one, w.one.ortForm())), "200")
}

func confidential(w *walker) {
	c, err := newAppClient(confidentialClient, confidentialTarget)
	if err != nil {
		w.stop("%v", err)
	}
	to, _ := w.authorize(c)
	if to == nil {
		w.stop("no single sign-on for the confidential client")
	}
	form := c.codeForm(to.Query().Get("code"))
	form.Set("client_secret", confidentialSecret)
	a := w.token(form)
	c.ort = a.text("refresh_token")
	w.check("an ORT without a proof", a.status == 200 && strings.HasPrefix(c.ort, "ORT1."))
	w.checkEqual("exchange without the secret", errorOf(w.token(c.ortForm())), "401 invalid_client")
	form = c.ortForm()
	form.Set("client_secret", confidentialSecret)
	w.checkEqual("exchange with it", errorOf(w.token(form)), "200")
}

func plainClient(w *walker) {
	c, err := newAppClient(w.one.id, w.one.redirect)
	if err != nil {
		w.stop("%v", err)
	}
	to, _ := w.authorize(c, "scope", "openid offline_access")
	if to == nil {
		w.stop("no single sign-on")
	}
	a := w.token(c.codeForm(to.Query().Get("code")))
	token := a.text("refresh_token")
	w.check("the identity provider's own refresh token", a.status == 200 && token != "" && !strings.HasPrefix(token, "ORT1."))
	w.checkEqual("scope", a.text("scope"), "openid offline_access")
	c.ort = token
	w.checkEqual("its refresh, without a proof", errorOf(w.token(c.ortForm())), "200")
}

func revocation(w *walker) {
	events, end := w.watch(w.two)
	defer end()
	w.checkEqual("first event of the second app's stream", w.next(events), "session")
	w.revoke(w.two.id, w.one.ort)
	w.checkEqual("after a try by another client, exchange", errorOf(w.provenToken(w.one, w.one.ortForm())), "200")
	w.checkEqual("revocation", w.revoke(w.one.id, w.one.ort).status, 200)
	for {
		name := w.next(events)
		if name == "session" {
			continue // its deadlines, told before the end
		}
		w.checkEqual("what the second app's stream tells then", name, "ended")
		break
	}
	for _, c := range []*appClient{w.one, w.two} {
		w.checkDead(c, w.provenToken(c, c.ortForm()))
	}
	a := w.sessionStatus(w.two)
	w.checkEqual("session endpoint", fmt.Sprint(a.status, " ", challengeError(a)), "401 invalid_token")
	w.checkEqual("revoking it once more", w.revoke(w.one.id, w.one.ort).status, 200)
	w.checkEqual("revoking what never was one", w.revoke(w.one.id, "ORT1.AAAA").status, 200)
	w.checkEqual("sessions that the gateway counts", w.metric("ort_gateway_sessions_active"), 0)
}

func userSwitch(w *walker) {
	to, page := w.authorize(w.one, "prompt", "login")
	if to != nil {
		w.stop("prompt=login asked for no password")
	}
	w.session(w.one, w.login(page, "alice", "alice-pass").Query().Get("code"))
	w.checkEqual("alice's exchange", errorOf(w.provenToken(w.one, w.one.ortForm())), "200")
	former := *w.one
	to, page = w.authorize(w.one, "prompt", "login")
	if to != nil {
		w.stop("prompt=login asked for no password")
	}
	w.session(w.one, w.login(page, "bob", "bob-pass").Query().Get("code"))
	w.checkEqual("bob's exchange", errorOf(w.provenToken(w.one, w.one.ortForm())), "200")
	w.checkDead(&former, w.provenToken(&former, former.ortForm()))
}

func upstreamRevokes(w *walker) {
	w.check("there was something to take back", w.idp.RevokeRefreshTokens("bob") > 0)
	w.checkDead(w.one, w.provenToken(w.one, w.one.ortForm()))
}
