package proxy

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

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
