package app

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// backChannelPath is where the gateway takes logout tokens, below the public origin.
const backChannelPath = "/_ort/backchannel-logout"

// sidKnown: the metadata say that ID tokens have a sid.
func (d *document) sidKnown() bool { return slices.Contains(d.Claims, "sid") || d.BackChannelSession }

// checkSID looks for the claim that names a login (OIDC Back-Channel Logout section 2.1).
func (c *checker) checkSID(_ context.Context, t *target) {
	switch {
	case t.doc.sidKnown():
		t.note(levelOK, "sid", "in the metadata; whether each client's ID tokens carry it shows at a login alone", t.idp.say(wordSID, t, ""))
	case len(t.doc.Claims) == 0 && !t.doc.BackChannel:
		t.skip("sid", "the metadata list no claims; without sid a logout at the IdP ends all sessions of its user, and clients join a session by auth_time")
	default:
		t.note(levelWarn, "sid", "not in the metadata: without it a logout token can name a user alone, and clients join a session by auth_time", t.idp.say(wordSID, t, ""))
	}
}

// checkSubjects looks whether all clients know a user by the same sub (OIDC Core section 8).
func (c *checker) checkSubjects(_ context.Context, t *target) {
	types := t.doc.SubjectTypes
	switch {
	case len(types) == 0:
		t.note(levelWarn, "subject types", "the metadata do not say, so the gateway never takes two clients' sub for one user's", t.idp.say(wordSubjects, t, ""))
	case len(types) == 1 && types[0] == "public":
		t.ok("subject types", "public: every client knows a user by the same sub, another one ends the session")
	case t.doc.sidKnown():
		t.ok("subject types", plainText(strings.Join(types, " "))+": sub may differ between clients, so they join a session by sid or auth_time")
	default:
		t.note(levelWarn, "subject types", plainText(strings.Join(types, " "))+": sub may differ between clients, and without sid they join a session by auth_time alone",
			t.idp.say(wordSubjects, t, ""))
	}
}

// checkRevocation looks for RFC 7009, which ends a confidential client's session and gives credentials back.
func (c *checker) checkRevocation(ctx context.Context, t *target) {
	if t.doc.Revocation == "" {
		l, text := levelOK, "no endpoint at the upstream: the gateway's own /_ort/revoke serves public clients"
		if len(c.settings.ConfidentialClients) > 0 || c.endsBy(t) == "revoke" {
			l = levelWarn
		}
		if len(c.settings.ConfidentialClients) > 0 {
			text += "; confidential ones cannot revoke"
		}
		if c.endsBy(t) == "revoke" {
			text += "; upstream credentials are not given back at the end of a session"
		}
		change := ""
		if l == levelWarn {
			change = t.idp.say(wordRevocation, t, "")
		}
		t.note(l, "revocation", text, change)
		return
	}
	t.ok("revocation", "endpoint at "+plainText(pathOf(t.doc.Revocation)))
	for _, client := range c.settings.ConfidentialClients {
		if client == "*" || !slices.Contains(c.knownClients(), client) {
			continue
		}
		a := c.asClient(ctx, t.doc.Revocation, client, c.secretMethods(t)[0], url.Values{"token": {madeUp()}, "token_type_hint": {"refresh_token"}})
		name := "client " + quoted(client) + ": "
		switch {
		case a.refused():
			t.ok("revocation", name+"wrong authentication is refused ("+a.String()+")")
		case a.status/100 == 2:
			t.note(levelWarn, "revocation", name+"wrong authentication is not refused: whoever has an ORT of it could end its session", t.idp.say(wordConfidential, t, client))
		default:
			t.skip("revocation", name+"could not be found out: wrong authentication is answered "+a.String())
		}
	}
}

// endsBy is how upstream credentials are given back at this upstream.
func (c *checker) endsBy(t *target) string {
	switch {
	case c.settings.UpstreamEnd != "auto":
		return c.settings.UpstreamEnd
	case t.idp.endsByLogout:
		return "logout"
	}
	return "revoke"
}

func (c *checker) checkIntrospection(_ context.Context, t *target) {
	if t.doc.Introspection == "" {
		t.ok("introspection", "no endpoint; nothing here needs it")
		return
	}
	t.ok("introspection", "endpoint at "+plainText(pathOf(t.doc.Introspection)))
}

// checkEndSession looks for RP-Initiated Logout, and for what ORT_UPSTREAM_END needs.
func (c *checker) checkEndSession(_ context.Context, t *target) {
	switch {
	case t.doc.EndSession != "":
		t.ok("end session", "endpoint at "+plainText(pathOf(t.doc.EndSession)))
	case c.settings.UpstreamEnd == "logout":
		t.note(levelFail, "end session", "no end_session_endpoint, and ORT_UPSTREAM_END=logout needs it", "ORT_UPSTREAM_END=auto; or "+t.idp.say(wordEndSession, t, ""))
	default:
		t.note(levelWarn, "end session", "no end_session_endpoint: apps cannot log out at the IdP; revoking an ORT still ends the session", t.idp.say(wordEndSession, t, ""))
	}
}

