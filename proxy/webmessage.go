package proxy

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
)

// webMessage is Auth0's response mode for popups and hidden frames: the answer is
// posted to the page that opened them.
const webMessage = "web_message"

// asksForMessage takes the response mode out of a request, which goes up as an
// ordinary one, and notes where its answer has to be posted.
func (a *authorization) asksForMessage(form *rewrite.Form) (bool, error) {
	if !a.Auth0.Paths || form.Get("response_mode") != webMessage {
		return false, nil
	}
	state, uri := form.Get("state"), form.Get("redirect_uri")
	if state == "" || uri == "" {
		return false, errPage{invalidRequest("response_mode web_message needs state and redirect_uri")}
	}
	form.Set("response_mode", "query")
	err := a.Engine.NoteWebMessage(a.from.Context(), a.at.providers[0].Authorization, form.Get("client_id"), state, uri, a.forwarder.clientAddr(a.from))
	return err == nil, err
}

// asMessage makes a page of a redirect that answers such a request.
func (g *Gateway) asMessage(r *http.Request, resp *http.Response, params *rewrite.Form) {
	if !g.Auth0.Paths || !params.Has("state") {
		return
	}
	location := resp.Header.Get("Location")
	uri, ok, err := g.Engine.WebMessageTo(r.Context(), params.Get("state"))
	if err != nil { // other logins do not wait for the store
		g.Logger.LogAttrs(r.Context(), slog.LevelWarn, "looking whether a message was asked for", slog.Any("error", err))
		return
	}
	if !ok || !leadsTo(location, uri) {
		return
	}
	page, header, ok := messagePage(uri, params)
	if !ok {
		return
	}
	resp.Body.Close()
	for _, name := range ofTheRedirect {
		resp.Header.Del(name)
	}
	for name, values := range header {
		resp.Header[name] = values
	}
	resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(page)), int64(len(page))
	resp.Header.Set("Content-Length", strconv.Itoa(len(page)))
	resp.TransferEncoding, resp.Trailer = nil, nil
}

// ofTheRedirect are the fields of the upstream's answer that do not fit the page
// in its place: what describes the body, and what keeps a page from the one that
// waits for it.
var ofTheRedirect = []string{
	"Location", "Content-Length", "Content-Encoding", "Content-Language", "Content-Type", "ETag", "Last-Modified", "Trailer",
	"Accept-Ranges", "Content-Digest", "Repr-Digest", "Refresh",
	"X-Frame-Options", "Content-Security-Policy-Report-Only", "Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy", "Cross-Origin-Resource-Policy",
}

// messageScript is the page: its nonce, message and origin. It is put together
// without html/template, which by calling methods by name would keep every method of
// every library in the program. What is put in is JSON, in which <, > and & are
// escapes: nothing in it ends the script.
const messageScript = `<!doctype html>
<html><head><meta charset="utf-8"><title>Signing in</title></head><body>
<script nonce="%s">(window.opener || window.parent).postMessage(%s, %s);</script>
</body></html>
`

// messagePage posts the parameters of a response to the origin of a redirect_uri,
// in the form that Auth0's SDK reads.
func messagePage(uri string, params *rewrite.Form) ([]byte, http.Header, bool) {
	origin, ok := originOf(uri)
	if !ok {
		return nil, nil, false
	}
	response := map[string]string{}
	for _, name := range []string{"code", "state", "error", "error_description", "error_uri", "iss", "session_state"} {
		if params.Has(name) {
			response[name] = params.Get(name)
		}
	}
	message, err := json.Marshal(map[string]any{"type": "authorization_response", "response": response})
	if err != nil {
		return nil, nil, false
	}
	target, err := json.Marshal(origin)
	if err != nil {
		return nil, nil, false
	}
	nonce := rand.Text()
	return fmt.Appendf(nil, messageScript, nonce, message, target), http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Cache-Control":           {"no-store"},
		"Content-Security-Policy": {"default-src 'none'; script-src 'nonce-" + nonce + "'; base-uri 'none'; form-action 'none'; frame-ancestors " + origin},
		"Referrer-Policy":         {"no-referrer"},
		"X-Content-Type-Options":  {"nosniff"},
	}, true
}

// originOf is the origin of a redirect_uri, as it may stand in a policy: nothing in
// it ends a directive.
func originOf(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", false
	}
	for _, c := range []byte(u.Host) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == ':', c == '[', c == ']':
		default:
			return "", false
		}
	}
	return u.Scheme + "://" + u.Host, true
}
