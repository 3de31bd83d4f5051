package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
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

// The scopes that decide (OIDC Core section 11 has the second).
const (
	onlineAccess  = "online_access"
	offlineAccess = "offline_access"
)

// decisive are the parameters that the gateway reads or rewrites in an
// authorization request.
var decisive = []string{
	"scope", "response_type", "response_mode", "client_id", "redirect_uri", "state", "prompt", "max_age", "code_challenge",
	"code_challenge_method", "dpop_jkt", "audience", "resource", "request", "request_uri",
}

// authorize handles the authorization endpoint. A POST's query and body are each
// read and rewritten for themselves: some login forms are posted to the
// authorization URL, with its query.
func (g *Gateway) authorize(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost && r.Method != http.MethodHead {
		return g.passThrough(w, r, at)
	}
	a := &authorization{Gateway: g, at: at, from: r}
	edit := requestEdit{}
	query, changed, err := a.read(r.URL.RawQuery, true)
	if err == nil && changed {
		edit.RawQuery = &query
	}
	if err == nil && r.Method == http.MethodPost {
		edit.Body, err = a.readBody(w, r)
	}
	if err != nil {
		return a.fail(w, r, err)
	}
	return g.sendTimed(w, r, edit, true, a.observe)
}

// authorization is one authorization request on its way.
type authorization struct {
	*Gateway
	at      *location
	from    *http.Request
	value   string // of the browser cookie, once it was looked for
	cookie  string // the browser cookie that the answer sets, empty: none
	begun   []ortengine.Begun
	failed  *rewrite.Form // what an error was found in
	message bool          // the answer is to be posted (web_message)
}

// errPage marks refusals that go to nobody but the person: the request cannot
// be read well enough to know whose it is.
type errPage struct{ why *ortengine.Error }

func (e errPage) Error() string { return e.why.Error() }
func (e errPage) Unwrap() error { return e.why }

// readBody reads the body of a POST; nil where it is forwarded as it streams.
func (a *authorization) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	connection.SetReadDeadline(time.Now().Add(bodyTimeout))
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	connection.SetReadDeadline(time.Time{})
	if err != nil {
		e := invalidRequest("The body could not be read")
		e.Cause = err
		return nil, errPage{e}
	}
	isForm := checkFormHeader(r.Header) == nil
	switch {
	case len(raw) > maxBody && (isForm || asksLoosely(string(raw))):
		return nil, errPage{refusal(http.StatusRequestEntityTooLarge, ortengine.InvalidRequest, "The body is larger than 1 MiB")}
	case !isForm && asksLoosely(string(raw)):
		return nil, errPage{invalidRequest("An authorization request must be application/x-www-form-urlencoded, uncompressed")}
	case isForm:
		body, changed, err := a.read(string(raw), false)
		if err != nil || changed {
			return []byte(body), err
		}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(raw), r.Body), r.Body}
	return nil, nil
}

// asksLoosely says whether online_access may be meant in text that cannot be
// parsed.
func asksLoosely(text string) bool {
	return strings.Contains(text, onlineAccess) || strings.Contains(text, "%") && bytes.Contains(decodeFully(text), []byte(onlineAccess))
}

// read looks at the parameters of a query or body and rewrites them where they
// ask for online_access. The rows of the table in the contract, in their order.
func (a *authorization) read(raw string, query bool) (rewritten string, changed bool, err error) {
	if raw == "" {
		return raw, false, nil
	}
	form, err := rewrite.ParseForm(raw)
	if err != nil {
		if asksLoosely(raw) {
			return raw, false, errPage{invalidRequest("The parameters cannot be read: bad escapes or too many of them")}
		}
		return raw, false, nil
	}
	client := form.Get("client_id")
	a.failed = form
	message, err := a.asksForMessage(form)
	if err != nil {
		return raw, false, err
	}
	a.message = a.message || message
	changed = a.renameAudience(form) || message
	if err := a.mustLogIn(form, &changed); err != nil {
		return raw, false, err
	}
	if !a.repeats(form) {
		changed = a.dropOffline(form, client) || changed
	}
	asked, repeated := asks(form)
	switch {
	case repeated:
		return raw, false, errPage{invalidRequest("A parameter is repeated")}
	case form.Get("request_uri") != "" && form.Get("request") == "":
		if err := a.usePushed(form.Get("request_uri")); err != nil {
			return raw, false, err
		}
		return form.String(), changed, nil
	case !asked || form.Get("request") != "":
		return form.String(), changed, nil
	case form.Duplicate(manyTimes...) != "" || form.Lookalike(decisive...) != "":
		return raw, false, errPage{invalidRequest("A parameter is repeated, or named like another")}
	}
	begun, err := a.begin(a.from.Context(), form, client, form.Get("dpop_jkt"), true)
	if err != nil {
		return raw, false, err
	}
	if begun != nil {
		a.begun = append(a.begun, *begun)
	}
	return form.String(), true, nil
}

// mustLogIn asks for a password where single sign-on ended in this browser and no
// login cookie of it is known. What may show no page, or cannot be rewritten, gets
// the answer that the upstream would give (OIDC Core section 3.1.2.6).
func (a *authorization) mustLogIn(form *rewrite.Form, changed *bool) error {
	cookie := a.browsers.of(a.from)
	if cookie == "" || form.Get("client_id") == "" {
		return nil
	}
	must, err := a.Engine.MustLogIn(a.from.Context(), a.at.providers[0].Authorization, sessions.BrowserOf(cookie))
	if asked, _ := asks(form); err != nil && !asked && len(a.logins.in(a.from.Header)) == 0 {
		a.Logger.LogAttrs(a.from.Context(), slog.LevelWarn, "looking whether a browser has to log in", slog.Any("error", err))
		return nil // a store that is down holds up only what asks for online_access or carries a login cookie
	}
	if err != nil || !must {
		return err
	}
	prompt := form.Get("prompt")
	if rewrite.HasScope(prompt, "none") || form.Get("request") != "" || form.Get("request_uri") != "" {
		return refusal(http.StatusBadRequest, "login_required", "The login has ended")
	}
	fresh := "login"
	if rewrite.HasScope(prompt, "consent") {
		fresh = "login consent"
	}
	if prompt != fresh {
		form.Set("prompt", fresh)
		*changed = true
	}
	return nil
}

