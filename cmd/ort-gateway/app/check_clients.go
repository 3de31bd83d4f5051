package app

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// clientAnswer is what the upstream said to a client's request with a token that nobody has.
type clientAnswer struct {
	why         string // no answer, and why
	status      int
	code        string
	description string
}

// refused: the client was not let through to the token (RFC 6749 section 5.2; Keycloak says unauthorized_client).
func (a clientAnswer) refused() bool {
	return a.status/100 == 4 && (a.code == "invalid_client" || a.code == "unauthorized_client" || a.status == http.StatusUnauthorized)
}

// passed: the client was let through, and the token was looked at.
func (a clientAnswer) passed(i *idpKind) bool {
	return a.why == "" && (a.status/100 == 2 || a.code == "invalid_grant" || i.badTokenCode != "" && a.code == i.badTokenCode && !a.wantsProof())
}

// wantsProof: a DPoP proof is asked for. Keycloak does so with invalid_request, and words.
func (a clientAnswer) wantsProof() bool {
	return a.code == "use_dpop_nonce" || a.code == "invalid_dpop_proof" || a.code == "invalid_request" && strings.Contains(a.description, "DPoP")
}

// mayNotRefresh: the client is known, but not for this grant type. oidc-provider says so with invalid_request, and words.
func (a clientAnswer) mayNotRefresh() bool {
	return a.code == "unauthorized_client" && a.status != http.StatusUnauthorized || a.code == "unsupported_grant_type" ||
		a.code == "invalid_request" && strings.Contains(a.description, "grant type")
}

// String gives status, code and, where those are not enough, words.
func (a clientAnswer) String() string {
	switch {
	case a.why != "":
		return a.why
	case a.code == "":
		return fmt.Sprintf("status %d", a.status)
	}
	text := fmt.Sprintf("%d %s", a.status, plainText(a.code))
	if a.code == "invalid_request" && a.description != "" {
		text += ": " + plainText(a.description)
	}
	return text
}

// wrongSecret is how a made-up secret is sent (RFC 6749 section 2.3.1); "" for none.
type wrongSecret string

const (
	noSecret   wrongSecret = ""
	secretHead wrongSecret = "client_secret_basic"
	secretForm wrongSecret = "client_secret_post"
)

// refreshMadeUp asks the token endpoint to refresh a token that nobody has.
func (c *checker) refreshMadeUp(ctx context.Context, t *target, client string, how wrongSecret) clientAnswer {
	return c.asClient(ctx, t.doc.Token, client, how, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {madeUp()}})
}

