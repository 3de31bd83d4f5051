package app

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// knownClients are the clients that the settings name.
func (c *checker) knownClients() []string {
	var all []string
	for _, list := range [][]string{c.settings.Clients, c.settings.ConfidentialClients, c.settings.OnlineOnlyClients} {
		for _, id := range list {
			if id != "*" && !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	return all[:min(len(all), checkMaxClients)]
}

func (c *checker) confidential(client string) bool {
	return slices.Contains(c.settings.ConfidentialClients, client)
}

// pathOf is the path and query of an endpoint: that is asked at ORT_UPSTREAM_URL whatever origin is published.
func pathOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || endpoint == "" {
		return ""
	}
	return u.RequestURI()
}

// checkPKCE reads the metadata, and tries with each client that is known (RFC 7636).
func (c *checker) checkPKCE(ctx context.Context, t *target) {
	methods := t.doc.ChallengeMethods
	switch {
	case len(methods) == 0:
		t.skip("PKCE", "the metadata do not say; the gateway takes S256 for granted")
	case slices.Contains(methods, "S256"):
		t.ok("PKCE", "S256 in the metadata")
	default:
		t.note(levelFail, "PKCE", fmt.Sprintf("code_challenge_methods_supported is %s, without S256: online_access is dropped", plainText(strings.Join(methods, " "))),
			t.idp.say(wordPKCE, t, ""))
	}
	clients := c.knownClients()
	if len(clients) == 0 {
		t.skip("PKCE", "not tried: ORT_CLIENTS names no client to try it with")
		return
	}
	for _, client := range clients {
		c.tryPKCE(ctx, t, client)
	}
}

// tryPKCE makes authorization requests that end at once: prompt=none, no cookie, and no redirect_uri, since none is known
// here. A client with a single one may leave it out (RFC 6749 section 3.1.2.3); at most upstreams, not with scope openid.
func (c *checker) tryPKCE(ctx context.Context, t *target, client string) {
	sum := sha256.Sum256([]byte(madeUp()))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	name := "client " + quoted(client) + ": "
	code, description, why := c.tryAuthorization(ctx, t, client, url.Values{"code_challenge": {challenge}, "code_challenge_method": {"S256"}})
	switch {
	case why != "":
		t.skip("PKCE", name+"not tried: "+why)
		return
	case code == "invalid_request":
		t.note(levelFail, "PKCE", name+"a request with an S256 challenge is refused: "+plainText(description), t.idp.say(wordPKCE, t, client))
		return
	case code == "unauthorized_client", code == "unsupported_response_type":
		t.note(levelFail, "authorization code", name+"may not use the code flow: "+plainText(code+" "+description), t.idp.say(wordCode, t, client))
		return
	case !interactive(code):
		t.skip("PKCE", name+"not tried: its authorization request is refused: "+plainText(code+" "+description))
		return
	}
	t.open = append(t.open, client)
	code, _, why = c.tryAuthorization(ctx, t, client, nil)
	switch {
	case why == "" && code == "invalid_request":
		t.ok("PKCE", name+"S256 is taken, a request without challenge refused")
		return
	case why != "" || !interactive(code):
		t.skip("PKCE", name+"S256 is taken; whether it is asked for could not be found out")
		return
	}
	code, _, why = c.tryAuthorization(ctx, t, client, url.Values{"code_challenge": {challenge}, "code_challenge_method": {"S999"}})
	if why == "" && interactive(code) {
		t.note(levelWarn, "PKCE", name+"neither a missing challenge nor an unknown method is refused: does the upstream look at it at all?", t.idp.say(wordPKCE, t, client))
		return
	}
	if c.confidential(client) {
		t.ok("PKCE", name+"S256 is taken; requests without challenge too, which is usual for confidential clients")
		return
	}
	t.note(levelWarn, "PKCE", name+"S256 is taken, but a request without challenge too (those without online_access get no PKCE from the gateway)",
		t.idp.say(wordPKCE, t, client))
}

// interactive are the errors of a request that was good but for prompt=none (OIDC Core section 3.1.2.6).
func interactive(code string) bool {
	return slices.Contains([]string{"login_required", "interaction_required", "consent_required", "account_selection_required"}, code)
}

// tryAuthorization gives the error that the client would get, or why that could not be found out.
func (c *checker) tryAuthorization(ctx context.Context, t *target, client string, more url.Values) (code, description, why string) {
	path := pathOf(t.doc.Authorization)
	if path == "" {
		return "", "", "no authorization endpoint"
	}
	q := url.Values{"response_type": {"code"}, "client_id": {client}, "prompt": {"none"}, "state": {madeUp()}}
	for name, values := range more {
		q[name] = values
	}
	joint := "?"
	if strings.Contains(path, "?") {
		joint = "&"
	}
	a, err := c.ask(ctx, probe{method: http.MethodGet, path: path + joint + q.Encode()})
	if err != nil {
		text, _ := whyNot(err)
		return "", "", text
	}
	t.answers = append(t.answers, a)
	code, description = a.redirectError()
	if !strings.Contains(a.header.Get("Location"), q.Get("state")) || code == "" { // the upstream's own error page
		return "", "", fmt.Sprintf("no redirect_uri is known here, and the upstream wants one (answer %d)", a.status)
	}
	if u, err := url.Parse(a.header.Get("Location")); err == nil && (u.Scheme == "http" || u.Scheme == "https") { // apps on phones have no origin
		t.origins[client] = originOf(u)
	}
	return code, description, ""
}

// checkRefresh looks whether the upstream gives refresh tokens at all, and for which scope.
func (c *checker) checkRefresh(ctx context.Context, t *target) {
	switch {
	case len(t.doc.GrantTypes) == 0:
		t.skip("refresh tokens", "the metadata list no grant types")
	case slices.Contains(t.doc.GrantTypes, "refresh_token"):
		t.note(levelOK, "refresh tokens", "grant type refresh_token in the metadata; whether each client gets one shows at a login alone", t.idp.say(wordRefresh, t, ""))
	default:
		t.note(levelFail, "refresh tokens", "grant_types_supported has no refresh_token", t.idp.say(wordRefresh, t, ""))
	}
	set := c.settings.UpstreamScope
	scopes, how := []string{"offline_access"}, "ORT_UPSTREAM_SCOPE is not set, so online_access becomes offline_access"
	switch {
	case set != nil && *set == "":
		scopes, how = nil, "ORT_UPSTREAM_SCOPE is empty"
	case set != nil:
		scopes, how = strings.Fields(*set), "ORT_UPSTREAM_SCOPE is "+*set
	case t.idp.refreshUnasked:
		scopes, how = nil, "ORT_UPSTREAM_SCOPE is not set"
	}
	offline := slices.Contains(scopes, "offline_access")
	switch {
	case t.idp.refreshUnasked && offline:
		t.note(levelWarn, "upstream scope", how+": at "+t.idp.name+" such a token outlives the login, and a logout there", "leave ORT_UPSTREAM_SCOPE unset")
	case t.idp.refreshUnasked && len(scopes) == 0:
		t.ok("upstream scope", how+": "+t.idp.name+" gives refresh tokens of the login unasked")
	case len(scopes) == 0 && t.idp.needsOffline:
		t.note(levelFail, "upstream scope", how+", and "+t.idp.name+" gives refresh tokens for offline_access alone", "leave ORT_UPSTREAM_SCOPE unset; "+t.idp.say(wordScope, t, ""))
	case len(scopes) == 0:
		t.skip("upstream scope", how+": whether refresh tokens come unasked shows at the first login alone")
	default:
		c.checkScopes(t, scopes, how)
	}
	if offline && t.idp.needsConsent && !c.settings.UpstreamConsent {
		t.note(levelWarn, "consent", t.idp.name+" gives offline_access with prompt=consent alone, unless it was set up otherwise", "ORT_UPSTREAM_CONSENT=true")
	}
	for _, client := range t.open {
		c.tryScopes(ctx, t, client, scopes)
	}
}

// tryScopes asks for the scopes as the gateway would, but without openid (see tryPKCE).
func (c *checker) tryScopes(ctx context.Context, t *target, client string, scopes []string) {
	if len(scopes) == 0 {
		return
	}
	sum := sha256.Sum256([]byte(madeUp()))
	code, description, why := c.tryAuthorization(ctx, t, client, url.Values{
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "scope": {strings.Join(scopes, " ")},
	})
	name, list := "client "+quoted(client)+": ", strings.Join(scopes, " ")
	switch {
	case why == "" && code == "invalid_scope":
		t.note(levelFail, "upstream scope", name+list+" is refused: "+plainText(code+" "+description), t.idp.say(wordScope, t, client))
	case why == "" && interactive(code):
		t.ok("upstream scope", name+list+" is not refused")
	}
}

func (c *checker) checkScopes(t *target, scopes []string, how string) {
	if len(t.doc.Scopes) == 0 {
		t.skip("upstream scope", how+"; the metadata list no scopes")
		return
	}
	for _, s := range scopes {
		switch {
		case slices.Contains(t.doc.Scopes, s):
			t.ok("upstream scope", how+"; "+s+" is in scopes_supported")
		case t.idp.listsScopes:
			t.note(levelFail, "upstream scope", how+"; scopes_supported has no "+s, t.idp.say(wordScope, t, ""))
		default: // an upstream need not publish all (RFC 8414 section 2)
			t.note(levelWarn, "upstream scope", how+"; scopes_supported has no "+s+": logins may be refused with invalid_scope", t.idp.say(wordScope, t, ""))
		}
	}
}

// checkDPoP looks who binds tokens to keys, and whether both sides can (RFC 9449).
func (c *checker) checkDPoP(_ context.Context, t *target) {
	advertised := t.doc.DPoPAlgs
	if c.settings.DPoPAuthority == "gateway" {
		text := "ends at the gateway (ORT_DPOP_AUTHORITY=gateway); the upstream never sees a proof"
		if len(advertised) > 0 {
			text += ", though it knows DPoP"
		}
		t.ok("DPoP", text)
		for _, client := range c.knownClients() {
			if t.clients[client].wantsProof() {
				t.note(levelFail, "DPoP", "client "+quoted(client)+": the upstream asks it for a proof, and none reaches it",
					t.idp.say(wordNoDPoP, t, client)+"; or ORT_DPOP_AUTHORITY=upstream")
			}
		}
		return
	}
	var both []string
	for _, alg := range c.settings.DPoPAlgs {
		if slices.Contains(advertised, alg) {
			both = append(both, alg)
		}
	}
	switch {
	case len(advertised) == 0:
		t.note(levelFail, "DPoP", "ORT_DPOP_AUTHORITY=upstream, and the upstream does not advertise DPoP (dpop_signing_alg_values_supported)",
			"ORT_DPOP_AUTHORITY=gateway; or "+t.idp.say(wordDPoP, t, ""))
	case len(both) == 0:
		t.note(levelFail, "DPoP", "no algorithm of ORT_DPOP_ALGS is among the upstream's: "+plainText(strings.Join(advertised, " ")), "ORT_DPOP_ALGS: one of them at least")
	case t.doc.Issuer != t.issuer:
		t.note(levelFail, "DPoP", "proofs name the public address, and the upstream compares them with its own (see issuer)", t.idp.say(wordIssuer, t, ""))
	default:
		t.ok("DPoP", "the upstream binds its tokens (ORT_DPOP_AUTHORITY=upstream), by "+strings.Join(both, " "))
	}
}
