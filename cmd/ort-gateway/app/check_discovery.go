package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// document is what an issuer publishes of itself, its documents put together (OIDC Discovery section 3, RFC 8414
// section 2). It is read here apart from proxy/upstream, since check also looks at one that the gateway would not use.
type document struct {
	Issuer              string   `json:"issuer"`
	Authorization       string   `json:"authorization_endpoint"`
	Token               string   `json:"token_endpoint"`
	Userinfo            string   `json:"userinfo_endpoint"`
	JWKS                string   `json:"jwks_uri"`
	EndSession          string   `json:"end_session_endpoint"`
	Revocation          string   `json:"revocation_endpoint"`
	Introspection       string   `json:"introspection_endpoint"`
	PushedAuthorization string   `json:"pushed_authorization_request_endpoint"`
	DeviceAuthorization string   `json:"device_authorization_endpoint"`
	RequireSignedObject bool     `json:"require_signed_request_object"`
	ResponseTypes       []string `json:"response_types_supported"`
	GrantTypes          []string `json:"grant_types_supported"`
	Scopes              []string `json:"scopes_supported"`
	Claims              []string `json:"claims_supported"`
	SubjectTypes        []string `json:"subject_types_supported"`
	ChallengeMethods    []string `json:"code_challenge_methods_supported"`
	TokenAuthMethods    []string `json:"token_endpoint_auth_methods_supported"`
	DPoPAlgs            []string `json:"dpop_signing_alg_values_supported"`
	BackChannel         bool     `json:"backchannel_logout_supported"`
	BackChannelSession  bool     `json:"backchannel_logout_session_supported"`
	from                string   // the path of the first document, without query
	answer              *answer  // that document's
}

// endpoints are the addresses in a document, in the order in which they are told.
func (d *document) endpoints() []struct{ name, address string } {
	return []struct{ name, address string }{
		{"authorization_endpoint", d.Authorization}, {"token_endpoint", d.Token}, {"userinfo_endpoint", d.Userinfo},
		{"jwks_uri", d.JWKS}, {"end_session_endpoint", d.EndSession}, {"revocation_endpoint", d.Revocation},
		{"introspection_endpoint", d.Introspection}, {"pushed_authorization_request_endpoint", d.PushedAuthorization},
		{"device_authorization_endpoint", d.DeviceAuthorization},
	}
}

// discover fetches the issuer's documents. Nil: there is none that can be read.
func (c *checker) discover(ctx context.Context, issuer string) *target {
	t := &target{report: c.report, issuer: issuer, idp: &general, clients: map[string]clientAnswer{}, origins: map[string]string{}}
	u, err := url.Parse(issuer)
	if err != nil { // Load has parsed it
		return nil
	}
	kinds := []string{"OpenID Connect", "RFC 8414", "RFC 8414"}
	var misses []string
	for i, path := range upstream.DiscoveryPaths(u) {
		a, err := c.ask(ctx, probe{method: http.MethodGet, path: path, header: http.Header{"Accept": {"application/json"}}})
		if err != nil {
			text, change := whyNot(err)
			c.down = t.doc == nil
			t.note(levelFail, "upstream", fmt.Sprintf("%s does not answer: %s", c.settings.UpstreamURL, text), change)
			break
		}
		if t.doc == nil && len(misses) == 0 {
			c.noteUpstream(t, a)
		}
		d, fault := readDocument(a, path)
		switch {
		case fault != "":
			misses = append(misses, path+" "+fault)
		case t.doc == nil:
			t.doc = d
			t.ok("discovery", kinds[i]+" document at "+path)
		case d.Issuer != t.doc.Issuer:
			t.note(levelWarn, "discovery", fmt.Sprintf("the %s document at %s has another issuer (%s), so it is not used", kinds[i], path, quoted(d.Issuer)), t.idp.say(wordIssuer, t, ""))
		default:
			t.doc.fill(d)
			t.ok("discovery", kinds[i]+" document at "+path)
		}
	}
	if t.doc == nil {
		if len(misses) > 0 {
			t.note(levelFail, "discovery", "no discovery document: "+strings.Join(misses, ", "), guess(issuer).say(wordDiscovery, t, ""))
		}
		return nil
	}
	t.idp = recognise(t.doc)
	if t.idp == &general {
		t.skip("identity provider", "none that is known by its metadata, so what to change is said in general words")
	} else {
		t.ok("identity provider", t.idp.name+", known by its metadata")
	}
	return t
}

// readDocument reads a discovery document, or says what is wrong with the answer.
func readDocument(a *answer, path string) (*document, string) {
	if a.status != http.StatusOK {
		return nil, fmt.Sprintf("answers %d", a.status)
	}
	d := &document{from: path, answer: a}
	if json.Unmarshal(a.body, d) != nil {
		return nil, "is not a JSON document of metadata"
	}
	return d, ""
}

