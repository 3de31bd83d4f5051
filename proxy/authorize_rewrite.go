package proxy

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// dropOffline takes offline_access out of a request of a client that gets
// refresh tokens as ORTs alone: no script in its page can ask for one that
// outlives the session. What some readers would take for it all the same is
// refused.
func dropOffline(form *rewrite.Form) (dropped bool, e *ortengine.Error) {
	scopes := form.Values("scope")
	if slices.ContainsFunc(scopes, func(s string) bool { return rewrite.HasScope(s, offlineAccess) }) {
		dropped = true
		setScope(form, rewrite.RemoveScope(scopes[0], offlineAccess))
		for _, s := range scopes[1:] {
			form.Add("scope", rewrite.RemoveScope(s, offlineAccess))
		}
	}
	if slices.ContainsFunc(form.Loosely("scope"), hidesOffline) {
		return dropped, invalidRequest("offline_access is asked for in a form that not all read alike")
	}
	return dropped, nil
}

// dropOfflineOf is dropOffline for a request whose body was read.
func (g *Gateway) dropOfflineOf(f *formRequest) (bool, *ortengine.Error) {
	if !g.mayBeOnlineOnly(f) {
		return false, nil
	}
	return dropOffline(f.form)
}

// hidesOffline says whether some reader finds offline_access in a scope: one that
// splits it at commas, decodes it once more, or takes it in any case.
func hidesOffline(scope string) bool {
	text := strings.ToLower(string(decodeFully(scope)))
	for {
		before, after, found := strings.Cut(text, offlineAccess)
		if !found {
			return false
		}
		if !endsName(before) && !beginsName(after) {
			return true
		}
		text = after
	}
}

// endsName and beginsName say whether a scope's name goes on at the edge of text.
func endsName(text string) bool { return text != "" && inName(text[len(text)-1]) }

func beginsName(text string) bool { return text != "" && inName(text[0]) }

func inName(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c >= 0x80 || strings.IndexByte("_-.:/", c) >= 0
}

// maxRewritten bounds how many challenges of the gateway's own are remembered.
const maxRewritten = 50000

func setScope(form *rewrite.Form, scope string) {
	if scope == "" {
		form.Del("scope")
		return
	}
	form.Set("scope", scope)
}

// begin records a request for online_access and rewrites it. Nil: it was
// dropped silently, nothing is recorded.
func (a *authorization) begin(ctx context.Context, form *rewrite.Form, client, thumbprint string, browser bool) (*ortengine.Begun, error) {
	scope := form.Get("scope")
	provider := a.at.providers[0]
	switch {
	case rewrite.HasScope(scope, offlineAccess):
		return nil, invalidRequest("Cannot request both online_access and offline_access scopes")
	case client == "":
		return nil, errPage{invalidRequest("client_id is missing")}
	case !returnsCode(form.Get("response_type")):
		setScope(form, rewrite.RemoveScope(scope, onlineAccess))
		return nil, nil
	case form.Get("code_challenge") == "":
		return nil, invalidRequest("PKCE is needed for online_access: code_challenge is missing")
	case !provider.S256():
		a.Logger.LogAttrs(ctx, slog.LevelDebug, "online_access dropped: the upstream's metadata do not list S256 among code_challenge_methods_supported",
			slog.String("issuer", provider.Issuer))
		setScope(form, rewrite.RemoveScope(scope, onlineAccess))
		return nil, nil
	case thumbprint != "" && !dpop.ValidThumbprint(thumbprint) && a.mayIssue(client, audiences(form)):
		return nil, invalidRequest("dpop_jkt is not a JWK thumbprint")
	}
	added := a.upstreamScopes(provider, scope)
	request := ortengine.Authorization{
		Place: provider.Authorization, Client: client, Scope: scope, Audiences: audiences(form),
		Challenge: form.Get("code_challenge"), Method: form.Get("code_challenge_method"), Thumbprint: thumbprint,
		GatewayScopes: added, Address: a.forwarder.clientAddr(a.from),
	}
	browser = browser && a.met(form)
	if browser {
		request.Browser = sessions.BrowserOf(a.browserCookie())
	}
	begun, err := a.Engine.Begin(ctx, request)
	if err != nil {
		return nil, errPage{ortengine.AsError(err)}
	}
	if begun.None {
		added = nil
	} else if browser {
		a.cookie = a.browserCookie()
	}
	a.rewrite(form, scope, added, begun)
	if a.Engine.Policy.IsOnlineOnly(client) {
		a.rewritten.add(begun.Challenge, struct{}{}, ownerLife)
	}
	return &begun, nil
}

// mayIssue says whether this client may get an ORT for these audiences.
func (g *Gateway) mayIssue(client string, audiences []string) bool {
	return g.Engine.Policy.AllowsClient(client) && g.Engine.Policy.AllowsAudiences(audiences)
}

// browserCookie is the browser's cookie, made once for a request.
func (a *authorization) browserCookie() string {
	if a.value == "" {
		a.value = a.browsers.ofOrFresh(a.from)
	}
	return a.value
}

// upstreamScopes are what online_access becomes upstream and the client did not
// ask for itself.
func (g *Gateway) upstreamScopes(p *upstream.Provider, scope string) []string {
	want := g.UpstreamScope
	if want == nil && !isKeycloak(p) {
		want = []string{offlineAccess}
	}
	return slices.DeleteFunc(slices.Clone(want), func(s string) bool { return rewrite.HasScope(scope, s) })
}

// isKeycloak knows Keycloak by its end-session endpoint. It gives refresh tokens
// bound to the session unasked, and offline_access would end single sign-on.
func isKeycloak(p *upstream.Provider) bool {
	return p.Keycloak()
}

// rewrite makes of a request for an ORT one that the upstream knows.
func (a *authorization) rewrite(form *rewrite.Form, scope string, added []string, begun ortengine.Begun) {
	setScope(form, rewrite.AddScope(rewrite.RemoveScope(scope, onlineAccess), added...))
	form.Set("code_challenge", begun.Challenge)
	form.Set("code_challenge_method", "S256")
	if begun.None { // no ORT: DPoP is the upstream's
		return
	}
	if !a.DPoPUpstream {
		form.Del("dpop_jkt")
	}
	if a.UpstreamConsent && slices.Contains(added, offlineAccess) {
		if prompt := form.Get("prompt"); !rewrite.HasScope(prompt, "none") {
			form.Set("prompt", rewrite.AddScope(prompt, "consent"))
		}
	}
	if rewrite.HasScope(scope, "openid") {
		oldest := int64(a.Absolute / time.Second)
		if !isWithin(form.Get("max_age"), oldest) {
			form.Set("max_age", strconv.FormatInt(oldest, 10))
		}
	}
}

// isWithin says whether every reader takes a max_age for at most so many seconds:
// plain digits (OIDC Core section 3.1.2.1). What some read as more, or as none at
// all (1e9, 99999s, a sign, nothing), would let a login in that is older than a
// session may be.
func isWithin(maxAge string, oldest int64) bool {
	for _, c := range []byte(maxAge) {
		if c < '0' || c > '9' {
			return false
		}
	}
	n, err := strconv.ParseInt(maxAge, 10, 64)
	return err == nil && n <= oldest
}

// returnsCode says whether a response_type has a code in it (OAuth 2.0 Multiple
// Response Types section 3); a missing one is for the upstream to refuse.
func returnsCode(responseType string) bool { return rewrite.HasScope(responseType, "code") }
