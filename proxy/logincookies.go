package proxy

import (
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// loginCookies knows the identity provider's own cookies that carry its login, by
// name. Their values are only ever hashed.
type loginCookies struct {
	names []string
	now   func() time.Time
}

// loginCookie is one of them as a request carries it.
type loginCookie struct {
	pair string // name=value as sent
	hash sessions.CookieHash
}

// in are the login cookies of a request.
func (l *loginCookies) in(h http.Header) (found []loginCookie) {
	for _, line := range h["Cookie"] {
		if !l.mentioned(line) {
			continue
		}
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			name, value, ok := strings.Cut(pair, "=")
			if ok && value != "" && slices.Contains(l.names, name) {
				found = append(found, loginCookie{pair, sessions.HashLoginCookie(name, value)})
			}
		}
	}
	return found
}

// mentioned is a cheap look before a line is taken apart.
func (l *loginCookies) mentioned(line string) bool {
	for _, n := range l.names {
		if strings.Contains(line, n) {
			return true
		}
	}
	return false
}

// setBy are the login cookies that an answer sets; expired says whether it ends
// one.
func (l *loginCookies) setBy(h http.Header) (set []sessions.CookieHash, expired bool) {
	for _, line := range h["Set-Cookie"] {
		first, attributes, _ := strings.Cut(line, ";")
		name, value, ok := strings.Cut(strings.TrimSpace(first), "=")
		if name = strings.TrimSpace(name); !ok || !slices.Contains(l.names, name) {
			continue
		}
		value = strings.TrimSpace(value)
		if strings.Trim(value, `"`) == "" || l.over(attributes) {
			expired = true
			continue
		}
		set = append(set, sessions.HashLoginCookie(name, value))
	}
	return set, expired
}

// over says whether a Set-Cookie line's attributes end the cookie at once (RFC
// 6265 section 5.2: Max-Age goes before Expires).
func (l *loginCookies) over(attributes string) bool {
	expired := false
	for a := range strings.SplitSeq(attributes, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(a), "=")
		switch {
		case strings.EqualFold(name, "Max-Age"):
			if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
				return n <= 0
			}
		case strings.EqualFold(name, "Expires"):
			if at, err := http.ParseTime(strings.TrimSpace(value)); err == nil {
				expired = !at.After(l.now())
			}
		}
	}
	return expired
}

func hashes(cookies []loginCookie) []sessions.CookieHash {
	out := make([]sessions.CookieHash, len(cookies))
	for i, c := range cookies {
		out[i] = c.hash
	}
	return out
}

// maxLoginCookies is how many login cookies of one request are looked at: browsers
// have a few, and more do not go up.
const maxLoginCookies = 16

// withhold takes dead login cookies out of a request to the upstream, and says
// which ones go up. Where nobody can tell, the error says so and those that are
// left are the request's.
func (g *Gateway) withhold(out *http.Request, cookies []loginCookie) ([]sessions.CookieHash, error) {
	if len(cookies) == 0 {
		return nil, nil
	}
	var cut []string
	for len(cookies) > maxLoginCookies {
		last := cookies[len(cookies)-1]
		cut, cookies = append(cut, last.pair), cookies[:len(cookies)-1]
	}
	dead, err := g.Engine.DeadCookies(out.Context(), hashes(cookies))
	if err != nil {
		return hashes(cookies), err
	}
	var sent []sessions.CookieHash
	for i, c := range cookies {
		if dead[i] {
			cut = append(cut, c.pair)
		} else {
			sent = append(sent, c.hash)
		}
	}
	if len(cut) > 0 {
		cutPairs(out.Header, cut)
	}
	return sent, nil
}

// cutPairs takes name=value pairs out of the Cookie field; other pairs keep their
// bytes.
func cutPairs(h http.Header, pairs []string) {
	var lines []string
	for _, line := range h["Cookie"] {
		var kept []string
		for pair := range strings.SplitSeq(line, ";") {
			if !slices.Contains(pairs, strings.TrimSpace(pair)) {
				kept = append(kept, pair)
			}
		}
		if left := strings.TrimSpace(strings.Join(kept, ";")); left != "" {
			lines = append(lines, left)
		}
	}
	if len(lines) == 0 {
		h.Del("Cookie")
		return
	}
	h["Cookie"] = lines
}

// follow notes what an answer does to the login cookies, before its header
// leaves, and says which it sets. The error is the store's.
func (g *Gateway) follow(r *http.Request, resp *http.Response, sent []sessions.CookieHash, atEndSession bool) ([]sessions.CookieHash, error) {
	if len(resp.Header["Set-Cookie"]) == 0 {
		return nil, nil
	}
	set, expired := g.logins.setBy(resp.Header)
	if len(set) > 0 {
		return set, g.Engine.CookiesSet(r.Context(), sent, set)
	}
	if expired && len(sent) > 0 {
		return nil, g.Engine.CookiesExpired(r.Context(), sent, atEndSession)
	}
	return nil, nil
}

// seen looks at an answer that passes: what it does to the login cookies, and
// whether it brings a code. cookie is the browser cookie that it sets, empty:
// none. A store that is down holds up only what brings a code.
func (g *Gateway) seen(r *http.Request, resp *http.Response, cookie string, sent []sessions.CookieHash) error {
	if len(resp.Header["Set-Cookie"]) > 0 || isRedirect(resp.StatusCode) {
		r = g.forwarder.withIDs(r) // what comes of it may be logged
	}
	set, err := g.follow(r, resp, sent, false)
	if err != nil {
		g.Logger.LogAttrs(r.Context(), slog.LevelWarn, "following a login cookie", slog.Any("error", err))
	}
	return g.seeRedirect(r, resp, cookie, append(slices.Clone(sent), set...))
}
