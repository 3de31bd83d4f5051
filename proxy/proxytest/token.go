package proxytest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// device is a device authorization.
type device struct {
	client *Client
	scope  string
}

// direct handles the endpoints that clients call themselves, with their CORS.
func (p *IdP) direct(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if r.Method == http.MethodOptions {
		if p.allows(nil, origin) && onlyKnown(r.Header.Get("Access-Control-Request-Headers")) {
			allow(w.Header(), origin)
			w.Header().Set("Access-Control-Allow-Headers", "authorization, content-type")
			w.Header().Set("Access-Control-Allow-Methods", "POST")
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	raw, _ := io.ReadAll(r.Body)
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request")
		return
	}
	client, ok := p.authenticate(r, form)
	if client != nil && p.allows(client, origin) {
		allow(w.Header(), origin)
	}
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	switch r.URL.Path {
	case "/token":
		p.token(w, form, client)
	case "/par":
		p.par(w, form)
	case "/revoke":
		if f := p.refresh[form.Get("token")]; f != nil && f.client == client {
			f.ended = true
		}
		w.WriteHeader(http.StatusOK)
	case "/introspect":
		f := p.access[form.Get("token")]
		if f == nil {
			f = p.refresh[form.Get("token")]
		}
		writeJSON(w, http.StatusOK, map[string]any{"active": f != nil && !f.ended})
	case "/device":
		code := rand.Text()
		p.devices[code] = &device{client: client, scope: form.Get("scope")}
		writeJSON(w, http.StatusOK, map[string]any{"device_code": code, "user_code": "ABCD", "verification_uri": p.Issuer + "/verify", "expires_in": 600})
	}
}

// authenticate is the client of a request; not ok where it cannot be believed.
func (p *IdP) authenticate(r *http.Request, form url.Values) (*Client, bool) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if name, password, ok := r.BasicAuth(); ok {
		id, _ = url.QueryUnescape(name)
		secret, _ = url.QueryUnescape(password)
	}
	c := p.client(id)
	return c, c != nil && (c.Secret == "" || c.Secret == secret)
}

func (p *IdP) allows(client *Client, origin string) bool {
	return origin != "" && slices.ContainsFunc(p.Clients, func(c Client) bool {
		return (client == nil || client.ID == c.ID) && slices.Contains(c.Origins, origin)
	})
}

func allow(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Vary", "Origin")
}

// onlyKnown says whether a preflight asks for fields that this provider knows.
func onlyKnown(fields string) bool {
	for f := range strings.SplitSeq(fields, ",") {
		switch strings.ToLower(strings.TrimSpace(f)) {
		case "", "content-type", "authorization":
		default:
			return false
		}
	}
	return true
}

func refuse(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]string{"error": code})
}

func (p *IdP) par(w http.ResponseWriter, form url.Values) {
	if form.Has("request_uri") {
		refuse(w, http.StatusBadRequest, "invalid_request")
		return
	}
	uri := "urn:ietf:params:oauth:request_uri:" + rand.Text()
	p.pushed[uri] = form.Encode()
	writeJSON(w, http.StatusCreated, map[string]any{"request_uri": uri, "expires_in": 60})
}

func (p *IdP) token(w http.ResponseWriter, form url.Values, client *Client) {
	switch form.Get("grant_type") {
	case "authorization_code":
		p.redeem(w, form, client)
	case "refresh_token":
		p.refreshed(w, form, client)
	case "client_credentials":
		writeJSON(w, http.StatusOK, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "scope": form.Get("scope")})
	case "urn:ietf:params:oauth:grant-type:device_code":
		d := p.devices[form.Get("device_code")]
		if d == nil || d.client != client {
			refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
		delete(p.devices, form.Get("device_code"))
		p.grant(w, &family{client: client, scope: d.scope, login: &login{user: p.User, sid: rand.Text(), at: p.Now()}}, "", true)
	default:
		refuse(w, http.StatusBadRequest, "unsupported_grant_type")
	}
}

// redeem is the code grant. A code that comes again ends all that came of it (RFC
// 6749 section 4.1.2).
func (p *IdP) redeem(w http.ResponseWriter, form url.Values, client *Client) {
	c := p.codes[form.Get("code")]
	if c == nil || c.family.client != client || c.redirect != form.Get("redirect_uri") || !p.Now().Before(c.until) {
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	if c.used {
		c.family.ended = true
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if c.challenge != "" && c.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	c.used = true
	p.grant(w, c.family, c.nonce, p.RefreshUnasked || slices.Contains(strings.Fields(c.family.scope), "offline_access"))
}

// refreshed is the refresh grant. A refresh token that comes again ends its family
// (RFC 9700 section 4.14.2).
func (p *IdP) refreshed(w http.ResponseWriter, form url.Values, client *Client) {
	token := form.Get("refresh_token")
	f := p.refresh[token]
	if f == nil || f.client != client || f.ended {
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	if p.current[f] != token {
		f.ended = true
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	for s := range strings.FieldsSeq(form.Get("scope")) {
		if !slices.Contains(strings.Fields(f.scope), s) {
			refuse(w, http.StatusBadRequest, "invalid_scope")
			return
		}
	}
	p.grant(w, f, "", true)
}

// grant answers with tokens.
func (p *IdP) grant(w http.ResponseWriter, f *family, nonce string, refresh bool) {
	access := rand.Text()
	p.access[access] = f
	answer := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 300, "scope": f.scope}
	if refresh {
		token := p.current[f]
		if token == "" || !p.KeepRefresh {
			token = rand.Text()
		}
		p.refresh[token], p.current[f] = f, token
		answer["refresh_token"] = token
	}
	if slices.Contains(strings.Fields(f.scope), "openid") {
		answer["id_token"] = p.idToken(f, nonce)
	}
	writeJSON(w, http.StatusOK, answer)
}

func (p *IdP) userinfo(w http.ResponseWriter, r *http.Request) {
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	f := p.access[token]
	if f == nil || f.ended {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"sub": f.login.user})
}
