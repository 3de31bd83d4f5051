package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// Auth0 says whether and how Auth0's own paths are served, so that its SDKs run
// unmodified.
type Auth0 struct {
	Paths bool
	// AudienceAsResource sends the parameter audience on as resource (RFC 8707).
	AudienceAsResource bool
}

// auth0Paths are the paths that Auth0's SDKs call.
func auth0Paths(p *upstream.Provider) []struct {
	path      string
	kind      endpoint
	published string
} {
	return []struct {
		path      string
		kind      endpoint
		published string
	}{
		{"/authorize", endpointAuthorization, p.Authorization},
		{"/oauth/token", endpointToken, p.Token},
		{"/oauth/revoke", endpointRevocation, p.Revocation},
		{"/v2/logout", endpointEndSession, p.EndSession},
		{"/oauth/par", endpointPAR, p.PushedAuthorization},
		{"/oauth/device/code", endpointDevice, p.DeviceAuthorization},
		{"/userinfo", endpointUserinfo, p.Userinfo},
		{"/.well-known/jwks.json", endpointJWKS, p.JWKS},
	}
}

// addAuth0 adds the aliases to a table, unless the upstream itself has something
// at their path.
func (g *Gateway) addAuth0(t *routes, byPath map[string]*location, p *upstream.Provider) {
	for _, a := range auth0Paths(p) {
		if path, ok := g.pathOf(a.kind, a.published); ok {
			t.alias(byPath, location{kind: a.kind, alias: a.path, path: path, query: queryOf(a.published)}, p)
		} else if a.kind == endpointRevocation && a.published == "" {
			t.alias(byPath, location{kind: endpointRevocation, alias: a.path, path: ownRevocation}, p)
		}
	}
	issuer, err := url.Parse(p.Issuer)
	if err != nil {
		return
	}
	own := upstream.DiscoveryPaths(issuer)
	server := own[1]
	for _, path := range own[1:] { // RFC 8414 section 3.1, or as providers have it
		if _, there := p.Documents[path]; there {
			server = path
			break
		}
	}
	t.alias(byPath, location{kind: endpointDiscovery, alias: "/.well-known/openid-configuration", path: own[0]}, p)
	t.alias(byPath, location{kind: endpointDiscovery, alias: "/.well-known/oauth-authorization-server", path: server}, p)
}

func (t *routes) alias(byPath map[string]*location, l location, p *upstream.Provider) {
	for taken := range byPath { // however it is spelled
		if canonicalPath(taken) == canonicalPath(l.alias) {
			return
		}
	}
	l.providers = []*upstream.Provider{p}
	byPath[l.alias] = &l
	t.locations = append(t.locations, &l)
}

type calledPath struct{}

// pathCalled is the path of a request as its client called it.
func pathCalled(r *http.Request) string {
	if path, ok := r.Context().Value(calledPath{}).(string); ok {
		return path
	}
	return r.URL.EscapedPath()
}

// leadToOwn sends a browser on to the upstream's own endpoint: cookies of an
// upstream that is not at the root come with no other path.
func (g *Gateway) leadToOwn(w http.ResponseWriter, r *http.Request, at *location) {
	query := r.URL.RawQuery
	if at.kind == endpointEndSession {
		query = returnTo(query)
	}
	target := withQuery(g.Public.Scheme+"://"+g.Public.Host+at.path, at.query, query)
	w.Header().Set("Location", target)
	w.Header().Set("Cache-Control", "no-store")
	status := http.StatusFound
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		status = http.StatusTemporaryRedirect
	}
	w.WriteHeader(status)
}

// translate makes of a request to one of Auth0's paths one to the upstream's own,
// and of a body that Auth0's SDKs send one that it reads.
func (g *Gateway) translate(w http.ResponseWriter, r *http.Request, at *location) (*http.Request, *ortengine.Error) {
	if at.alias == "" { // the upstream's own path: the body alone may be Auth0's
		out := r.WithContext(r.Context())
		return out, g.translateBody(w, out, at)
	}
	out := r.WithContext(context.WithValue(r.Context(), calledPath{}, r.URL.EscapedPath()))
	target := withQuery(at.path, at.query, r.URL.RawQuery)
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, invalidRequest("The query cannot be read")
	}
	out.URL, out.RequestURI = u, target
	return out, g.translateBody(w, out, at)
}

// readsForms says whether an endpoint takes forms that the gateway reads.
func (l *location) readsForms() bool {
	switch l.kind {
	case endpointToken, endpointRevocation, endpointIntrospection, endpointPAR, endpointDevice, endpointBackchannel:
		return true
	}
	return l.path == ownRevocation
}

// translateBody makes a form of a JSON body, and renames its audience. r is
// changed.
func (g *Gateway) translateBody(w http.ResponseWriter, r *http.Request, at *location) *ortengine.Error {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isJSON, renames := media == "application/json", g.Auth0.AudienceAsResource && media == "application/x-www-form-urlencoded"
	if r.Method != http.MethodPost || !at.readsForms() || !isJSON && !renames {
		return nil
	}
	raw, e := readBody(w, r)
	if e != nil {
		return e
	}
	body := string(raw)
	if isJSON {
		form, ok := formOfJSON(raw)
		if !ok {
			return invalidRequest("The body is not a JSON object of texts, numbers and booleans")
		}
		body = form
		r.Header = r.Header.Clone()
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if g.Auth0.AudienceAsResource && (at.kind == endpointToken || at.kind == endpointPAR) {
		body = renameIn(body, "audience", "resource")
	}
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return nil
}

// renameAudience renames it in an authorization request, where the upstream knows
// resources only. A request object cannot be rewritten, nor what stands beside it.
func (g *Gateway) renameAudience(form *rewrite.Form) bool {
	return g.Auth0.Paths && g.Auth0.AudienceAsResource && !form.Has("request") && rename(form, "audience", "resource")
}

// renameIn is rename for parameters as they are sent; what cannot be read stays.
func renameIn(params, from, to string) string {
	form, err := rewrite.ParseForm(params)
	if err != nil || !rename(form, from, to) {
		return params
	}
	return form.String()
}

// returnTo gives Auth0's parameter the name that it has elsewhere (OIDC
// RP-Initiated Logout section 2), unless that is there too.
func returnTo(query string) string {
	form, err := rewrite.ParseForm(query)
	if err != nil || form.Has("post_logout_redirect_uri") || !rename(form, "returnTo", "post_logout_redirect_uri") {
		return query
	}
	return form.String()
}

// rename gives a parameter another name; a value that is there under that name is
// not repeated.
func rename(form *rewrite.Form, from, to string) bool {
	if !form.Has(from) {
		return false
	}
	for _, v := range form.Values(from) {
		if !slices.Contains(form.Values(to), v) {
			form.Add(to, v)
		}
	}
	form.Del(from)
	return true
}

// formOfJSON makes a form of a flat JSON object: a member that occurs twice or is
// nested makes it none.
func formOfJSON(raw []byte) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return "", false
	}
	form, seen := &rewrite.Form{}, map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil || seen[name.(string)] {
			return "", false
		}
		seen[name.(string)] = true
		value, err := d.Token()
		if err != nil {
			return "", false
		}
		switch v := value.(type) {
		case string:
			form.Add(name.(string), v)
		case json.Number:
			form.Add(name.(string), v.String())
		case bool:
			form.Add(name.(string), map[bool]string{true: "true", false: "false"}[v])
		case nil:
		default:
			return "", false
		}
	}
	if _, err := d.Token(); err != nil {
		return "", false
	}
	_, err := d.Token()
	return form.String(), err == io.EOF
}