// asks says whether a request asks for online_access; repeated, whether it does
// with more than one scope parameter, so that nobody knows which counts.
func asks(form *rewrite.Form) (asked, repeated bool) {
	scopes := form.Values("scope")
	for _, s := range scopes {
		asked = asked || rewrite.HasScope(s, onlineAccess)
	}
	return asked, asked && len(scopes) > 1
}

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

// usePushed ties a browser to the pushed request that it now uses.
func (a *authorization) usePushed(uri string) error {
	cookie := a.browserCookie()
	t, known, err := a.Engine.UsePushed(a.from.Context(), uri, sessions.BrowserOf(cookie))
	if err != nil {
		return errPage{ortengine.AsError(err)}
	}
	if known && !t.None {
		a.cookie = cookie
	}
	return nil
}

// observe looks at the upstream's answer before it leaves: it gives the browser
// its cookie, notes whose code it brings, and forgets what failed.
func (a *authorization) observe(resp *http.Response, sent []sessions.CookieHash) error {
	if a.cookie != "" {
		a.browsers.set(resp.Header, a.cookie)
		forbidCaching(resp.Header)
	}
	a.owners.saw(a.from, resp)
	if isRedirect(resp.StatusCode) {
		if params, ok := rewrite.LocationParams(resp.Header.Get("Location")); ok && params.Has("error") {
			for _, b := range a.begun {
				if b.Added {
					a.Engine.Failed(a.from.Context(), b.Key)
				}
			}
		}
	}
	set, err := a.follow(a.from, resp, sent, false)
	if err == nil {
		err = a.seeRedirect(a.from, resp, a.cookie, append(slices.Clone(sent), set...))
	}
	if err != nil && len(a.begun) == 0 && a.cookie == "" && len(sent) == 0 {
		a.Logger.LogAttrs(a.from.Context(), slog.LevelWarn, "following a login", slog.Any("error", err))
		return nil // no ORT comes of it, and no session's login is in it
	}
	return err
}

// forbidCaching keeps an answer with a browser's cookie out of shared caches.
func forbidCaching(h http.Header) { h.Set("Cache-Control", "no-store") }

func isRedirect(status int) bool { return status >= 300 && status < 400 }

// seeRedirect notes the browser whose request is answered with a code, and its
// login cookies, before the redirect with it leaves.
func (g *Gateway) seeRedirect(r *http.Request, resp *http.Response, cookie string, logins []sessions.CookieHash) error {
	if !isRedirect(resp.StatusCode) {
		return nil
	}
	params, ok := rewrite.LocationParams(resp.Header.Get("Location"))
	if !ok {
		return nil
	}
	if params.Has("code") && !repeatsOwn(r, params) {
		if err := g.sawCode(r, params, cookie, logins); err != nil {
			return err
		}
	}
	g.asMessage(r, resp, params)
	return nil
}

// repeatsOwn says whether a redirect only repeats a code that its request brought:
// that is no answer of the upstream's, and anybody could make a browser ask for it.
func repeatsOwn(r *http.Request, params *rewrite.Form) bool {
	form, _ := rewrite.ParseForm(r.URL.RawQuery)
	if form == nil {
		return true
	}
	for _, code := range params.Values("code") {
		if code != "" && (slices.Contains(form.Values("code"), code) || strings.Contains(r.URL.RawQuery, code)) {
			return true
		}
	}
	return false
}

// sawCode notes a code with the browser that gets it.
func (g *Gateway) sawCode(r *http.Request, params *rewrite.Form, cookie string, logins []sessions.CookieHash) error {
	if cookie == "" {
		cookie = g.browsers.of(r)
	}
	if cookie == "" && len(logins) == 0 {
		return nil
	}
	codes := params.Values("code")
	return g.Engine.SawCode(r.Context(), codes[len(codes)-1], sessions.BrowserOf(cookie), logins)
}

// fail gives an error to the client's redirect_uri where that is safe, else to
// the person.
func (a *authorization) fail(w http.ResponseWriter, r *http.Request, err error) error {
	e := ortengine.AsError(err)
	var page errPage
	if errors.As(err, &page) || a.failed == nil || e.Status >= 500 {
		return e
	}
	if location, ok := a.owners.deliver(r, a.at.providers[0], a.failed, e); ok && a.message {
		return a.postError(w, location)
	} else if ok {
		w.Header().Set("Location", location)
		w.Header().Set("Cache-Control", "no-store")
		status := http.StatusFound
		if r.Method == http.MethodPost {
			status = http.StatusSeeOther
		}
		w.WriteHeader(status)
		return nil
	}
	return e
}

// postError gives an error to the page that waits for a message.
func (a *authorization) postError(w http.ResponseWriter, location string) error {
	params, _ := rewrite.LocationParams(location)
	page, header, ok := messagePage(location, params)
	if !ok {
		return invalidRequest("redirect_uri has no origin to post to")
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(http.StatusOK)
	w.Write(page)
	return nil
}