func (c *checker) asClient(ctx context.Context, endpoint, client string, how wrongSecret, form url.Values) clientAnswer {
	path := pathOf(endpoint)
	if path == "" {
		return clientAnswer{why: "no such endpoint"}
	}
	p := probe{method: http.MethodPost, path: path, form: form, header: http.Header{"Accept": {"application/json"}}}
	switch how {
	case secretHead:
		pair := url.QueryEscape(client) + ":" + url.QueryEscape(madeUp())
		p.header["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}
	case secretForm:
		p.form.Set("client_secret", madeUp())
		fallthrough
	default:
		p.form.Set("client_id", client)
	}
	a, err := c.ask(ctx, p)
	if err != nil {
		text, _ := whyNot(err)
		return clientAnswer{why: text}
	}
	code, description := a.oauthError()
	return clientAnswer{status: a.status, code: code, description: description}
}

// checkClients asks for each client that is known whether it is there and may refresh.
func (c *checker) checkClients(ctx context.Context, t *target) {
	clients := c.knownClients()
	if len(clients) == 0 {
		t.skip("clients", "none is named in ORT_CLIENTS, so none was tried")
	}
	for _, client := range clients {
		a := c.refreshMadeUp(ctx, t, client, noSecret)
		t.clients[client] = a
		name := "client " + quoted(client) + ": "
		switch {
		case c.confidential(client): // checkConfidential tells
		case a.status/100 == 2:
			t.note(levelFail, "clients", name+"the token endpoint takes a refresh token that nobody has", "look at the identity provider's token endpoint: it does not check refresh tokens")
		case a.wantsProof(): // checkDPoP tells
		case a.passed(t.idp):
			t.ok("clients", name+"known, and the refresh grant is open to it")
		case a.mayNotRefresh():
			t.note(levelFail, "clients", name+"may not refresh ("+a.String()+")", t.idp.say(wordRefresh, t, client))
		case a.status == http.StatusForbidden:
			t.note(levelFail, "clients", name+"refused whatever it sends ("+a.String()+" "+plainText(a.description)+")", t.idp.say(wordOpen, t, client))
		case a.refused() && a.code == t.idp.noSecretCode:
			t.note(levelWarn, "clients", name+"the upstream asks it for authentication ("+a.String()+"), so it is a confidential one",
				"ORT_CONFIDENTIAL_CLIENTS: name it there (else it needs a DPoP key, too)")
		case a.refused() && t.idp.noSecretCode != "":
			t.note(levelFail, "clients", name+"not known there ("+a.String()+")", t.idp.say(wordClient, t, client))
		case a.refused():
			t.note(levelWarn, "clients", name+"refused without authentication ("+a.String()+"): it is unknown there, or it is a confidential one",
				t.idp.say(wordClient, t, client)+"; if it is confidential, name it in ORT_CONFIDENTIAL_CLIENTS (else it needs a DPoP key, too)")
		default:
			t.skip("clients", name+"could not be found out: "+a.String())
		}
	}
}

// checkConfidential tries whether the upstream authenticates the clients in ORT_CONFIDENTIAL_CLIENTS at every refresh:
// their ORTs are bound to no key, so nothing else would stand between a stolen one and its use.
func (c *checker) checkConfidential(ctx context.Context, t *target) {
	for _, client := range c.settings.ConfidentialClients {
		if client == "*" {
			c.checkEveryClient(ctx, t)
			continue
		}
		if !slices.Contains(c.knownClients(), client) {
			t.skip("confidential clients", fmt.Sprintf("client %s: not tried, %d clients are at most", quoted(client), checkMaxClients))
			continue
		}
		c.tryConfidential(ctx, t, client)
	}
}

func (c *checker) tryConfidential(ctx context.Context, t *target, client string) {
	name := "client " + quoted(client) + ": "
	tried := []struct {
		how string
		clientAnswer
	}{{"without authentication", t.clients[client]}}
	for _, how := range c.secretMethods(t) {
		tried = append(tried, struct {
			how string
			clientAnswer
		}{"with wrong authentication (" + string(how) + ")", c.refreshMadeUp(ctx, t, client, how)})
	}
	for _, a := range tried {
		if a.passed(t.idp) {
			t.note(levelFail, "confidential clients", name+"a refresh "+a.how+" is not refused, the upstream goes on to the token ("+a.String()+
				"): whoever has an ORT of it could use it", t.idp.say(wordConfidential, t, client)+"; or take it out of ORT_CONFIDENTIAL_CLIENTS")
			return
		}
	}
	for _, a := range tried {
		if !a.refused() {
			t.skip("confidential clients", name+"could not be found out: a refresh "+a.how+" is answered "+a.String())
			return
		}
	}
	t.ok("confidential clients", name+"a refresh without or with wrong authentication is refused ("+tried[0].String()+")")
}

// secretMethods are the ways to send a secret that the upstream knows.
func (c *checker) secretMethods(t *target) []wrongSecret {
	var all []wrongSecret
	for _, m := range []wrongSecret{secretHead, secretForm} {
		if slices.Contains(t.doc.TokenAuthMethods, string(m)) {
			all = append(all, m)
		}
	}
	if len(all) == 0 { // the default of RFC 8414 section 2
		all = []wrongSecret{secretHead}
	}
	return all
}

// checkEveryClient is for "*": any client that sends authentication needs no key, so the upstream must refuse wrong
// authentication of its public clients as well.
func (c *checker) checkEveryClient(ctx context.Context, t *target) {
	if t.idp.takesAnySecret {
		t.note(levelFail, "confidential clients", "ORT_CONFIDENTIAL_CLIENTS is *, and "+t.idp.name+" takes any secret from a public client: its ORTs would be bound to nothing",
			"ORT_CONFIDENTIAL_CLIENTS: name the clients")
		return
	}
	tried := 0
	for _, client := range c.knownClients() {
		if c.confidential(client) || !t.clients[client].passed(t.idp) {
			continue
		}
		for _, how := range c.secretMethods(t) {
			a := c.refreshMadeUp(ctx, t, client, how)
			if a.passed(t.idp) {
				t.note(levelFail, "confidential clients", fmt.Sprintf("ORT_CONFIDENTIAL_CLIENTS is *, and the upstream takes a made-up secret from the public client %s (%s, %s)",
					quoted(client), how, a), "ORT_CONFIDENTIAL_CLIENTS: name the clients")
				return
			}
			if a.refused() {
				tried++
			}
		}
	}
	if tried == 0 {
		t.skip("confidential clients", "ORT_CONFIDENTIAL_CLIENTS is *: whether wrong authentication of public clients is refused could not be tried, ORT_CLIENTS names none")
		return
	}
	t.ok("confidential clients", "ORT_CONFIDENTIAL_CLIENTS is *, and wrong authentication of the public clients in ORT_CLIENTS is refused")
}
