package proxy

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// logOut forwards a logout request (OIDC RP-Initiated Logout) unchanged, dead
// login cookies too: here they can only end, but where the path is so spelled that
// an upstream may find another behind it. Whose session it is say the browser
// cookie and the login cookies that came with it, never the id_token_hint alone.
// The session ends by what the upstream answers, here or later: body is that of a
// POST that was read, nil: none was.
func (g *Gateway) logOut(w http.ResponseWriter, r *http.Request, at *location, body []byte) error {
	l := &logout{Gateway: g, at: at, from: r, cookies: hashes(g.logins.in(r.Header)), browser: sessions.BrowserOf(g.browsers.of(r))}
	l.read(r.URL.RawQuery)
	l.read(string(body))
	if err := l.orPass(g.Engine.LogoutBegan(r.Context(), at.places(), l.browser, l.cookies)); err != nil {
		return err
	}
	out := g.forwarder.outgoing(r.Context(), r, requestEdit{Body: body})
	if at.doubtful {
		if _, err := g.withhold(out, g.logins.in(r.Header)); err != nil {
			return err
		}
	}
	g.sendInTime(w, r, out, l.observe)
	return nil
}

// logout is one logout request on its way.
type logout struct {
	*Gateway
	at      *location
	from    *http.Request
	cookies []sessions.CookieHash
	browser sessions.BrowserID

	hint, uri string // id_token_hint, post_logout_redirect_uri
}

// read takes the parameters of a query or body.
func (l *logout) read(raw string) {
	form, _ := rewrite.ParseForm(raw)
	if form == nil {
		return
	}
	if hint := form.Get("id_token_hint"); hint != "" {
		l.hint = hint
	}
	if uri := form.Get("post_logout_redirect_uri"); uri != "" {
		l.uri = uri
	}
}

// observe sees what the upstream made of it. Nothing here waits for a
// back-channel call, which the upstream may be making meanwhile.
func (l *logout) observe(resp *http.Response) error {
	ctx := l.from.Context()
	if _, err := l.follow(l.from, resp, l.cookies, true); err != nil {
		return err
	}
	if l.uri == "" || !isRedirect(resp.StatusCode) || !leadsTo(resp.Header.Get("Location"), l.uri) {
		return nil
	}
	var hint *ortengine.Hint
	if l.hint != "" {
		if t, err := upstream.VerifyHint(ctx, l.Keys, l.at.providers, l.hint); err == nil {
			hint = &ortengine.Hint{Issuer: t.Issuer, Subject: t.Subject, SID: t.SID}
		}
	}
	return l.orPass(l.Engine.LogoutRedirected(ctx, l.at.places(), l.browser, l.cookies, hint, l.hint != ""))
}

// orPass holds up a logout that carries a login cookie while the store is down: it
// would end at the upstream alone. Any other passes.
func (l *logout) orPass(err error) error {
	if err == nil || len(l.cookies) > 0 {
		return err
	}
	l.Logger.LogAttrs(l.from.Context(), slog.LevelWarn, "looking for the sessions of a logout", slog.Any("error", err))
	return nil
}

// backchannelLogout takes the upstream's word that a login ended (OIDC
// Back-Channel Logout 1.0 sections 2.5 to 2.8).
func (g *Gateway) backchannelLogout(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	f, e := g.readForm(w, r, at)
	if e != nil {
		return e
	}
	t, err := upstream.VerifyLogoutToken(r.Context(), g.Keys, at.providers, f.form.Get("logout_token"))
	switch {
	case errors.Is(err, upstream.ErrKeysUnavailable):
		return ortengine.Unavailable("upstream_unavailable", "The issuer's keys cannot be fetched", err)
	case err != nil:
		return invalidRequest("logout_token: " + err.Error())
	}
	place := ""
	if p := at.of(t.Issuer); p != nil {
		place = p.Authorization
	}
	err = g.Engine.LoggedOut(r.Context(), ortengine.LogoutToken{
		Issuer: t.Issuer, Place: place, Audiences: t.Audiences, Subject: t.Subject, SID: t.SID, ID: t.ID,
		IssuedAt: t.IssuedAt, Expires: t.Expires,
	})
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}
