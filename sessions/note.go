package sessions

import (
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// CookieHash is the hash of one value of one of the identity provider's own
// cookies that carry its login. The value itself is never stored: it is as good
// as the user's password.
type CookieHash string

// HashLoginCookie hashes a login cookie by name and value, as it stands in the
// Cookie field.
func HashLoginCookie(name, value string) CookieHash {
	sum := sha256.Sum256([]byte("login cookie\x00" + name + "\x00" + value))
	return CookieHash(base64.RawURLEncoding.EncodeToString(sum[:16]))
}

// NoteKind says what a note is about.
type NoteKind byte

// The kinds of notes.
const (
	// NoteDeadCookie: a login cookie (its hash) never reaches the upstream again.
	NoteDeadCookie NoteKind = 'd'
	// NoteForceLogin: the next authorization requests of a browser at a place need a
	// password, for no login cookie of a session that ended there is known.
	NoteForceLogin NoteKind = 'f'
	// NoteLogoutMark: a logout of a session (its id) is under way at the upstream.
	NoteLogoutMark NoteKind = 'm'
	// NoteLogoutToken: a back-channel logout token (issuer, jti) was taken.
	NoteLogoutToken NoteKind = 't'
	// NoteEndedSID: an issuer ended the session with this sid.
	NoteEndedSID NoteKind = 'i'
	// NoteEndedSubject: an issuer ended all sessions of this subject.
	NoteEndedSubject NoteKind = 's'
	// NoteClient: a client (issuer, client id) holds or held a grant.
	NoteClient NoteKind = 'k'
)

// Note is a fact that is kept until a moment, found by its kind and key.
type Note struct {
	Kind NoteKind
	// Key is any text; it is stored as a hash.
	Key   string
	At    time.Time // since when it holds
	Until time.Time
}

// NoteKey makes one key of several parts, none of which can pass for another.
func NoteKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var n [4]byte
		for i := range n {
			n[i] = byte(len(p) >> (8 * i))
		}
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// Owed is an upstream credential of a session whose single sign-on ended: it is
// to be given back to the identity provider.
type Owed struct {
	Grant      GrantID
	Client     string
	Issuer     string
	Credential []byte // sealed, as in the grant
}
