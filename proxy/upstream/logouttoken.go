package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// LogoutToken is a back-channel logout token that passed every check but that of
// its audience: the caller knows the clients.
type LogoutToken struct {
	Issuer    string
	Audiences []string
	Subject   string // empty: SID is not
	SID       string // empty: Subject is not
	ID        string // jti
	IssuedAt  time.Time
	Expires   time.Time // until when the token could be sent again
}

// What is wrong with a logout token (OIDC Back-Channel Logout 1.0 section 2.6).
var (
	ErrLogoutForm     = errors.New("the logout token is not a signed JWT")
	ErrLogoutType     = errors.New("typ is not logout+jwt")
	ErrLogoutAudience = errors.New("aud is missing, or not a list of clients")
	ErrLogoutIssuer   = errors.New("iss is no issuer of this gateway")
	ErrLogoutTime     = errors.New("iat or exp is missing, or not of now")
	ErrLogoutID       = errors.New("jti is missing or too long")
	ErrLogoutEvents   = errors.New("events is not that of a back-channel logout")
	ErrLogoutNonce    = errors.New("nonce must not be in a logout token")
	ErrLogoutSubject  = errors.New("sid and sub are both missing, or too long")
)

const (
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	logoutLife  = 10 * time.Minute // of a token without exp, by its iat
	logoutSkew  = time.Minute
	maxLogout   = 16 << 10 // bytes of a token
	maxNamed    = 1024     // of a sub, sid or jti
	// How long a token can be used, and its jti is remembered, whatever exp says.
	maxLogoutLife = 24 * time.Hour
	maxAudiences  = 64 // each is looked up
)

type logoutClaims struct {
	claims
	ID       string
	IssuedAt *float64
	Expires  *float64
	Events   json.RawMessage
	Nonce    bool // there is one, of whatever value
}

// UnmarshalJSON reads members by their exact names (RFC 7519 section 4):
// encoding/json would take a user's attribute SUB for sub.
func (c *logoutClaims) UnmarshalJSON(b []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for name, into := range map[string]any{
		"iss": &c.Issuer, "sub": &c.Subject, "aud": &c.Audience, "sid": &c.SID,
		"jti": &c.ID, "iat": &c.IssuedAt, "exp": &c.Expires,
	} {
		if raw, ok := m[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return err
			}
		}
	}
	c.Events = m["events"]
	_, c.Nonce = m["nonce"]
	return nil
}

// ofLogout says whether events has a back-channel logout's, with an object.
func (c *logoutClaims) ofLogout() bool {
	var events map[string]json.RawMessage
	var event map[string]json.RawMessage
	return json.Unmarshal(c.Events, &events) == nil && json.Unmarshal(events[logoutEvent], &event) == nil && event != nil
}

// VerifyLogoutToken makes the checks of OIDC Back-Channel Logout 1.0 section 2.6.
// The error is one of those above, [ErrSignature], or [ErrKeysUnavailable].
func VerifyLogoutToken(ctx context.Context, keys *Keys, providers []*Provider, token string) (LogoutToken, error) {
	if len(token) > maxLogout {
		return LogoutToken{}, ErrLogoutForm
	}
	var unverified logoutClaims
	t, _, err := jwt.NewParser().ParseUnverified(token, &unverified)
	if err != nil {
		return LogoutToken{}, ErrLogoutForm
	}
	if typ, ok := t.Header["typ"]; ok && !logoutType(typ) {
		return LogoutToken{}, ErrLogoutType
	}
	provider := issuerOf(providers, unverified.Issuer)
	if provider == nil {
		return LogoutToken{}, ErrLogoutIssuer
	}
	var c logoutClaims
	switch err := keys.Verify(ctx, provider, token, &c); {
	case errors.Is(err, ErrToken):
		return LogoutToken{}, ErrLogoutForm
	case err != nil:
		return LogoutToken{}, err
	}
	return c.check(keys.Now())
}

// logoutType takes the type that the specification recommends, and that of
// providers that are older.
func logoutType(typ any) bool {
	s, _ := typ.(string)
	s = strings.TrimPrefix(strings.ToLower(s), "application/")
	return s == "logout+jwt" || s == "jwt"
}

func issuerOf(providers []*Provider, issuer string) *Provider {
	for _, p := range providers {
		if p != nil && p.Issuer == issuer {
			return p
		}
	}
	return nil
}

func (c *logoutClaims) check(now time.Time) (LogoutToken, error) {
	issued, ok := instant(c.IssuedAt)
	if !ok || issued.After(now.Add(logoutSkew)) {
		return LogoutToken{}, ErrLogoutTime
	}
	expires := issued.Add(logoutLife)
	if c.Expires != nil { // required since the final text: older providers send none
		if expires, ok = instant(c.Expires); !ok {
			return LogoutToken{}, ErrLogoutTime
		}
	}
	if last := issued.Add(maxLogoutLife); expires.After(last) {
		expires = last
	}
	switch {
	case !now.Before(expires.Add(logoutSkew)):
		return LogoutToken{}, ErrLogoutTime
	case c.ID == "" || len(c.ID) > maxNamed:
		return LogoutToken{}, ErrLogoutID
	case len(c.Audience) == 0 || len(c.Audience) > maxAudiences || slices.Contains(c.Audience, ""):
		return LogoutToken{}, ErrLogoutAudience
	case !c.ofLogout():
		return LogoutToken{}, ErrLogoutEvents
	case c.Nonce:
		return LogoutToken{}, ErrLogoutNonce
	case c.Subject == "" && c.SID == "" || len(c.Subject) > maxNamed || len(c.SID) > maxNamed:
		return LogoutToken{}, ErrLogoutSubject
	}
	return LogoutToken{
		Issuer: c.Issuer, Audiences: c.Audience, Subject: c.Subject, SID: c.SID, ID: c.ID,
		IssuedAt: issued, Expires: expires.Add(logoutSkew),
	}, nil
}

func instant(seconds *float64) (time.Time, bool) {
	if seconds == nil || *seconds <= 0 || *seconds >= latest {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(*seconds * 1000)).UTC(), true
}

// VerifyHint reads an id_token_hint (OIDC RP-Initiated Logout 1.0 section 2): an ID
// token that one of the providers has signed, however old.
func VerifyHint(ctx context.Context, keys *Keys, providers []*Provider, hint string) (IDToken, error) {
	var unverified claims
	if _, _, err := jwt.NewParser().ParseUnverified(hint, &unverified); err != nil {
		return IDToken{}, err
	}
	provider := issuerOf(providers, unverified.Issuer)
	if provider == nil {
		return IDToken{}, ErrIssuer
	}
	var c claims
	if err := keys.Verify(ctx, provider, hint, &c); err != nil {
		return IDToken{}, err
	}
	if c.Subject == "" {
		return IDToken{}, ErrSubject
	}
	return IDToken{Issuer: c.Issuer, Subject: c.Subject, SID: c.SID}, nil
}
