package proxy

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// observe looks at the upstream's answer before it leaves: it gives the browser
// its cookie, notes whose code it brings, and forgets what failed.
func (a *authorization) observe(resp *http.Response, sent []sessions.CookieHash) error {
	if a.cookie != "" {
		a.browsers.set(resp.Header, a.cookie)
		forbidCaching(resp.Header)
	}
	a.owners.saw(a.from, resp)
	if isRedirect(resp.StatusCode) {
		if params, ok := rewrite.LocationParams(resp.Header.Get("Location")); ok && params.Has("error") {
			a.forget()
		}
	}
	set, err := a.follow(a.from, resp, sent, false)
	if err == nil {
		err = a.seeRedirect(a.from, resp, a.cookie, append(slices.Clone(sent), set...))
	}
	if err != nil && len(a.begun) == 0 && a.cookie == "" && len(sent) == 0 {
		a.Logger.LogAttrs(a.from.Context(), slog.LevelWarn, "following a login", slog.Any("error", err))
		return nil // no ORT comes of it, and no session's login is in it
	}
	return err
}

// forbidCaching keeps an answer with a browser's cookie out of shared caches.
func forbidCaching(h http.Header) { h.Set("Cache-Control", "no-store") }

func isRedirect(status int) bool { return status >= 300 && status < 400 }

// seeRedirect notes the browser whose request is answered with a code, and its
// login cookies, before the redirect with it leaves.
func (g *Gateway) seeRedirect(r *http.Request, resp *http.Response, cookie string, logins []sessions.CookieHash) error {
	if !isRedirect(resp.StatusCode) {
		return nil
	}
	params, ok := rewrite.LocationParams(resp.Header.Get("Location"))
	if !ok {
		return nil
	}
	if params.Has("code") && !repeatsOwn(r, params) {
		if cookie == "" {
			cookie = g.meets(r, resp, params)
		}
		if err := g.sawCode(r, params, cookie, logins); err != nil {
			return err
		}
	}
	g.asMessage(r, resp, params)
	return nil
}

// repeatsOwn says whether a redirect only repeats a code that its request brought:
// that is no answer of the upstream's, and anybody could make a browser ask for it.
func repeatsOwn(r *http.Request, params *rewrite.Form) bool {
	form, _ := rewrite.ParseForm(r.URL.RawQuery)
	if form == nil {
		return true
	}
	for _, code := range params.Values("code") {
		if code != "" && (slices.Contains(form.Values("code"), code) || strings.Contains(r.URL.RawQuery, code)) {
			return true
		}
	}
	return false
}

// sawCode notes a code with the browser that gets it.
func (g *Gateway) sawCode(r *http.Request, params *rewrite.Form, cookie string, logins []sessions.CookieHash) error {
	if cookie == "" && len(logins) == 0 {
		return nil
	}
	codes := params.Values("code")
	return g.Engine.SawCode(r.Context(), codes[len(codes)-1], sessions.BrowserOf(cookie), logins)
}

// fail gives an error to the client's redirect_uri where that is safe, else to
// the person.
func (a *authorization) fail(w http.ResponseWriter, r *http.Request, err error) error {
	e := ortengine.AsError(err)
	var page errPage
	if errors.As(err, &page) || a.failed == nil || e.Status >= 500 {
		return e
	}
	if location, ok := a.owners.deliver(r, a.at.providers[0], a.failed, e); ok && a.message {
		return a.postError(w, location)
	} else if ok {
		w.Header().Set("Location", location)
		w.Header().Set("Cache-Control", "no-store")
		status := http.StatusFound
		if r.Method == http.MethodPost {
			status = http.StatusSeeOther
		}
		w.WriteHeader(status)
		return nil
	}
	return e
}

// postError gives an error to the page that waits for a message.
func (a *authorization) postError(w http.ResponseWriter, location string) error {
	params, _ := rewrite.LocationParams(location)
	page, header, ok := messagePage(location, params)
	if !ok {
		return invalidRequest("redirect_uri has no origin to post to")
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(http.StatusOK)
	w.Write(page)
	return nil
}
