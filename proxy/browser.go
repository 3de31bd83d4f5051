package proxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
)

// The names of the browser cookie: the second where the public origin is plain
// http, where browsers take no __Host- cookie.
const (
	secureCookie = "__Host-ort"
	plainCookie  = "ort"
)

// browsers gives each user agent a cookie by which its logins are one. It never
// goes upstream.
type browsers struct {
	box    *seal.Box
	name   string
	secure bool
	life   time.Duration
}

func newBrowsers(box *seal.Box, secure bool, life time.Duration) *browsers {
	b := &browsers{box: box, name: plainCookie, secure: secure, life: life}
	if secure {
		b.name = secureCookie
	}
	return b
}

const (
	cookieRandom = 16
	cookieMAC    = 16
)

// of is the value of a request's browser cookie, empty where it has none that the
// gateway made under a current key.
func (b *browsers) of(r *http.Request) string {
	for _, c := range r.CookiesNamed(b.name) {
		if b.made(c.Value) {
			return c.Value
		}
	}
	return ""
}

// made says whether the gateway made a value: nobody can plant one of his own
// choice.
func (b *browsers) made(value string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(raw) != cookieRandom+cookieMAC {
		return false
	}
	for _, key := range b.box.Subkeys() {
		if hmac.Equal(raw[cookieRandom:], cookieTag(key, raw[:cookieRandom])) {
			return true
		}
	}
	return false
}

func cookieTag(key, random []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(random)
	return m.Sum(nil)[:cookieMAC]
}

// fresh makes a value for a browser that has none.
func (b *browsers) fresh() string {
	raw := make([]byte, cookieRandom, cookieRandom+cookieMAC)
	rand.Read(raw)
	return base64.RawURLEncoding.EncodeToString(append(raw, cookieTag(b.box.Subkeys()[0], raw)...))
}

// ofOrFresh is the request's value, or a new one.
func (b *browsers) ofOrFresh(r *http.Request) string {
	if v := b.of(r); v != "" {
		return v
	}
	return b.fresh()
}

// maxBlind bounds how many requests of browsers that could not be told are
// remembered.
const maxBlind = 2000

// crossPosted says whether a request is another site's POST: a browser sends its
// SameSite=Lax cookie with none, so nobody knows whether it has one.
func (g *Gateway) crossPosted(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "cross-site"
	}
	origin := r.Header.Get("Origin")
	return origin != "" && origin != g.Public.Scheme+"://"+g.Public.Host
}

// met is the browser of an authorization request, made known by its cookie. It is
// false for another site's POST without one: a new cookie would take the place of
// one that the browser may have, and its sessions would be found by it no more.
// The request that is answered with the code tells the browser then.
func (a *authorization) met(form *rewrite.Form) bool {
	if !a.crossPosted(a.from) || a.browsers.of(a.from) != "" {
		return true
	}
	if state, uri := form.Get("state"), form.Get("redirect_uri"); state != "" && len(uri) <= 4*maxName {
		a.blind.add(sha256.Sum256([]byte(state)), uri, ownerLife)
	}
	return false
}

// meets is the cookie of the browser that gets a code. One that came without a
// cookie to a login whose browser could not be told has none indeed, and is given
// one, for its logout to be known by.
func (g *Gateway) meets(r *http.Request, resp *http.Response, params *rewrite.Form) string {
	if cookie := g.browsers.of(r); cookie != "" || g.crossPosted(r) {
		return cookie
	}
	uri, waits := g.blind.get(sha256.Sum256([]byte(params.Get("state"))))
	if !waits || !leadsTo(resp.Header.Get("Location"), uri) {
		return ""
	}
	cookie := g.browsers.fresh()
	g.browsers.set(resp.Header, cookie)
	forbidCaching(resp.Header)
	return cookie
}

// set gives a browser its cookie, or renews it.
func (b *browsers) set(h http.Header, value string) {
	line := b.name + "=" + value + "; Path=/; Max-Age=" + strconv.Itoa(int(b.life/time.Second)) + "; HttpOnly; SameSite=Lax"
	if b.secure {
		line += "; Secure"
	}
	h.Add("Set-Cookie", line)
}