// fill takes from another document what is missing.
func (d *document) fill(o *document) {
	for _, f := range []struct{ to, from *string }{
		{&d.Authorization, &o.Authorization}, {&d.Token, &o.Token}, {&d.Userinfo, &o.Userinfo}, {&d.JWKS, &o.JWKS},
		{&d.EndSession, &o.EndSession}, {&d.Revocation, &o.Revocation}, {&d.Introspection, &o.Introspection},
		{&d.PushedAuthorization, &o.PushedAuthorization}, {&d.DeviceAuthorization, &o.DeviceAuthorization},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	for _, f := range []struct{ to, from *[]string }{
		{&d.ResponseTypes, &o.ResponseTypes}, {&d.GrantTypes, &o.GrantTypes}, {&d.Scopes, &o.Scopes}, {&d.Claims, &o.Claims},
		{&d.SubjectTypes, &o.SubjectTypes}, {&d.ChallengeMethods, &o.ChallengeMethods}, {&d.TokenAuthMethods, &o.TokenAuthMethods},
		{&d.DPoPAlgs, &o.DPoPAlgs},
	} {
		if len(*f.to) == 0 {
			*f.to = *f.from
		}
	}
	d.BackChannel = d.BackChannel || o.BackChannel
	d.BackChannelSession = d.BackChannelSession || o.BackChannelSession
	d.RequireSignedObject = d.RequireSignedObject || o.RequireSignedObject
}

// checkIssuerName compares byte for byte (RFC 8414 section 3.3): clients do, and the gateway uses no other document.
func (c *checker) checkIssuerName(_ context.Context, t *target) {
	if t.doc.Issuer == t.issuer {
		t.ok("issuer", "exactly "+t.issuer)
		return
	}
	text := fmt.Sprintf("the document says %s, ORT_ISSUER says %s: ", quotedAll(t.doc.Issuer), quotedAll(t.issuer))
	got, err := url.Parse(t.doc.Issuer)
	want, _ := url.Parse(t.issuer)
	switch {
	case err != nil || got.Host == "":
		text += "no URL"
	case strings.TrimSuffix(t.doc.Issuer, "/") == strings.TrimSuffix(t.issuer, "/"):
		t.note(levelFail, "issuer", text+"the slash at the end differs", "ORT_ISSUER="+plainText(t.doc.Issuer))
		return
	case !strings.EqualFold(got.Host, want.Host):
		text += "the host differs"
	case got.Scheme != want.Scheme:
		text += "the scheme differs, so " + t.idp.name + " does not know that it is reached by " + want.Scheme
	case originOf(got) == originOf(want):
		t.note(levelFail, "issuer", text+"the path differs", "ORT_ISSUER="+plainText(t.doc.Issuer)+", or "+t.idp.say(wordIssuer, t, ""))
		return
	}
	t.note(levelFail, "issuer", text, t.idp.say(wordIssuer, t, ""))
}

// quotedAll is quoted for a URL, which may be longer.
func quotedAll(s string) string { return `"` + plainText(s) + `"` }

// checkEndpoints looks whether every endpoint is on the public origin: what is elsewhere passes the gateway by.
func (c *checker) checkEndpoints(_ context.Context, t *target) {
	var missing, off, origins []string
	good := 0
	for i, e := range t.doc.endpoints() {
		if e.address == "" {
			if i < 2 || e.name == "jwks_uri" {
				missing = append(missing, e.name)
			}
			continue
		}
		u, err := url.Parse(e.address)
		if err != nil || u.Host == "" || originOf(u) != originOf(c.settings.PublicOrigin) {
			off = append(off, e.name+" "+plainText(e.address))
			if err == nil && !slices.Contains(origins, originOf(u)) {
				origins = append(origins, originOf(u))
			}
			continue
		}
		good++
	}
	if len(missing) > 0 {
		t.note(levelFail, "endpoints", "missing in the metadata: "+strings.Join(missing, ", "), t.idp.say(wordDiscovery, t, ""))
	}
	if good == 0 && len(off) > 1 && len(origins) == 1 {
		off = []string{fmt.Sprintf("all %d are on %s", len(off), plainText(origins[0]))}
	}
	if len(off) > 0 {
		t.note(levelFail, "endpoints", fmt.Sprintf("not on the public origin %s, so clients would pass the gateway by: %s",
			originOf(c.settings.PublicOrigin), strings.Join(off, ", ")), t.idp.say(wordIssuer, t, "")+"; "+t.idp.say(wordForwarded, t, ""))
	}
	if len(missing)+len(off) == 0 {
		t.ok("endpoints", fmt.Sprintf("all %d on the public origin %s", good, originOf(c.settings.PublicOrigin)))
	}
}

// checkForwarded asks once more as somebody does who reaches the upstream directly, to see where its links come from.
func (c *checker) checkForwarded(ctx context.Context, t *target) {
	a, err := c.ask(ctx, probe{method: http.MethodGet, path: t.doc.from, header: http.Header{"Accept": {"application/json"}}, bare: true})
	if err != nil {
		text, _ := whyNot(err)
		t.skip("forwarded headers", "the document could not be fetched under the upstream's own name: "+text)
		return
	}
	bare, fault := readDocument(a, t.doc.from)
	switch {
	case fault != "":
		t.ok("forwarded headers", "under another name than the public one the document "+fault)
	case bare.Issuer == t.doc.Issuer && bare.Token == t.doc.Token && bare.Authorization == t.doc.Authorization:
		t.ok("forwarded headers", "links are the same whatever name is asked: they come from a setting; see cookies for X-Forwarded-Proto")
	default:
		t.ok("forwarded headers", "links follow Host, X-Forwarded-Host and X-Forwarded-Proto, which the gateway sets")
	}
}

// checkRequests looks whether the upstream takes the requests that the gateway makes of its clients' own.
func (c *checker) checkRequests(_ context.Context, t *target) {
	if len(t.doc.ResponseTypes) > 0 && !slices.Contains(t.doc.ResponseTypes, "code") {
		t.note(levelFail, "authorization code", "response_types_supported has no code: no ORT without the code flow", t.idp.say(wordCode, t, ""))
	}
	if t.doc.RequireSignedObject {
		t.note(levelFail, "request objects", "require_signed_request_object: signed requests cannot be rewritten, so none gets an ORT",
			"switch the demand for signed request objects off at the identity provider")
	}
}
