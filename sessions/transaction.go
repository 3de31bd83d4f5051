package sessions

import (
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"slices"
	"time"
)

// TransactionKey finds a transaction: the hash of a code challenge and its
// method. The token endpoint derives it from the code_verifier (RFC 7636
// section 4.6).
type TransactionKey [32]byte

// KeyOfChallenge makes the key of a code_challenge; method is "S256" or "plain".
func KeyOfChallenge(method, challenge string) TransactionKey {
	return sha256.Sum256([]byte("challenge\x00" + method + "\x00" + challenge))
}

// KeysOfVerifier are the keys that a code_verifier may belong to: as the
// preimage of an S256 challenge, and as a plain one.
func KeysOfVerifier(verifier string) [2]TransactionKey {
	sum := sha256.Sum256([]byte(verifier))
	return [2]TransactionKey{
		KeyOfChallenge("S256", base64.RawURLEncoding.EncodeToString(sum[:])),
		KeyOfChallenge("plain", verifier),
	}
}

// RequestURIHash finds the transaction of a pushed authorization request by the
// request_uri that the upstream gave it (RFC 9126 section 2.2).
type RequestURIHash [32]byte

// HashRequestURI hashes a request_uri.
func HashRequestURI(uri string) RequestURIHash {
	return sha256.Sum256([]byte("request_uri\x00" + uri))
}

// Transaction is one authorization request that asked for an ORT and waits for
// its code. It is not used up: two tabs may come back with two codes.
type Transaction struct {
	Key    TransactionKey
	Place  string // the authorization endpoint
	Client string
	Scope  string // as the client asked, with online_access
	// Audiences are the values of audience and resource, in their order.
	Audiences []string
	// Thumbprint is the dpop_jkt that binds the code (RFC 9449 section 10).
	Thumbprint string
	// GatewayScopes are scopes that only the gateway asked for.
	GatewayScopes []string
	// KeyID is the sealing key that the gateway's own code verifier is derived
	// from, together with Key.
	KeyID string
	// None says that the client gets no ORT by it: not allowed to.
	None bool

	// Browser is the one browser that every request with this challenge came from;
	// Browsers says that there were several, and then it is none.
	Browser  BrowserID
	Browsers bool

	Address netip.Prefix // who asked, for the bound on waiting transactions
	Created time.Time
	Until   time.Time
}

// Same says whether another request with the same challenge asks for the same:
// then the first transaction stands for both.
func (t *Transaction) Same(o *Transaction) bool {
	return t.Place == o.Place && t.Client == o.Client && t.Scope == o.Scope &&
		t.Thumbprint == o.Thumbprint && t.None == o.None && slices.Equal(t.Audiences, o.Audiences)
}

// Meet notes a browser that a request with this challenge came from, and says
// whether that changed anything.
func (t *Transaction) Meet(b BrowserID) bool {
	switch {
	case b == "" || b == t.Browser || t.Browsers:
		return false
	case t.Browser == "":
		t.Browser = b
	default:
		t.Browser, t.Browsers = "", true
	}
	return true
}

// CodeHash is the hash of an authorization code.
type CodeHash [32]byte

// HashCode hashes an authorization code as one issuer's token endpoint gave it.
func HashCode(code string) CodeHash { return sha256.Sum256([]byte("code\x00" + code)) }

// Code is what was seen of an authorization code, never the code itself.
type Code struct {
	Hash CodeHash
	// Browser is the browser whose request was answered with the code; empty where
	// no such answer was seen.
	Browser BrowserID
	// LeftAt is when the code left the upstream; zero where it was not seen.
	LeftAt time.Time
	// Cookies are the login cookies of the request that was answered with the code,
	// and of that answer.
	Cookies []CookieHash
	// Exchanged says that an exchange of it succeeded: it is never sent again.
	Exchanged bool
	Until     time.Time
}
