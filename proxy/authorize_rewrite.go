package proxy

import (
	"context"
	"errors"
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
// outlives the session.
//
// A request that names two clients or scopes is left to the upstream with
// offline_access in none of them: nobody knows which one it reads.
func (g *Gateway) dropOffline(form *rewrite.Form, client string) bool {
	if !slices.ContainsFunc(append(form.Values("client_id"), client), g.Engine.Policy.IsOnlineOnly) {
		return false
	}
	scopes := form.Values("scope")
	if !slices.ContainsFunc(scopes, func(s string) bool { return rewrite.HasScope(s, offlineAccess) }) {
		return false
	}
	setScope(form, rewrite.RemoveScope(scopes[0], offlineAccess))
	for _, s := range scopes[1:] {
		form.Add("scope", rewrite.RemoveScope(s, offlineAccess))
	}
	return true
}

// maxRewritten bounds how many challenges of the gateway's own are remembered.
const maxRewritten = 50000

// repeats says whether a request is one that the gateway has rewritten and the
// upstream sent back to it, in a form or a redirect: its offline_access is the
// gateway's. Nothing but a transaction makes a token of its code.
func (a *authorization) repeats(form *rewrite.Form) bool {
	_, ours := a.rewritten.get(form.Get("code_challenge"))
	return ours
}

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
		a.Logger.LogAttrs(ctx, slog.LevelWarn, "online_access dropped: the upstream's metadata do not list S256 among code_challenge_methods_supported",
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
		if !form.Has("max_age") || isOlder(form.Get("max_age"), oldest) {
			form.Set("max_age", strconv.FormatInt(oldest, 10))
		}
	}
}

// isOlder says whether some reader takes a max_age for more than so many seconds:
// strictly it is a number in digits (OIDC Core section 3.1.2.1), but there are
// those that read 1e9, and digits that fit no integer.
func isOlder(maxAge string, oldest int64) bool {
	maxAge = strings.TrimSpace(maxAge)
	for _, base := range []int{10, 0} {
		if n, err := strconv.ParseInt(maxAge, base, 64); err == nil {
			return n > oldest
		}
	}
	f, err := strconv.ParseFloat(maxAge, 64)
	return (err == nil || errors.Is(err, strconv.ErrRange)) && f > float64(oldest)
}

// returnsCode says whether a response_type has a code in it (OAuth 2.0 Multiple
// Response Types section 3); a missing one is for the upstream to refuse.
func returnsCode(responseType string) bool { return rewrite.HasScope(responseType, "code") }
