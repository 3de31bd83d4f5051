package proxy

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
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
	a := &authorization{Gateway: g, at: at, from: r}
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodHead:
	case http.MethodOptions:
		// A preflight has no cookie, so it is of no browser that must log in.
		must, err := a.loginEnded(false)
		switch {
		case err != nil:
			return err
		case !must && !overridden(r) && r.ContentLength == 0 && !a.mentions(r.URL.RawQuery):
			return g.passThrough(w, r, at)
		}
		return noSuchMethod(w)
	default: // some upstreams route every method to the same code
		return noSuchMethod(w)
	}
	if overridden(r) {
		return noSuchMethod(w)
	}
	edit, err := a.edit(w, r)
	if err != nil {
		return a.fail(w, r, err)
	}
	return g.sendTimed(w, r, edit, true, a.observe)
}

func noSuchMethod(w http.ResponseWriter) error {
	w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
	return refusal(http.StatusMethodNotAllowed, ortengine.InvalidRequest, "An authorization request is made by GET or POST")
}

// edit reads a request whole and says what is different in the one that goes up.
func (a *authorization) edit(w http.ResponseWriter, r *http.Request) (edit requestEdit, err error) {
	query := newPart(r.URL.RawQuery)
	body, err := a.bodyPart(w, r)
	if err != nil {
		return edit, err
	}
	a.survey(query, body)
	if r.Method != http.MethodPost && body != nil && (a.asked || a.onlineOnly || a.mentions(body.raw)) {
		return edit, errPage{invalidRequest("Only a POST may have a body")}
	}
	defer func() {
		if err != nil {
			a.forget()
		}
	}()
	rewritten, changed, err := a.read(query)
	if err != nil {
		return edit, err
	}
	if changed {
		whole := rewritten
		edit.RawQuery = &whole
	}
	if body != nil && r.Method == http.MethodPost && body.err != errNoForm {
		if rewritten, changed, err = a.read(body); err != nil {
			return edit, err
		}
		if changed {
			edit.Body = []byte(rewritten)
		}
	}
	return edit, a.fits(query, body)
}

// forget drops what was recorded of a request that is refused, here or by the upstream.
func (a *authorization) forget() {
	for _, b := range a.begun {
		if b.Added {
			a.Engine.Failed(a.from.Context(), b.Key)
		}
	}
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

	asked      bool // for online_access, in the query or the body
	named      bool // a client in ORT_ONLINE_ONLY_CLIENTS is named
	onlineOnly bool // it may be one of those
}

// errNoForm: a body is of another kind.
var errNoForm = errors.New("not a form")

// errPage marks refusals that go to nobody but the person: the request cannot
// be read well enough to know whose it is.
type errPage struct{ why *ortengine.Error }

func (e errPage) Error() string { return e.why.Error() }
func (e errPage) Unwrap() error { return e.why }

// read looks at the parameters of a query or body and rewrites them where they
// ask for online_access. The rows of the table in the contract, in their order.
func (a *authorization) read(p *part) (rewritten string, changed bool, err error) {
	raw, form := p.raw, p.form
	if raw == "" {
		return raw, false, nil
	}
	if p.err != nil {
		return raw, false, a.passUnread(raw)
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
	if a.onlineOnly && !p.ours {
		dropped, e := dropOffline(form)
		if e != nil {
			return raw, false, errPage{e}
		}
		changed = changed || dropped
	}
	asked, repeated := asks(form)
	switch {
	case repeated:
		return raw, false, errPage{invalidRequest("A parameter is repeated")}
	case form.Get("request_uri") != "" && form.Get("request") == "":
		if err := a.usePushed(form); err != nil {
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

// passUnread refuses parameters that cannot be read, unless nothing depends on them.
func (a *authorization) passUnread(raw string) error {
	must, err := a.loginEnded(false)
	if err != nil {
		return err
	}
	if must || saysLoosely(raw, onlineAccess) || a.onlineOnly && saysLoosely(raw, offlineAccess) {
		return errPage{invalidRequest("The parameters cannot be read: bad escapes or too many of them")}
	}
	return nil
}

// mustLogIn asks for a password where single sign-on ended in this browser and no
// login cookie of it is known. What may show no page, or cannot be rewritten, gets
// the answer that the upstream would give (OIDC Core section 3.1.2.6). What not all
// would read alike gets none.
func (a *authorization) mustLogIn(form *rewrite.Form, changed *bool) error {
	if len(form.Loosely("client_id")) == 0 && len(form.Loosely("prompt")) == 0 {
		return nil
	}
	asked, _ := asks(form)
	if must, err := a.loginEnded(asked); err != nil || !must {
		return err
	}
	if form.Lookalike("client_id", "prompt", "request", "request_uri") != "" {
		return errPage{invalidRequest("A parameter is named like another")}
	}
	prompts := strings.Join(form.Values("prompt"), " ")
	if rewrite.HasScope(prompts, "none") || strings.Join(append(form.Values("request"), form.Values("request_uri")...), "") != "" {
		a.failPushed(form)
		return refusal(http.StatusBadRequest, "login_required", "The login has ended")
	}
	fresh := "login"
	if rewrite.HasScope(prompts, "consent") {
		fresh = "login consent"
	}
	if prompts != fresh || len(form.Values("prompt")) > 1 {
		form.Set("prompt", fresh)
		*changed = true
	}
	return nil
}

// loginEnded says whether this browser has to log in anew. A store that is down
// holds up only what asks for online_access or carries a login cookie.
func (a *authorization) loginEnded(asked bool) (bool, error) {
	cookie := a.browsers.of(a.from)
	if cookie == "" {
		return false, nil
	}
	must, err := a.Engine.MustLogIn(a.from.Context(), a.at.providers[0].Authorization, sessions.BrowserOf(cookie))
	if err != nil && !asked && len(a.logins.in(a.from.Header)) == 0 {
		a.Logger.LogAttrs(a.from.Context(), slog.LevelWarn, "looking whether a browser has to log in", slog.Any("error", err))
		return false, nil
	}
	return must, err
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

// usePushed ties a browser to the pushed request that it now uses.
func (a *authorization) usePushed(form *rewrite.Form) error {
	uri := form.Get("request_uri")
	cookie := ""
	if a.met(form) {
		cookie = a.browserCookie()
	}
	t, known, err := a.Engine.UsePushed(a.from.Context(), uri, sessions.BrowserOf(cookie))
	if err != nil {
		return errPage{ortengine.AsError(err)}
	}
	if !known || t.None {
		return nil
	}
	a.cookie = cookie
	ours, _ := a.Engine.Challenge(&t)
	for _, challenge := range form.Loosely("code_challenge") { // some upstreams let it stand above the pushed one
		if challenge != ours && t.Key != sessions.KeyOfChallenge("S256", challenge) && t.Key != sessions.KeyOfChallenge("plain", challenge) {
			return errPage{invalidRequest("code_challenge is not that of the pushed request")}
		}
	}
	return nil
}
