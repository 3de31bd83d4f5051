package idp

import (
	"context"
	"crypto/subtle"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

//go:embed pages
var files embed.FS

var pages = template.Must(template.ParseFS(files, "pages/*.html"))

// page is what the templates show.
type page struct {
	Title    string
	Request  string // id of the authorization request
	Client   string
	Username string
	Fault    string
	Users    []User     // shown as a hint: these are demo users
	Hidden   url.Values // carried through a confirmation
}

type loginKey struct{}

// authorize lets CreateAuthRequest know the browser's login: prompt=none is
// then answered straight away.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	l, _ := p.storage.login(r)
	p.op.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), loginKey{}, l)))
}

// loginPage answers a browser that the authorization endpoint sent here: from
// its cookie where that will do, else with the form.
func (p *Provider) loginPage(w http.ResponseWriter, r *http.Request) {
	a, ok := p.storage.request(r.FormValue("request"))
	if !ok {
		p.unknownRequest(w)
		return
	}
	if l, ok := p.storage.login(r); ok && p.storage.suffices(l, a) {
		p.complete(w, r, a.id, l)
		return
	}
	if slices.Contains(a.Prompt, oidc.PromptNone) { // the login has ended meanwhile
		op.AuthRequestError(w, r, a, oidc.ErrLoginRequired(), p.op)
		return
	}
	p.form(w, http.StatusOK, a, page{Username: a.LoginHint})
}

// login takes the form.
func (p *Provider) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	a, ok := p.storage.request(r.FormValue("request"))
	if !ok {
		p.unknownRequest(w)
		return
	}
	username := r.PostFormValue("username")
	user, known := p.storage.users[username]
	right := subtle.ConstantTimeCompare([]byte(user.Password), []byte(r.PostFormValue("password"))) == 1
	if !known || !right {
		p.form(w, http.StatusUnauthorized, a, page{Username: username, Fault: "Name or password is not right."})
		return
	}
	l, cookie := p.storage.newLogin(r, username)
	http.SetCookie(w, &http.Cookie{
		Name: CookieName, Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: p.secure(),
	})
	p.complete(w, r, a.id, l)
}

func (p *Provider) secure() bool { return p.config.Issuer[:6] == "https:" }

// complete ties the login to the request and goes on to the callback, whose
// redirect carries the code.
func (p *Provider) complete(w http.ResponseWriter, r *http.Request, id string, l *login) {
	if !p.storage.finish(id, l) {
		p.unknownRequest(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, PathAuthorize+"/callback?id="+url.QueryEscape(id), http.StatusSeeOther)
}

func (p *Provider) form(w http.ResponseWriter, status int, a *authRequest, show page) {
	show.Title = "Log in"
	show.Request = a.id
	show.Client = p.storage.clients[a.ClientID].label()
	show.Users = p.config.Users
	// The form's answer redirects to the client: form-action must name it.
	p.show(w, status, "login.html", origin(a.RedirectURI), show)
}

func (p *Provider) unknownRequest(w http.ResponseWriter) {
	p.show(w, http.StatusBadRequest, "message.html", "", page{
		Title: "This login is over", Fault: "It was finished already or has waited too long. Go back to the app and log in from there.",
	})
}

// show writes a page with headers that allow nothing but our stylesheet and
// our form.
func (p *Provider) show(w http.ResponseWriter, status int, name, formTarget string, data page) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+formTarget)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	if err := pages.ExecuteTemplate(w, name, data); err != nil {
		p.log.Error("writing a page", "page", name, "err", err)
	}
}

func stylesheet(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, files, "pages/style.css")
}

func origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// login finds the live login of a request's cookie.
func (s *storage) login(r *http.Request) (*login, bool) {
	cookie, err := r.Cookie(CookieName)
	if err != nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.logins[cookie.Value]
	if !ok || s.now().Sub(l.at) > s.config.LoginLifetime {
		return nil, false
	}
	return l, true
}

// suffices says whether a login is good enough for a request: prompt=login
// wants a new one (the library turns it into max_age=0), max_age a recent one,
// and an id_token_hint or login_hint of another user another one.
func (s *storage) suffices(l *login, a *authRequest) bool {
	if a.LoginHint != "" && a.LoginHint != l.username {
		return false
	}
	if slices.Contains(a.Prompt, oidc.PromptLogin) || slices.Contains(a.Prompt, oidc.PromptSelectAccount) {
		return false
	}
	return a.MaxAge == nil || s.now().Sub(l.at) < time.Duration(*a.MaxAge)*time.Second
}

// newLogin starts single sign-on. The same user again in the same browser
// keeps the sid and gets a new auth_time, under a new cookie.
func (s *storage) newLogin(r *http.Request, username string) (*login, string) {
	former, renewed := s.login(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.logins) >= maxAuthRequests {
		s.sweep()
	}
	l := &login{sid: randomID(), username: username, at: s.now(), confirm: randomID()}
	if renewed && former.username == username {
		l.sid, l.clients = former.sid, former.clients
	}
	if cookie, err := r.Cookie(CookieName); err == nil {
		delete(s.logins, cookie.Value)
	}
	value := randomID()
	s.logins[value] = l
	s.stats.Logins++
	return l, value
}
