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

// set gives a browser its cookie, or renews it.
func (b *browsers) set(h http.Header, value string) {
	line := b.name + "=" + value + "; Path=/; Max-Age=" + strconv.Itoa(int(b.life/time.Second)) + "; HttpOnly; SameSite=Lax"
	if b.secure {
		line += "; Secure"
	}
	h.Add("Set-Cookie", line)
}
