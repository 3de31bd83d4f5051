package upstream

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// Provider is what one issuer publishes of itself (OIDC Discovery section 3, RFC
// 8414 section 2). URLs are as published.
type Provider struct {
	Issuer              string `json:"issuer"`
	Authorization       string `json:"authorization_endpoint"`
	Token               string `json:"token_endpoint"`
	Revocation          string `json:"revocation_endpoint"`
	Introspection       string `json:"introspection_endpoint"`
	PushedAuthorization string `json:"pushed_authorization_request_endpoint"`
	DeviceAuthorization string `json:"device_authorization_endpoint"`
	EndSession          string `json:"end_session_endpoint"`
	// BackchannelAuthentication is CIBA's (OpenID Connect CIBA section 4).
	BackchannelAuthentication string   `json:"backchannel_authentication_endpoint"`
	Userinfo                  string   `json:"userinfo_endpoint"`
	JWKS                      string   `json:"jwks_uri"`
	ChallengeMethods          []string `json:"code_challenge_methods_supported"`
	SubjectTypes              []string `json:"subject_types_supported"`
	IssParameter              bool     `json:"authorization_response_iss_parameter_supported"`
	TokenEndpointMethods      []string `json:"token_endpoint_auth_methods_supported"`

	// Documents are the published bytes by their path, for the discovery endpoint.
	Documents map[string]Document `json:"-"`
}

// Document is a discovery document as the upstream served it.
type Document struct {
	Body   []byte
	Header http.Header
}

// S256 says whether the issuer takes S256 code challenges (RFC 7636); one that
// does not say is believed to.
func (p *Provider) S256() bool {
	if len(p.ChallengeMethods) == 0 {
		return true
	}
	for _, m := range p.ChallengeMethods {
		if m == "S256" {
			return true
		}
	}
	return false
}

// PublicSubjects says whether every client knows a user by the same subject (OIDC
// Core section 8).
func (p *Provider) PublicSubjects() bool {
	return len(p.SubjectTypes) == 1 && p.SubjectTypes[0] == "public"
}

// DiscoveryPaths are the paths of an issuer's documents: OIDC Discovery's first,
// then RFC 8414's, which puts the well-known part before the issuer's path, then
// the form after it that some providers have.
func DiscoveryPaths(issuer *url.URL) []string {
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	paths := []string{
		path + "/.well-known/openid-configuration",
		"/.well-known/oauth-authorization-server" + path,
	}
	if path != "" {
		paths = append(paths, path+"/.well-known/oauth-authorization-server")
	}
	return paths
}

// document is one that was fetched before.
func (p *Provider) document(path string) (Document, bool) {
	if p == nil {
		return Document{}, false
	}
	d, ok := p.Documents[path]
	return d, ok
}

// parseProvider reads a document. A member of another type than it should have is
// as if it were missing.
func parseProvider(body []byte) (*Provider, error) {
	p := new(Provider)
	var mistyped *json.UnmarshalTypeError
	if err := json.Unmarshal(body, p); err != nil && (!errors.As(err, &mistyped) || mistyped.Field == "") {
		return nil, err
	}
	return p, nil
}

// merge takes from another document what is missing.
func (p *Provider) merge(o *Provider) {
	for _, f := range []struct{ to, from *string }{
		{&p.Issuer, &o.Issuer}, {&p.Authorization, &o.Authorization}, {&p.Token, &o.Token}, {&p.Revocation, &o.Revocation},
		{&p.Introspection, &o.Introspection}, {&p.PushedAuthorization, &o.PushedAuthorization},
		{&p.DeviceAuthorization, &o.DeviceAuthorization}, {&p.BackchannelAuthentication, &o.BackchannelAuthentication}, {&p.EndSession, &o.EndSession}, {&p.Userinfo, &o.Userinfo}, {&p.JWKS, &o.JWKS},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	for _, f := range []struct{ to, from *[]string }{
		{&p.ChallengeMethods, &o.ChallengeMethods}, {&p.SubjectTypes, &o.SubjectTypes}, {&p.TokenEndpointMethods, &o.TokenEndpointMethods},
	} {
		if len(*f.to) == 0 {
			*f.to = *f.from
		}
	}
	p.IssParameter = p.IssParameter || o.IssParameter
}
