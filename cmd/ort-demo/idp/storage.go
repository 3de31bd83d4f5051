package idp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Bounds on what requests without a login can make the provider keep.
const (
	maxAuthRequests     = 10_000
	authRequestLifetime = 30 * time.Minute
	codeLifetime        = time.Minute
	usedCodeMemory      = 10 * time.Minute
)

// storage is the memory behind the library, guarded by one lock: its
// operations are map look-ups.
type storage struct {
	config  Config
	clients map[string]*client
	users   map[string]User
	key     *signingKey

	mu       sync.Mutex
	requests map[string]*authRequest // by id
	codes    map[string]*usedCode    // by code, used ones too
	logins   map[string]*login       // by cookie value
	access   map[string]*accessToken // by token id
	families map[string]*family      // by refresh token, rotated ones too
	stats    Stats
}

// usedCode remembers a code past its use: coming again it ends what it gave.
type usedCode struct {
	requestID string
	issued    time.Time
	used      bool
	family    *family
}

// login is one user at one browser: what single sign-on rests on.
type login struct {
	sid      string
	username string
	at       time.Time // auth_time
	confirm  string    // known to our own logout page alone
	clients  []string  // that it logged in
}

func newStorage(config Config, key *rsa.PrivateKey) *storage {
	s := &storage{
		config:   config,
		clients:  map[string]*client{},
		users:    map[string]User{},
		key:      &signingKey{id: randomID()[:8], key: key},
		requests: map[string]*authRequest{},
		codes:    map[string]*usedCode{},
		logins:   map[string]*login{},
		access:   map[string]*accessToken{},
		families: map[string]*family{},
	}
	for _, c := range config.Clients {
		s.clients[c.ID] = &client{c}
	}
	for _, u := range config.Users {
		s.users[u.Username] = u
	}
	return s
}

// randomID returns at least 128 bits that nobody can guess.
func randomID() string { return rand.Text() }

func (s *storage) now() time.Time { return s.config.Now() }

func (s *storage) scopes() []string {
	known := []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeOfflineAccess}
	return append(known, s.config.Scopes...)
}

// authRequest is an authorization request on its way to a code (op.AuthRequest). It is filled
// in by finish when the user is known, and not changed after that.
type authRequest struct {
	*oidc.AuthRequest
	id       string
	created  time.Time
	scopes   []string
	finished bool
	username string
	sid      string
	authTime time.Time
	code     *usedCode
}

// GetID names the request on the login page.
func (a *authRequest) GetID() string { return a.id }

// GetACR is none: there is one way to log in.
func (a *authRequest) GetACR() string { return "" }

// GetAMR is the password (RFC 8176).
func (a *authRequest) GetAMR() []string { return []string{"pwd"} }

// GetAudience is the client alone.
func (a *authRequest) GetAudience() []string { return []string{a.ClientID} }

// GetAuthTime is when the user gave the password.
func (a *authRequest) GetAuthTime() time.Time { return a.authTime }

// GetClientID is the client that asked.
func (a *authRequest) GetClientID() string { return a.ClientID }

// GetNonce goes into the ID token.
func (a *authRequest) GetNonce() string { return a.Nonce }

// GetScopes are those that are granted.
func (a *authRequest) GetScopes() []string { return a.scopes }

// GetSubject is the user's name.
func (a *authRequest) GetSubject() string { return a.username }

// Done says whether the user has logged in.
func (a *authRequest) Done() bool { return a.finished }

// GetRedirectURI is where the code goes.
func (a *authRequest) GetRedirectURI() string { return a.RedirectURI }

// GetState goes back to the client as it came.
func (a *authRequest) GetState() string { return a.State }

// GetResponseType is the code flow.
func (a *authRequest) GetResponseType() oidc.ResponseType { return a.ResponseType }

// GetResponseMode is how the code goes to the client.
func (a *authRequest) GetResponseMode() oidc.ResponseMode { return a.ResponseMode }

// GetCodeChallenge is of PKCE (RFC 7636), nil where the client sent none.
func (a *authRequest) GetCodeChallenge() *oidc.CodeChallenge {
	if a.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: a.CodeChallenge, Method: a.CodeChallengeMethod}
}

