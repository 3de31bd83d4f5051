package idp

import (
	"crypto/subtle"
	"net/http"
	"net/url"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// endSession is OpenID Connect RP-Initiated Logout 1.0. With an ID token of
// this very login the login ends at once; without one, any page could send a
// browser here, so the user is asked first (section 2). Refresh tokens stay:
// they were given for offline_access.
func (p *Provider) endSession(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	ctx := op.ContextWithIssuer(r.Context(), p.config.Issuer)
	request, err := op.ParseEndSessionRequest(r, p.op.Decoder())
	if err != nil {
		op.RequestError(w, r, oidc.ErrInvalidRequest().WithParent(err), nil)
		return
	}
	session, err := op.ValidateEndSessionRequest(ctx, request, p.op)
	if err != nil {
		op.RequestError(w, r, err, nil)
		return
	}
	l, loggedIn := p.storage.login(r)
	hinted := loggedIn && session.IDTokenHintClaims != nil && session.IDTokenHintClaims.Subject == l.username &&
		hintSID(session.IDTokenHintClaims) == l.sid
	confirmed := loggedIn && r.Method == http.MethodPost &&
		subtle.ConstantTimeCompare([]byte(r.PostFormValue("confirm")), []byte(l.confirm)) == 1
	if loggedIn && !hinted && !confirmed {
		hidden := url.Values{"confirm": {l.confirm}}
		for name, values := range r.Form {
			if name != "confirm" {
				hidden[name] = values
			}
		}
		p.show(w, http.StatusOK, "logout.html", origin(session.RedirectURI), page{
			Title: "Log out", Username: l.username, Hidden: hidden,
		})
		return
	}
	if loggedIn {
		p.storage.endLogin(r)
	}
	http.SetCookie(w, &http.Cookie{
		Name: CookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: p.secure(),
	})
	if session.RedirectURI == "" || request.PostLogoutRedirectURI == "" {
		p.show(w, http.StatusOK, "message.html", "", page{Title: "You are logged out"})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, session.RedirectURI, http.StatusFound)
}

// hintSID reads sid, which the library keeps apart from claims it added itself.
func hintSID(c *oidc.IDTokenClaims) string {
	if c.SessionID != "" {
		return c.SessionID
	}
	sid, _ := c.Claims["sid"].(string)
	return sid
}

func (s *storage) endLogin(r *http.Request) {
	cookie, err := r.Cookie(CookieName)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logins, cookie.Value)
}
