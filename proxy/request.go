package proxy

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// manyTimes are the parameters that may stand in a request more than once (RFC
// 8707 section 2).
var manyTimes = []string{"resource", "audience"}

// formRequest is a token-like request whose body was read.
type formRequest struct {
	*http.Request
	at     *location
	raw    []byte
	form   *rewrite.Form
	client string // as form, Basic or assertion name it; empty: not named
}

// readForm reads the body of a token, revocation, introspection, PAR or device
// request. Its error says what the client must mend.
func (g *Gateway) readForm(w http.ResponseWriter, r *http.Request, at *location) (*formRequest, *ortengine.Error) {
	if e := checkFormHeader(r.Header); e != nil {
		return nil, e
	}
	raw, e := readBody(w, r)
	if e != nil {
		return nil, e
	}
	return g.parseForm(r, at, raw)
}

// parseForm reads a body that is there.
func (g *Gateway) parseForm(r *http.Request, at *location, raw []byte) (*formRequest, *ortengine.Error) {
	form, err := rewrite.ParseForm(string(raw))
	if err != nil {
		return nil, invalidRequest("The body is not form-urlencoded: bad escapes or too many parameters")
	}
	if form.Lookalike(tokenParameters...) != "" {
		return nil, invalidRequest("A parameter is named like another")
	}
	if form.Duplicate(manyTimes...) != "" {
		return nil, invalidRequest("A parameter is repeated")
	}
	if e := checkQuery(r.URL.RawQuery); e != nil {
		return nil, e
	}
	f := &formRequest{Request: r, at: at, raw: raw, form: form}
	var e *ortengine.Error
	if f.client, e = clientOf(r, form); e != nil {
		return nil, e
	}
	return f, nil
}

// checkFormHeader refuses bodies that the gateway would read in another way than
// the upstream.
func checkFormHeader(h http.Header) *ortengine.Error {
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := params["charset"]
	switch {
	case err != nil || media != "application/x-www-form-urlencoded" || len(h["Content-Type"]) > 1:
		return invalidRequest("The body must be application/x-www-form-urlencoded")
	case charset != "" && !strings.EqualFold(charset, "utf-8"):
		return invalidRequest("The charset of the body must be UTF-8")
	case slices.ContainsFunc(h.Values("Content-Encoding"), func(v string) bool { return v != "" && !strings.EqualFold(v, "identity") }):
		return invalidRequest("The body must not be compressed")
	}
	return nil
}

// tokenParameters decide about tokens. In the query they would be read by an
// upstream that merges query and body, and not by the gateway.
var tokenParameters = []string{
	"grant_type", "code", "code_verifier", "refresh_token", "token", "scope", "audience", "resource",
	"client_id", "client_secret", "client_assertion", "device_code", "auth_req_id", "username", "password",
}

func checkQuery(query string) *ortengine.Error {
	if query == "" {
		return nil
	}
	form, _ := rewrite.ParseForm(query)
	switch {
	case form == nil:
		return invalidRequest("The query has too many parameters")
	case carriesORT(query):
		return invalidRequest("An online refresh token belongs in the body")
	}
	for _, name := range tokenParameters {
		if form.Has(name) {
			return invalidRequest("Parameters belong in the body")
		}
	}
	if form.Lookalike(tokenParameters...) != "" {
		return invalidRequest("Parameters belong in the body")
	}
	return nil
}

// clientOf is the client that a request names: in the form, by HTTP Basic (RFC
// 6749 section 2.3.1), or as the subject of an assertion (RFC 7523 section 3). An
// authentication that cannot be read fails (RFC 6749 section 5.2): the upstream
// might read it, and know another client by it.
func clientOf(r *http.Request, form *rewrite.Form) (string, *ortengine.Error) {
	client := form.Get("client_id")
	if len(r.Header.Values("Authorization")) > 1 {
		return "", invalidRequest("The request authenticates twice")
	}
	for _, named := range []func() (string, bool, bool){
		func() (string, bool, bool) { return basicClient(r) },
		func() (string, bool, bool) { return assertedClient(form) },
	} {
		other, there, ok := named()
		switch {
		case !there:
			continue
		case !ok:
			return "", refusal(http.StatusUnauthorized, ortengine.InvalidClient, "The client authentication cannot be read")
		case client != "" && client != other:
			return "", invalidRequest("The request names two clients")
		}
		client = other
	}
	return client, nil
}

// basicClient is the user name of HTTP Basic, form-decoded. ok is false where it
// cannot be read.
func basicClient(r *http.Request) (name string, there, ok bool) {
	if !isBasic(r.Header.Get("Authorization")) {
		return "", false, false
	}
	name, _, ok = r.BasicAuth()
	if decoded, err := url.QueryUnescape(name); err == nil {
		name = decoded
	}
	return name, true, ok && name != ""
}

// isBasic says whether some reader takes an Authorization value for HTTP Basic.
func isBasic(value string) bool {
	const scheme = "basic"
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return false
	}
	return len(value) == len(scheme) || value[len(scheme)] == ' ' || value[len(scheme)] == '\t'
}

// jwtAssertion is the type of the assertions that are read (RFC 7523 section 2.2).
const jwtAssertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertedClient is the subject of a client assertion. One of another type names
// nobody that the gateway could read (RFC 7522).
func assertedClient(form *rewrite.Form) (name string, there, ok bool) {
	assertion := form.Get("client_assertion")
	kind := form.Get("client_assertion_type")
	name, ok = upstream.ClientOfAssertion(assertion)
	return name, assertion != "" && (ok || kind == "" || kind == jwtAssertion), ok
}

// mayBeOnlineOnly says whether a request may be of a client that gets refresh
// tokens as ORTs alone: one that names none, or whose name in HTTP Basic the
// upstream may not decode.
func (g *Gateway) mayBeOnlineOnly(f *formRequest) bool {
	name, _, _ := f.BasicAuth()
	return g.Engine.Policy.MayBeOnlineOnly(f.client) || g.Engine.Policy.IsOnlineOnly(name)
}

// authenticates says whether a request carries client authentication; whether
// it is right the upstream says.
func (g *Gateway) authenticates(f *formRequest) bool {
	if _, secret, ok := f.BasicAuth(); ok && secret != "" {
		return true
	}
	return f.form.Get("client_secret") != "" || f.form.Get("client_assertion") != "" || g.forwarder.clientCertificate(f.Request)
}

// audiences are the values of audience and resource, in that order.
func audiences(form *rewrite.Form) []string {
	return append(form.Values("audience"), form.Values("resource")...)
}

// carriesORT says whether an ORT stands anywhere in a body or query, in whatever
// escapes: it must not reach the upstream.
func carriesORT(raw string) bool {
	return strings.Contains(raw, ortengine.Prefix) || strings.Contains(raw, "%") && strings.Contains(string(decodeFully(raw)), ortengine.Prefix)
}

// carriesORTBeside says whether an ORT stands anywhere but in one parameter.
func (f *formRequest) carriesORTBeside(name string) bool {
	rest, err := rewrite.ParseForm(string(f.raw))
	if err != nil {
		return true
	}
	rest.Del(name)
	return carriesORT(rest.String())
}
