package proxy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// ownerLife is how long the upstream's word on a redirect_uri is remembered.
const ownerLife = time.Hour

// maxOwners bounds what is remembered of it.
const maxOwners = 10000

// redirectOwners knows which client owns which redirect_uri, by what the
// upstream itself has shown: it redirected there, or did when asked. Without
// that an error would make the gateway an open redirector.
type redirectOwners struct {
	g     *Gateway
	known *recent[[sha256.Size]byte, struct{}]
	// asking is by ownerKey.
	asking *asking[[sha256.Size]byte, struct{}]
}

func newRedirectOwners(g *Gateway) *redirectOwners {
	return &redirectOwners{g: g, known: newRecent[[sha256.Size]byte, struct{}](maxOwners, g.Now), asking: newAsking[[sha256.Size]byte, struct{}](g.Now)}
}

func ownerKey(client, redirectURI string) [sha256.Size]byte {
	return sha256.Sum256([]byte(client + "\x00" + redirectURI))
}

// saw takes a redirect that the upstream answered an authorization request with.
func (o *redirectOwners) saw(r *http.Request, resp *http.Response) {
	if !isRedirect(resp.StatusCode) || r.Method != http.MethodGet {
		return
	}
	location := resp.Header.Get("Location")
	if _, ok := rewrite.LocationParams(location); !ok {
		return
	}
	form, err := rewrite.ParseForm(r.URL.RawQuery)
	if err != nil || form.Duplicate() != "" || form.Lookalike(decisive...) != "" || form.Has("request") || form.Has("request_uri") {
		return
	}
	client, uri := form.Get("client_id"), form.Get("redirect_uri")
	if client != "" && leadsTo(location, uri) {
		o.known.add(ownerKey(client, uri), struct{}{}, ownerLife)
	}
}

// leadsTo says whether a Location is a redirect_uri with response parameters
// added, and nothing else.
func leadsTo(location, uri string) bool {
	want, err := url.Parse(uri)
	if err != nil || !want.IsAbs() || want.Fragment != "" || want.User != nil {
		return false
	}
	got, err := url.Parse(location)
	if err != nil || got.User != nil {
		return false
	}
	rest, sameQuery := strings.CutPrefix(got.RawQuery, want.RawQuery)
	sameQuery = sameQuery && (want.RawQuery == "" || rest == "" || rest[0] == '&')
	samePath := got.EscapedPath() == want.EscapedPath() || strings.Trim(got.EscapedPath(), "/") == "" && want.EscapedPath() == ""
	return samePath && got.Opaque == want.Opaque && strings.EqualFold(got.Scheme, want.Scheme) && strings.EqualFold(got.Host, want.Host) && sameQuery
}

// deliver is the redirect that gives an error to the client (RFC 6749 section
// 4.1.2.1, RFC 9207 for iss). It is false where that is not known to be safe.
func (o *redirectOwners) deliver(r *http.Request, p *upstream.Provider, form *rewrite.Form, e *ortengine.Error) (string, bool) {
	client, uri := form.Get("client_id"), form.Get("redirect_uri")
	fragment, ok := inFragment(form)
	if client == "" || uri == "" || !ok || form.Duplicate(manyTimes...) != "" {
		return "", false
	}
	if u, err := url.Parse(uri); err != nil || !u.IsAbs() || u.Fragment != "" || strings.ContainsAny(uri, "\r\n\t \\#") {
		return "", false
	}
	if !o.owns(r.Context(), p, client, uri) {
		return "", false
	}
	pairs := [][2]string{{"error", e.Code}, {"error_description", e.Description}}
	if form.Has("state") {
		pairs = append(pairs, [2]string{"state", form.Get("state")})
	}
	if p.IssParameter {
		pairs = append(pairs, [2]string{"iss", p.Issuer})
	}
	return rewrite.AppendParams(uri, fragment, pairs...), true
}

// inFragment says where a response goes; not ok where that is neither query nor
// fragment (OAuth 2.0 Multiple Response Types sections 2.1 and 5).
func inFragment(form *rewrite.Form) (fragment, ok bool) {
	switch mode := form.Get("response_mode"); mode {
	case "query":
		return false, true
	case "fragment":
		return true, true
	case "":
		types := form.Get("response_type")
		return rewrite.HasScope(types, "token") || rewrite.HasScope(types, "id_token"), true
	}
	return false, false
}

// owns says whether a client owns a redirect_uri, by what was seen or by asking.
func (o *redirectOwners) owns(ctx context.Context, p *upstream.Provider, client, uri string) bool {
	key := ownerKey(client, uri)
	if _, ok := o.known.get(key); ok {
		return true
	}
	got := o.asking.ask(ctx, key, func(ctx context.Context) answer[struct{}] { return o.ask(ctx, p, client, uri) })
	if got.yes {
		o.known.add(key, struct{}{}, ownerLife)
	}
	return got.yes
}

// ask asks the upstream whether a client owns a redirect_uri: an authorization
// request without cookies that may show no page has to be answered there.
func (o *redirectOwners) ask(ctx context.Context, p *upstream.Provider, client, uri string) (a answer[struct{}]) {
	endpoint, err := url.Parse(p.Authorization)
	if err != nil {
		return a
	}
	sum := sha256.Sum256([]byte(rand.Text()))
	query := url.Values{
		"client_id": {client}, "redirect_uri": {uri}, "response_type": {"code"}, "scope": {"openid"}, "prompt": {"none"},
		"state": {rand.Text()}, "nonce": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodGet, o.g.Upstream.Scheme+"://"+o.g.Upstream.Host+withQuery(endpoint.EscapedPath(), endpoint.RawQuery, query.Encode()), nil)
	if err != nil {
		return a
	}
	upstream.PublicName(out, o.g.Public)
	resp, err := o.g.Transport.RoundTrip(out)
	if err != nil {
		return a
	}
	resp.Body.Close()
	a.there = resp.StatusCode < 500
	location := resp.Header.Get("Location")
	_, ok := rewrite.LocationParams(location)
	a.yes = ok && isRedirect(resp.StatusCode) && leadsTo(location, uri)
	return a
}
