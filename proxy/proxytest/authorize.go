package proxytest

import (
	"crypto/rand"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LoginCookie is the name of the cookie that carries a login.
const LoginCookie = "idp"

// code is an authorization code that waits, or was used.
type code struct {
	family    *family
	redirect  string
	challenge string
	nonce     string
	until     time.Time
	used      bool
}

// authorize handles authorization requests (RFC 6749 section 4.1.1, OIDC Core
// section 3.1.2). The login form is posted to the request's own URL.
func (p *IdP) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	raw, _ := io.ReadAll(r.Body)
	body, _ := url.ParseQuery(string(raw))
	if !q.Has("client_id") && !q.Has("request_uri") {
		q = body
	}
	if uri := q.Get("request_uri"); uri != "" {
		pushed, ok := p.pushed[uri]
		if !ok {
			http.Error(w, "unknown request_uri", http.StatusBadRequest)
			return
		}
		delete(p.pushed, uri)
		q, _ = url.ParseQuery(pushed)
	}
	client := p.client(q.Get("client_id"))
	if client == nil || !slices.Contains(client.Redirects, q.Get("redirect_uri")) {
		http.Error(w, "unknown client or redirect_uri", http.StatusBadRequest)
		return
	}
	if q.Get("response_type") != "code" {
		respond(w, r, q, url.Values{"error": {"unsupported_response_type"}})
		return
	}
	if q.Has("code_challenge") && q.Get("code_challenge_method") != "S256" {
		respond(w, r, q, url.Values{"error": {"invalid_request"}})
		return
	}
	l := p.loginOf(r, q)
	switch {
	case l == nil && slices.Contains(strings.Fields(q.Get("prompt")), "none"):
		respond(w, r, q, url.Values{"error": {"login_required"}})
		return
	case l == nil && p.User == "" && body.Get("username") == "":
		io.WriteString(w, `<form method="post"><input name="username"></form>`)
		return
	case l == nil:
		user := body.Get("username")
		if user == "" {
			user = p.User
		}
		l = p.logIn(w, user)
	}
	c := &code{
		family: &family{client: client, login: l, scope: q.Get("scope")}, redirect: q.Get("redirect_uri"),
		challenge: q.Get("code_challenge"), nonce: q.Get("nonce"), until: p.Now().Add(time.Minute),
	}
	value := rand.Text()
	p.codes[value] = c
	respond(w, r, q, url.Values{"code": {value}, "iss": {p.Issuer}})
}

// loginOf is the login that a request may use: none where a new one is asked for.
func (p *IdP) loginOf(r *http.Request, q url.Values) *login {
	cookie, err := r.Cookie(LoginCookie)
	if err != nil {
		return nil
	}
	l := p.logins[cookie.Value]
	if l == nil || slices.Contains(strings.Fields(q.Get("prompt")), "login") {
		return nil
	}
	if age, err := strconv.Atoi(q.Get("max_age")); err == nil && p.Now().Sub(l.at) > time.Duration(age)*time.Second {
		return nil
	}
	return l
}

func (p *IdP) logIn(w http.ResponseWriter, user string) *login {
	value := rand.Text()
	l := &login{user: user, sid: rand.Text(), at: p.Now()}
	p.logins[value] = l
	http.SetCookie(w, &http.Cookie{Name: LoginCookie, Value: value, Path: "/", HttpOnly: true})
	return l
}

// respond gives an authorization response to the client, in its response mode
// (OAuth 2.0 Multiple Response Types section 2.1, Form Post Response Mode).
func respond(w http.ResponseWriter, r *http.Request, q, params url.Values) {
	if q.Has("state") {
		params.Set("state", q.Get("state"))
	}
	to := q.Get("redirect_uri")
	switch q.Get("response_mode") {
	case "form_post":
		form := `<form method="post" action="` + html.EscapeString(to) + `">`
		for name := range params {
			form += `<input type="hidden" name="` + name + `" value="` + html.EscapeString(params.Get(name)) + `">`
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, form+`</form>`)
		return
	case "fragment":
		to += "#" + params.Encode()
	default:
		mark := "?"
		if strings.Contains(to, "?") {
			mark = "&"
		}
		to += mark + params.Encode()
	}
	w.Header().Set("Location", to)
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	w.WriteHeader(status)
}

// logout ends the login of the browser that asks, or of a refresh token that is
// posted (as Keycloak does), and all that came of it.
func (p *IdP) logout(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	q, _ := url.ParseQuery(string(raw))
	for name, values := range r.URL.Query() {
		q[name] = values
	}
	if f := p.refresh[q.Get("refresh_token")]; f != nil {
		p.endLogin(f.login)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if cookie, err := r.Cookie(LoginCookie); err == nil {
		if l := p.logins[cookie.Value]; l != nil {
			p.endLogin(l)
		}
		http.SetCookie(w, &http.Cookie{Name: LoginCookie, Path: "/", MaxAge: -1})
	}
	if to := q.Get("post_logout_redirect_uri"); to != "" {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
		return
	}
	io.WriteString(w, "logged out")
}

func (p *IdP) endLogin(l *login) {
	for cookie, other := range p.logins {
		if other == l {
			delete(p.logins, cookie)
		}
	}
	for f := range p.current {
		if f.login == l {
			f.ended = true
		}
	}
}
