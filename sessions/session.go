package sessions

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// ID names a session. It is random (128 bits, base64url) and no secret by
// itself: nothing is granted to whoever knows it.
type ID string

// NewID makes a session's name.
func NewID() ID { return ID(randomName()) }

// BrowserID is the hash of a browser cookie's value. The value itself is never
// stored: who reads the store cannot pose as the browser.
type BrowserID string

// BrowserOf hashes the value of a browser cookie. An empty value is no browser.
func BrowserOf(cookie string) BrowserID {
	if cookie == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("browser\x00" + cookie))
	return BrowserID(base64.RawURLEncoding.EncodeToString(sum[:16]))
}

// EndReason says why a session ended. It is told to pages, metrics and the
// audit log, so the set is closed.
type EndReason string

// The reasons for which sessions end.
const (
	EndRevoked           EndReason = "revoked"            // an ORT of it was revoked (RFC 7009)
	EndLogout            EndReason = "logout"             // RP-initiated logout at the upstream
	EndBackchannelLogout EndReason = "backchannel_logout" // OIDC Back-Channel Logout
	EndAdmin             EndReason = "admin"              // by the session API
	EndUserSwitch        EndReason = "user_switch"        // another user signed in in the same browser
	EndIdle              EndReason = "idle"               // nothing was exchanged for the idle timeout
	EndAbsolute          EndReason = "absolute"           // the absolute timeout has passed
	EndGrantsEnded       EndReason = "grants_ended"       // the last grant ended
)

// EndReasons lists every reason.
func EndReasons() []EndReason {
	return []EndReason{EndRevoked, EndLogout, EndBackchannelLogout, EndAdmin, EndUserSwitch, EndIdle, EndAbsolute, EndGrantsEnded}
}

// End is how and when a session ended.
type End struct {
	At     time.Time
	Reason EndReason
	// SingleSignOn says that the user's login at the upstream ended with it: codes
	// that left the upstream before that moment are worth nothing.
	SingleSignOn bool
}

// Session is the user's login in one browser at one login place.
type Session struct {
	ID    ID
	Place string // the authorization endpoint that its issuers share
	// Browsers are the browsers that logins of this session came by; usually one.
	Browsers []BrowserID
	// Upstream are the session identifiers that ID tokens named (`sid`); several
	// where the upstream gives one per client.
	Upstream []UpstreamSession
	// Subjects are the users as the clients know them, one for each client.
	Subjects []Subject
	// Cookies are the newest values that the identity provider's own login cookies
	// have had in it, the newest last.
	Cookies []CookieHash
	// Owed are its upstream credentials that are still to be given back, after an
	// end of single sign-on.
	Owed []Owed

	Created  time.Time // when the gateway made it
	AuthTime time.Time // `auth_time` of the newest login, zero where no ID token told
	Start    time.Time // from when the absolute timeout counts
	LastUsed time.Time // the last code or ORT exchange
	Idle     time.Time // idle deadline, never after Absolute
	Absolute time.Time // absolute deadline
	End      *End      // nil while it lives
}

// Deadline says whether a limit has passed at a moment, and which. A session
// that ended earlier is none of its business.
func (s *Session) Deadline(now time.Time) (EndReason, bool) {
	switch {
	case !now.Before(s.Absolute):
		return EndAbsolute, true
	case !now.Before(s.Idle):
		return EndIdle, true
	}
	return "", false
}

// Due is for backends: when a sweep has something to do with a session.
func (s *Session) Due() time.Time {
	if s.End == nil && s.Idle.Before(s.Absolute) {
		return s.Idle
	}
	return s.Absolute
}

// UpstreamSession is a session as an issuer names it. A name may come back with
// a later login, so it finds sessions and never stands for one.
type UpstreamSession struct {
	Issuer string
	SID    string
}

// Subject is the user as an issuer names it to one client.
type Subject struct {
	Issuer string
	Client string
	Sub    string
}

// GrantID names a grant within its session (128 random bits, base64url).
type GrantID string

// NewGrantID makes a grant's name.
func NewGrantID() GrantID { return GrantID(randomName()) }

// Grant is one client's share of a session: made by one code exchange, it holds
// one upstream credential, of which no second copy exists.
type Grant struct {
	ID      GrantID
	Session ID
	Client  string
	Issuer  string
	// Thumbprint is the key that the grant's ORT is bound to (RFC 7638), empty
	// where it is not bound.
	Thumbprint string
	// Credential is the upstream's refresh token, sealed.
	Credential []byte
	// Scope is what was granted, without what the gateway asked for itself.
	Scope string
	// Audiences are the values of audience and resource of the authorization
	// request (RFC 8707).
	Audiences []string
	// GatewayScopes are scopes that only the gateway asked for; answers do not
	// list them.
	GatewayScopes []string
	// CodeHash is the code that made it: the code is never sent again.
	CodeHash CodeHash

	Created  time.Time
	LastUsed time.Time
	Uses     uint64 // exchanges that succeeded
}

func randomName() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
