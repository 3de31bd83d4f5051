package proxy

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/ortengine"
)

// refusal makes an error of the gateway's own.
func refusal(status int, code, description string) *ortengine.Error {
	return &ortengine.Error{Status: status, Code: code, Description: description, Result: "other"}
}

func invalidRequest(description string) *ortengine.Error {
	return refusal(http.StatusBadRequest, ortengine.InvalidRequest, description)
}

// upstreamDown is the answer of a token-like endpoint whose upstream does not
// answer.
func upstreamDown(cause error) *ortengine.Error {
	return ortengine.Unavailable("upstream_unavailable", "The identity provider does not answer", cause)
}

// writeError is the one place where errors become JSON (RFC 6749 section 5.2).
func writeError(w http.ResponseWriter, e *ortengine.Error) {
	body, _ := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, e.Description})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	setRetryAfter(h, e.RetryAfter)
	if e.Status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", `Basic realm="token endpoint"`)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	w.Write(body)
}

func setRetryAfter(h http.Header, d time.Duration) {
	if d > 0 {
		h.Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
	}
}

// proofError turns a refused proof into what a token endpoint answers (RFC 9449
// sections 5 and 8).
func proofError(err error) *ortengine.Error {
	if e, ok := asProofError(err); ok {
		return &ortengine.Error{Status: http.StatusBadRequest, Code: e.Code(), Description: e.Error(), Result: "dpop"}
	}
	return ortengine.Unavailable("store_unavailable", "Proofs cannot be checked for replays now", err)
}

// useNonce says whether an error tells the client to come with a nonce.
func useNonce(e *ortengine.Error) bool { return e.Code == dpop.CodeUseNonce }

// errorPage is a page: title, title, text and code, all escaped.
const errorPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title><style>
:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1.5rem}
h1{font-size:1.4rem}code{font-size:.95em;opacity:.8}</style></head>
<body><h1>%s</h1><p>%s</p><p><code>%s</code></p></body></html>
`

// writePage is an error as a person meets it, where it cannot be given to the
// client.
func writePage(w http.ResponseWriter, e *ortengine.Error) {
	title := "This sign-in request cannot be used"
	if e.Status >= 500 {
		title = "Sign-in is not available right now"
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	setRetryAfter(h, e.RetryAfter)
	w.WriteHeader(e.Status)
	fmt.Fprintf(w, errorPage, title, title, html.EscapeString(e.Description), html.EscapeString(e.Code))
}