// checkLoginCookies looks whether the gateway will know the IdP's login by its cookie.
func (c *checker) checkLoginCookies(_ context.Context, t *target) {
	if own := c.ownLoginCookies(); len(t.idp.cookies) == 0 && len(own) > 0 {
		t.skip("login cookies", "which cookie carries this IdP's login is not known here; whether it is "+strings.Join(own, " or ")+", as ORT_UPSTREAM_LOGIN_COOKIES says, a login in a browser shows")
		return
	}
	if len(t.idp.cookies) == 0 {
		t.skip("login cookies", "which cookie carries this IdP's login is not known here; ORT_UPSTREAM_LOGIN_COOKIES must name it (a login in a browser shows it), or every end of a session asks this browser to log in again")
		return
	}
	for _, name := range t.idp.cookies {
		if slices.Contains(c.settings.UpstreamLoginCookies, name) {
			t.ok("login cookies", name+" carries "+t.idp.name+"'s login and is in ORT_UPSTREAM_LOGIN_COOKIES")
			return
		}
	}
	t.note(levelWarn, "login cookies", t.idp.name+"'s login is in "+strings.Join(t.idp.cookies, " or ")+", unless it was renamed there; none of these is in ORT_UPSTREAM_LOGIN_COOKIES",
		"ORT_UPSTREAM_LOGIN_COOKIES="+t.idp.cookies[0])
}

// ownLoginCookies are the names in ORT_UPSTREAM_LOGIN_COOKIES that are of no identity provider known here.
func (c *checker) ownLoginCookies() []string {
	known := []string{"KEYCLOAK_SESSION"}
	for _, i := range kinds {
		known = append(known, i.cookies...)
	}
	return slices.DeleteFunc(slices.Clone(c.settings.UpstreamLoginCookies), func(name string) bool { return slices.Contains(known, name) })
}

// checkBackChannel looks whether logouts at the IdP can reach the gateway.
func (c *checker) checkBackChannel(_ context.Context, t *target) {
	change := t.idp.say(wordBackChannel, t, "")
	if !t.doc.BackChannel {
		t.note(levelWarn, "back-channel logout", "not in the metadata: a logout at the IdP that does not pass the gateway shows at the next refresh alone", change)
		return
	}
	t.note(levelOK, "back-channel logout", "in the metadata; whether each client has the gateway's URL could not be found out", change)
}

// checkCookies reads the cookies of the answers that came before: a browser must take them under the public name.
func (c *checker) checkCookies(_ context.Context, t *target) {
	public := c.settings.PublicOrigin
	seen := 0
	var insecure, foreign []string
	for _, a := range t.answers {
		for _, cookie := range (&http.Response{Header: a.header}).Cookies() {
			seen++
			name := plainText(cookie.Name)
			domain := strings.TrimPrefix(strings.ToLower(cookie.Domain), ".")
			if domain != "" && domain != public.Hostname() && !strings.HasSuffix(public.Hostname(), "."+domain) && !slices.Contains(foreign, name) {
				foreign = append(foreign, name)
			}
			if public.Scheme == "https" && !cookie.Secure && !slices.Contains(insecure, name) {
				insecure = append(insecure, name)
			}
		}
	}
	switch {
	case seen == 0:
		t.skip("cookies", "none was set without a login, so whether the upstream heeds X-Forwarded-Proto could not be found out")
	case len(foreign) > 0:
		t.note(levelFail, "cookies", strings.Join(foreign, ", ")+" for another domain than "+public.Hostname()+": browsers drop them", t.idp.say(wordIssuer, t, ""))
	case len(insecure) > 0:
		t.note(levelWarn, "cookies", strings.Join(insecure, ", ")+" without Secure though the public origin is https: the upstream does not heed X-Forwarded-Proto", t.idp.say(wordForwarded, t, ""))
	default:
		t.ok("cookies", "those of the authorization endpoint fit the public origin")
	}
}

// checkLifetimes says what no metadata tell.
func (c *checker) checkLifetimes(_ context.Context, t *target) {
	t.note(levelSkip, "lifetimes", fmt.Sprintf("the upstream publishes none: what ends there sooner than %s idle or %s in all (ORT_SESSION_IDLE_TIMEOUT, ORT_SESSION_ABSOLUTE_TIMEOUT) ends ORTs too",
		span(c.settings.SessionIdleTimeout), span(c.settings.SessionAbsoluteTimeout)), t.idp.say(wordLifetimes, t, ""))
}

// span writes a duration without its zero parts.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
