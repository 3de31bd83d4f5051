package upstream

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// IDToken is what an ID token says of a login (OIDC Core section 2).
type IDToken struct {
	Issuer   string
	Subject  string
	SID      string
	AuthTime time.Time // zero where the token has none
}

// claims are the members that are read; a member of another type makes the
// token unreadable.
type claims struct {
	Issuer   string
	Subject  string
	Audience jwt.ClaimStrings
	SID      string
	AuthTime float64
}

// UnmarshalJSON reads members by their exact names (RFC 7519 section 4):
// encoding/json would take a user's attribute SUB for sub.
func (c *claims) UnmarshalJSON(b []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for name, into := range map[string]any{
		"iss": &c.Issuer, "sub": &c.Subject, "aud": &c.Audience, "sid": &c.SID, "auth_time": &c.AuthTime,
	} {
		if raw, ok := m[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return err
			}
		}
	}
	return nil
}

// read takes the claims of a token whose signature is for others to check, by
// whatever algorithm it was made.
func (c *claims) read(token string) error {
	_, _, err := jwt.NewParser().ParseUnverified(token, c)
	if errors.Is(err, jwt.ErrTokenUnverifiable) { // all else of it was read
		return nil
	}
	return err
}

func (claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c claims) GetIssuer() (string, error)                 { return c.Issuer, nil }
func (c claims) GetSubject() (string, error)                { return c.Subject, nil }
func (c claims) GetAudience() (jwt.ClaimStrings, error)     { return c.Audience, nil }

// Errors of [ReadIDToken].
var (
	ErrIssuer   = errors.New("the ID token is of another issuer")
	ErrAudience = errors.New("the ID token is for another client")
	ErrSubject  = errors.New("the ID token names no subject")
)

// latest is the last auth_time that is believed to be a number of seconds.
const latest = 1 << 40

// ReadIDToken reads an ID token that the upstream's token endpoint has just sent
// for a client. Its signature is not checked, see the package's comment: never
// give it a token from anywhere else. An encrypted token is an error.
func ReadIDToken(token, issuer, client string) (IDToken, error) {
	var c claims
	if err := c.read(token); err != nil {
		return IDToken{}, err
	}
	switch {
	case c.Issuer != issuer:
		return IDToken{}, ErrIssuer
	case !slices.Contains(c.Audience, client):
		return IDToken{}, ErrAudience
	case c.Subject == "":
		return IDToken{}, ErrSubject
	}
	t := IDToken{Issuer: c.Issuer, Subject: c.Subject, SID: c.SID}
	if c.AuthTime > 0 && c.AuthTime < latest {
		t.AuthTime = time.Unix(int64(c.AuthTime), 0).UTC()
	}
	return t, nil
}

// ClientOfAssertion is the client that an assertion is of: its subject (RFC 7523
// section 3). It is only a name here: the upstream checks the assertion.
func ClientOfAssertion(assertion string) (string, bool) {
	if assertion == "" {
		return "", false
	}
	var c claims
	if err := c.read(assertion); err != nil {
		return "", false
	}
	return c.Subject, c.Subject != ""
}

// Why says what was wrong with an ID token without a byte of it, for the log.
func Why(err error) string {
	for _, known := range []error{ErrIssuer, ErrAudience, ErrSubject} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "it is not a signed JWT that can be read"
}
