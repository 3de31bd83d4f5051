package idp

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// accessToken is what an opaque access token stands for.
type accessToken struct {
	clientID string
	username string
	scopes   []string
	expires  time.Time
}

// family is one refresh token through all its rotations.
type family struct {
	clientID string
	username string
	sid      string
	authTime time.Time
	scopes   []string
	current  string
	expires  time.Time
	revoked  bool
}

func (f *family) revoke() {
	if f != nil {
		f.revoked = true
	}
}

// refreshRequest shows a family to the library (op.RefreshTokenRequest), with the scopes of one refresh.
type refreshRequest struct {
	family // a copy: the library sets the scopes of this one refresh
}

// GetAMR is that of the login.
func (r *refreshRequest) GetAMR() []string { return []string{"pwd"} }

// GetAudience is the client alone.
func (r *refreshRequest) GetAudience() []string { return []string{r.clientID} }

// GetAuthTime is that of the login, not of the refresh.
func (r *refreshRequest) GetAuthTime() time.Time { return r.authTime }

// GetClientID is the client that holds the token.
func (r *refreshRequest) GetClientID() string { return r.clientID }

// GetScopes are the grant's, or the fewer that the client asked for.
func (r *refreshRequest) GetScopes() []string { return r.scopes }

// GetSubject is the user's name.
func (r *refreshRequest) GetSubject() string { return r.username }

// SetCurrentScopes takes the fewer scopes that the client asked for.
func (r *refreshRequest) SetCurrentScopes(new []string) { r.scopes = new }

// CreateAccessToken implements op.AuthStorage.
func (s *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := r.(*authRequest); ok {
		s.stats.CodeExchanges++
	}
	return s.newAccessToken(r)
}

// newAccessToken keeps a token; s.mu is held.
func (s *storage) newAccessToken(r op.TokenRequest) (string, time.Time, error) {
	named, ok := r.(interface{ GetClientID() string })
	if !ok {
		return "", time.Time{}, oidc.ErrUnauthorizedClient()
	}
	if len(s.access) >= maxAuthRequests {
		s.sweep()
	}
	id := randomID()
	expires := s.now().Add(s.config.AccessTokenLifetime)
	s.access[id] = &accessToken{named.GetClientID(), r.GetSubject(), r.GetScopes(), expires}
	return id, expires, nil
}

// CreateAccessAndRefreshTokens implements op.AuthStorage. Rotation happens
// here, under the lock, so that of two refreshes with one token one is a reuse.
func (s *storage) CreateAccessAndRefreshTokens(_ context.Context, r op.TokenRequest, current string) (string, string, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var f *family
	switch r := r.(type) {
	case *authRequest:
		f = &family{clientID: r.ClientID, username: r.username, sid: r.sid, authTime: r.authTime, scopes: r.scopes}
		if r.code != nil {
			r.code.family = f
		}
		s.stats.CodeExchanges++
	case *refreshRequest:
		var err error
		if f, err = s.useRefreshToken(current); err != nil {
			return "", "", time.Time{}, oidc.ErrInvalidGrant().WithParent(err)
		}
		s.stats.Refreshes++
	default:
		return "", "", time.Time{}, oidc.ErrUnauthorizedClient()
	}
	if f.current == "" || !s.config.StaticRefreshTokens {
		f.current = randomID() + randomID()
	}
	f.expires = s.now().Add(s.config.RefreshTokenLifetime)
	s.families[f.current] = f
	id, expires, err := s.newAccessToken(r)
	return id, f.current, expires, err
}

// useRefreshToken finds the family of a token that is current; one that was
// rotated away ends it (RFC 9700 section 4.14.2). s.mu is held.
func (s *storage) useRefreshToken(token string) (*family, error) {
	f, ok := s.families[token]
	switch {
	case !ok:
		return nil, op.ErrInvalidRefreshToken
	case f.revoked:
		return nil, errors.New("the refresh token was revoked")
	case f.current != token:
		s.stats.TokenReuses++
		f.revoke()
		s.config.Log.Warn("a rotated refresh token was used again, its family is revoked", "client", f.clientID)
		return nil, errors.New("the refresh token was used before")
	case s.now().After(f.expires):
		return nil, errors.New("the refresh token is past its time")
	}
	return f, nil
}

