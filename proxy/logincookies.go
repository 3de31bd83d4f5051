package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// hashes are the login cookies that a request carries.
func hashes(cookies []loginCookie) []sessions.CookieHash {
	out := make([]sessions.CookieHash, 0, len(cookies))
	for _, c := range cookies {
		if c.hash != "" && !c.loose {
			out = append(out, c.hash)
		}
	}
	return out
}

// maxLoginCookies is how many login cookies of one request are looked at: browsers
// have a few, and more do not go up.
const maxLoginCookies = 16

// withhold takes dead login cookies out of a request to the upstream, and says
// which ones go up. Where nobody can tell of one, the error says so and it stays;
// those that are known to be dead do not.
func (g *Gateway) withhold(out *http.Request, cookies []loginCookie) ([]sessions.CookieHash, error) {
	if len(cookies) == 0 {
		return nil, nil
	}
	var asked []sessions.CookieHash
	for _, c := range cookies {
		if c.hash != "" && len(asked) < maxLoginCookies {
			asked = append(asked, c.hash)
		}
	}
	dead, err := g.Engine.DeadCookies(out.Context(), asked)
	var cut, left []string // pairs that do not go up, and names of those that do
	n := 0
	for _, c := range cookies {
		if c.hash == "" {
			continue
		}
		if n >= len(dead) || dead[n] {
			cut = append(cut, c.pair)
		}
		n++
	}
	var sent []loginCookie
	for _, c := range cookies {
		if c.hash != "" && !slices.Contains(cut, c.pair) {
			sent, left = append(sent, c), append(left, c.name)
		}
	}
	for _, c := range cookies { // further pieces go with the first one
		isCut := func(o loginCookie) bool { return o.hash != "" && o.name == c.name }
		if c.hash == "" && !slices.Contains(left, c.name) && slices.ContainsFunc(cookies, isCut) {
			cut = append(cut, c.pair)
		}
	}
	if len(cut) > 0 {
		cutPairs(out.Header, cut)
	}
	return hashes(sent), err
}

// withheld is withhold for a request that goes up although nobody can tell.
func (g *Gateway) withheld(out, r *http.Request) []sessions.CookieHash {
	sent, err := g.withhold(out, g.logins.in(r.Header))
	g.notLookedUp(out.Context(), err)
	return sent
}

// notLookedUp logs that a request goes up although nobody could tell of all its login
// cookies; a nil error: somebody could.
func (g *Gateway) notLookedUp(ctx context.Context, err error) {
	if err != nil {
		g.Logger.LogAttrs(ctx, slog.LevelWarn, "looking whether a login cookie is dead", slog.Any("error", err))
	}
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
		return nil, g.Engine.CookiesExpired(r.Context(), sessions.BrowserOf(g.browsers.of(r)), sent, atEndSession)
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
