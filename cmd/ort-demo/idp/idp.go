package idp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/text/language"
)

// CookieName is the name of the cookie that carries a login at the provider.
const CookieName = "demo_idp_session"

// Paths of the endpoints, below the issuer.
const (
	PathAuthorize  = "/authorize"
	PathToken      = "/oauth/token"
	PathRevoke     = "/revoke"
	PathIntrospect = "/oauth/introspect"
	PathUserinfo   = "/userinfo"
	PathKeys       = "/keys"
	PathEndSession = "/end_session"
	PathLogin      = "/login"
)

// A User can log in.
type User struct {
	Username string // also the subject (sub) of its tokens
	Password string
	Name     string // for people
	Email    string
}

// A Client is an application that may ask for logins.
type Client struct {
	ID   string
	Name string // shown on the login page; empty: ID
	// Secret makes it a confidential client (RFC 6749 section 2.1), taken from
	// the Basic header or the form. Empty: a public client, for which PKCE with
	// S256 is required.
	Secret                 string
	RedirectURIs           []string // compared byte for byte
	PostLogoutRedirectURIs []string
	Origins                []string // origins whose scripts may call the provider (CORS)
	BackChannelLogoutURI   string   // where [Provider.LogOut] tells of an end; empty: nowhere
}

// Config says what a provider is. Issuer, Clients and Users are required.
type Config struct {
	// Issuer is the public origin, scheme and authority alone: that of the
	// gateway where there is one in front.
	Issuer  string
	Clients []Client
	Users   []User

	AccessTokenLifetime  time.Duration // 0: 5 minutes
	RefreshTokenLifetime time.Duration // from its last rotation; 0: 30 days
	// LoginLifetime is how long single sign-on lasts; 0: 10 hours. The cookie
	// itself ends with the browser.
	LoginLifetime time.Duration
	// Scopes that clients may ask for beside openid, profile, email and
	// offline_access.
	Scopes []string
	// StaticRefreshTokens turns rotation off: a refresh gives the same token again.
	StaticRefreshTokens bool

	// TokenMiddleware, where set, stands before the token endpoint: tests make
	// it fail, wait or lose answers with it.
	TokenMiddleware func(http.Handler) http.Handler

	// BackChannelTLS verifies those that are told of a logout; nil: as the system does.
	BackChannelTLS *tls.Config

	Now func() time.Time // nil: time.Now; the library under this package reads the real clock for iat and exp
	Log *slog.Logger     // nil: nothing is logged
}

// Stats counts what the provider has seen since its start.
type Stats struct {
	Logins        int `json:"logins"`         // passwords accepted
	CodeExchanges int `json:"code_exchanges"` // codes turned into tokens
	Refreshes     int `json:"refreshes"`      // refresh tokens turned into tokens
	Revocations   int `json:"revocations"`    // refresh tokens revoked
	TokenReuses   int `json:"token_reuses"`   // rotated refresh tokens that came again
	CodeReplays   int `json:"code_replays"`   // codes that came again
}

// Provider is the OpenID Provider; it is an [http.Handler].
type Provider struct {
	config  Config
	storage *storage
	op      *op.Provider
	handler http.Handler
	outside *http.Client
	log     *slog.Logger
}

// New makes a provider. Its signing key is made at the same time and kept in
// memory only.
func New(config Config) (*Provider, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making the signing key: %w", err)
	}
	p := &Provider{config: config, storage: newStorage(config, key), outside: outsideClient(config.BackChannelTLS), log: config.Log}
	opConfig := &op.Config{
		CodeMethodS256:        true,
		AuthMethodPost:        true,
		GrantTypeRefreshToken: true,
		SupportedUILocales:    []language.Tag{language.English},
		SupportedScopes:       p.storage.scopes(),
		SupportedClaims: []string{
			"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "azp", "at_hash", "sid",
			"name", "preferred_username", "email", "email_verified",
		},
	}
	if _, err := rand.Read(opConfig.CryptoKey[:]); err != nil {
		return nil, fmt.Errorf("making the access token key: %w", err)
	}
	options := []op.Option{op.WithCORSOptions(nil)} // CORS is per client, see cors.go
	if strings.HasPrefix(config.Issuer, "http://") {
		options = append(options, op.WithAllowInsecure())
	}
	p.op, err = op.NewProvider(opConfig, p.storage, op.StaticIssuer(config.Issuer), options...)
	if err != nil {
		return nil, fmt.Errorf("making the provider: %w", err)
	}
	p.handler = p.routes()
	return p, nil
}

