package idp

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

var errUnknownClient = errors.New("client not found")

// client shows a Client to the library (op.Client).
type client struct {
	Client
}

// GetID is the client's id.
func (c *client) GetID() string { return c.ID }

// RedirectURIs are compared as they are, to the letter.
func (c *client) RedirectURIs() []string { return c.Client.RedirectURIs }

// PostLogoutRedirectURIs are where a logout may lead.
func (c *client) PostLogoutRedirectURIs() []string { return c.Client.PostLogoutRedirectURIs }

// LoginURL is the login page of an authorization request.
func (c *client) LoginURL(id string) string { return PathLogin + "?request=" + id }

// AccessTokenType is opaque: nobody but this provider reads them.
func (c *client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeBearer }

// ResponseTypes is the code flow alone.
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}

// GrantTypes are the code and the refresh token.
func (c *client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
}

// IDTokenLifetime is how long an ID token is good.
func (c *client) IDTokenLifetime() time.Duration { return 10 * time.Minute }

// ClockSkew takes nothing off the times in an ID token.
func (c *client) ClockSkew() time.Duration { return 0 }

// DevMode allows redirect URIs with http: this provider lives on loopback.
func (c *client) DevMode() bool { return true }

// IsScopeAllowed lets every scope through to CreateAuthRequest, which refuses
// unknown ones; the library would drop them without a word.
func (c *client) IsScopeAllowed(string) bool { return true }

// IDTokenUserinfoClaimsAssertion puts the user's claims into ID tokens too.
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return true }

// RestrictAdditionalIdTokenScopes takes no scope away.
func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

// RestrictAdditionalAccessTokenScopes takes no scope away.
func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

// ApplicationType is a page in a browser, where the client has no secret.
func (c *client) ApplicationType() op.ApplicationType {
	if c.public() {
		return op.ApplicationTypeUserAgent
	}
	return op.ApplicationTypeWeb
}

// AuthMethod is by HTTP Basic, where the client has a secret.
func (c *client) AuthMethod() oidc.AuthMethod {
	if c.public() {
		return oidc.AuthMethodNone
	}
	return oidc.AuthMethodBasic
}

func (c *client) public() bool { return c.Secret == "" }

func (c *client) label() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// GetClientByClientID implements op.OPStorage.
func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	c, ok := s.clients[id]
	if !ok {
		return nil, oidc.ErrInvalidClient().WithParent(errUnknownClient)
	}
	return c, nil
}

// AuthorizeClientIDSecret implements op.OPStorage.
func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	c, ok := s.clients[id]
	if !ok {
		return oidc.ErrInvalidClient().WithParent(errUnknownClient)
	}
	if c.public() || subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) != 1 {
		return oidc.ErrInvalidClient().WithDescription("wrong client secret")
	}
	return nil
}

// GetKeyByIDAndClientID implements op.OPStorage: no client has keys here.
func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errors.New("no client has a key")
}

// ValidateJWTProfileScopes implements op.OPStorage: the grant is not offered.
func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, oidc.ErrInvalidScope()
}