// CreateAuthRequest implements op.AuthStorage: the last checks of an
// authorization request, after the library's own.
func (s *storage) CreateAuthRequest(ctx context.Context, r *oidc.AuthRequest, hinted string) (op.AuthRequest, error) {
	for _, scope := range r.Scopes {
		if !slices.Contains(s.scopes(), scope) {
			return nil, oidc.ErrInvalidScope().WithDescription("a scope is not known here")
		}
	}
	if s.clients[r.ClientID].public() && (r.CodeChallenge == "" || r.CodeChallengeMethod != oidc.CodeChallengeMethodS256) {
		return nil, oidc.ErrInvalidRequest().WithDescription("PKCE with S256 is required")
	}
	a := &authRequest{AuthRequest: r, id: randomID(), created: s.now(), scopes: slices.Clone(r.Scopes)}
	if a.LoginHint == "" {
		a.LoginHint = hinted
	}
	l, _ := ctx.Value(loginKey{}).(*login)
	if slices.Contains(r.Prompt, oidc.PromptNone) && (l == nil || !s.suffices(l, a)) {
		return nil, oidc.ErrLoginRequired()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) >= maxAuthRequests {
		s.sweep()
	}
	if len(s.requests) >= maxAuthRequests {
		return nil, oidc.ErrServerError().WithDescription("too many logins are waiting")
	}
	s.requests[a.id] = a
	return a, nil
}

// sweep forgets what is past its time; s.mu is held.
func (s *storage) sweep() {
	now := s.now()
	for id, a := range s.requests {
		if now.Sub(a.created) > authRequestLifetime {
			delete(s.requests, id)
		}
	}
	for code, c := range s.codes {
		if now.Sub(c.issued) > usedCodeMemory {
			delete(s.codes, code)
		}
	}
	for id, t := range s.access {
		if now.After(t.expires) {
			delete(s.access, id)
		}
	}
	for token, f := range s.families {
		if now.After(f.expires) {
			delete(s.families, token)
		}
	}
	for cookie, l := range s.logins {
		if now.Sub(l.at) > s.config.LoginLifetime {
			delete(s.logins, cookie)
		}
	}
}

// AuthRequestByID implements op.AuthStorage. The library gets a copy: two
// requests may hold one at the same time.
func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	a, ok := s.request(id)
	if !ok {
		return nil, errors.New("this login is not known any more")
	}
	return a, nil
}

func (s *storage) request(id string) (*authRequest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.requests[id]
	if !ok || s.now().Sub(a.created) > authRequestLifetime {
		return nil, false
	}
	copied := *a
	return &copied, true
}

// finish ties a login to an authorization request.
func (s *storage) finish(id string, l *login) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.requests[id]
	if !ok || a.finished {
		return false
	}
	a.username, a.sid, a.authTime, a.finished = l.username, l.sid, l.at, true
	if !slices.Contains(l.clients, a.ClientID) {
		l.clients = append(l.clients, a.ClientID)
	}
	return true
}

// SaveAuthCode implements op.AuthStorage.
func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = &usedCode{requestID: id, issued: s.now()}
	return nil
}

// AuthRequestByCode implements op.AuthStorage. A code is used up when it is
// first seen, whatever comes of it; seen again, it ends the refresh tokens
// that it gave (RFC 6749 section 4.1.2).
func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.codes[code]
	if !ok {
		return nil, errors.New("unknown code")
	}
	if c.used {
		s.stats.CodeReplays++
		c.family.revoke()
		return nil, errors.New("this code was used before")
	}
	c.used = true
	a, ok := s.requests[c.requestID]
	if !ok || s.now().Sub(c.issued) > codeLifetime {
		return nil, errors.New("the code is past its time")
	}
	copied := *a
	copied.code = c
	return &copied, nil
}

// DeleteAuthRequest implements op.AuthStorage.
func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.requests, id)
	return nil
}

// signingKey is the RSA key of ID tokens, private for the library's signer and
// public for its key set.
type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

// SignatureAlgorithm is that of all keys here.
func (k *signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

// Key is the private key.
func (k *signingKey) Key() any { return k.key }

// ID is the kid.
func (k *signingKey) ID() string { return k.id }

type publicKey struct{ *signingKey }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.key.PublicKey }

// SigningKey implements op.AuthStorage.
func (s *storage) SigningKey(context.Context) (op.SigningKey, error) { return s.key, nil }

// SignatureAlgorithms implements op.AuthStorage.
func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

// KeySet implements op.AuthStorage.
func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{s.key}}, nil
}