// ServeHTTP answers every endpoint of the provider.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// Stats returns the counters as they are now.
func (p *Provider) Stats() Stats {
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	return p.storage.stats
}

// RevokeRefreshTokens ends every refresh token of a user, as an administrator
// would, and says how many there were.
func (p *Provider) RevokeRefreshTokens(username string) int {
	return p.storage.revokeUser(username)
}

func (p *Provider) routes() http.Handler {
	token := http.Handler(p.op)
	if p.config.TokenMiddleware != nil {
		token = p.config.TokenMiddleware(token)
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.op)
	mux.HandleFunc(PathAuthorize, p.authorize)
	mux.Handle(PathToken, p.cors(token))
	mux.Handle(PathRevoke, p.cors(p.op))
	mux.Handle(PathUserinfo, p.cors(p.op))
	mux.Handle(PathKeys, anyOrigin(p.op))
	mux.Handle(oidc.DiscoveryEndpoint, anyOrigin(http.HandlerFunc(p.discovery)))
	mux.Handle("/device_authorization", http.NotFoundHandler()) // routed by the library, not offered here
	mux.HandleFunc("GET "+PathLogin, p.loginPage)
	mux.HandleFunc("POST "+PathLogin, p.login)
	mux.HandleFunc("GET /login/style.css", stylesheet)
	mux.HandleFunc("GET "+PathEndSession, p.endSession)
	mux.HandleFunc("POST "+PathEndSession, p.endSession)
	return mux
}

// discovery publishes what is offered here; the library's own document also
// lists grants and flows that this provider leaves out.
func (p *Provider) discovery(w http.ResponseWriter, r *http.Request) {
	ctx := op.ContextWithIssuer(r.Context(), p.config.Issuer)
	d := op.CreateDiscoveryConfig(ctx, p.op, p.storage)
	d.DeviceAuthorizationEndpoint = ""
	d.CheckSessionIframe = ""
	d.ResponseTypesSupported = []string{string(oidc.ResponseTypeCode)}
	d.ResponseModesSupported = []string{"query", "fragment", "form_post"}
	d.GrantTypesSupported = []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
	d.BackChannelLogoutSupported, d.BackChannelLogoutSessionSupported = true, true
	op.Discover(w, d)
}

func (c *Config) check() error {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return fmt.Errorf("config field Issuer: %q is not an origin such as http://127.0.0.1:8080", c.Issuer)
	}
	if len(c.Clients) == 0 {
		return errors.New("config field Clients: at least one is needed")
	}
	if len(c.Users) == 0 {
		return errors.New("config field Users: at least one is needed")
	}
	for _, u := range c.Users {
		if u.Username == "" || strings.Contains(u.Username, ":") {
			return fmt.Errorf("config field Users: %q cannot be a name (empty, or with a colon)", u.Username)
		}
	}
	defaultTo(&c.AccessTokenLifetime, 5*time.Minute)
	defaultTo(&c.RefreshTokenLifetime, 30*24*time.Hour)
	defaultTo(&c.LoginLifetime, 10*time.Hour)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func defaultTo(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

var _ op.Storage = (*storage)(nil)
var _ op.CanSetUserinfoFromRequest = (*storage)(nil)

// Health implements op.Storage: memory is always there.
func (s *storage) Health(context.Context) error { return nil }