// TokenRequestByRefreshToken implements op.AuthStorage.
func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.useRefreshToken(token)
	if err != nil {
		return nil, err
	}
	r := &refreshRequest{*f}
	r.scopes = slices.Clone(f.scopes)
	return r, nil
}

// GetRefreshTokenInfo implements op.AuthStorage.
func (s *storage) GetRefreshTokenInfo(_ context.Context, _, token string) (username, tokenID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.families[token]
	if !ok {
		return "", "", op.ErrInvalidRefreshToken
	}
	return f.username, token, nil
}

// RevokeToken implements op.AuthStorage; an unknown token is no error (RFC 7009
// section 2.2).
func (s *storage) RevokeToken(_ context.Context, token, _, clientID string) *oidc.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.access[token]; ok {
		if t.clientID != clientID {
			return oidc.ErrInvalidClient().WithDescription("the token is another client's")
		}
		delete(s.access, token)
		return nil
	}
	f, ok := s.families[token]
	if !ok {
		return nil
	}
	if f.clientID != clientID {
		return oidc.ErrInvalidClient().WithDescription("the token is another client's")
	}
	f.revoke()
	s.stats.Revocations++
	return nil
}

func (s *storage) revokeUser(username string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range s.families {
		if f.username == username && !f.revoked {
			f.revoke()
			n++
		}
	}
	return n
}

// TerminateSession implements op.AuthStorage; logging out is done in logout.go,
// where the browser's cookie is at hand.
func (s *storage) TerminateSession(context.Context, string, string) error { return nil }

// SetUserinfoFromScopes implements op.OPStorage; SetUserinfoFromRequest does it.
func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

// SetUserinfoFromRequest fills the ID token. sid names the login, so that two
// clients of one login can be seen to belong together.
func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string) error {
	s.fill(info, r.GetSubject(), scopes)
	switch r := r.(type) {
	case *authRequest:
		info.AppendClaims("sid", r.sid)
	case *refreshRequest:
		info.AppendClaims("sid", r.sid)
	}
	return nil
}

// SetUserinfoFromToken implements op.OPStorage, for the userinfo endpoint.
func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, tokenID, _, _ string) error {
	t, err := s.liveAccessToken(tokenID)
	if err != nil {
		return err
	}
	s.fill(info, t.username, t.scopes)
	return nil
}

// SetIntrospectionFromToken implements op.OPStorage; an error means inactive.
func (s *storage) SetIntrospectionFromToken(_ context.Context, answer *oidc.IntrospectionResponse, tokenID, _, _ string) error {
	t, err := s.liveAccessToken(tokenID)
	if err != nil {
		return err
	}
	answer.Subject, answer.ClientID, answer.Scope = t.username, t.clientID, t.scopes
	answer.Expiration = oidc.FromTime(t.expires)
	return nil
}

func (s *storage) liveAccessToken(id string) (*accessToken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.access[id]
	if !ok || s.now().After(t.expires) {
		return nil, oidc.ErrAccessDenied().WithDescription("the access token is not valid any more")
	}
	return t, nil
}

func (s *storage) fill(info *oidc.UserInfo, username string, scopes []string) {
	u := s.users[username]
	info.Subject = username
	if slices.Contains(scopes, oidc.ScopeProfile) {
		info.Name, info.PreferredUsername = u.Name, u.Username
	}
	if slices.Contains(scopes, oidc.ScopeEmail) && u.Email != "" {
		info.Email, info.EmailVerified = u.Email, true
	}
}

// GetPrivateClaimsFromScopes implements op.OPStorage; access tokens are opaque.
func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}
