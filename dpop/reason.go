package dpop

import (
	"errors"
	"slices"
)

// Reason names the one check that refused a proof. Its value is short, fixed
// and free of anything the client sent, so it can be a metric label.
type Reason string

// The reasons, in the order in which Verify checks. A proof is refused for the
// first one that applies. Section numbers are those of RFC 9449.
const (
	ReasonMissing     Reason = "missing"          // §4.3 (1): no DPoP header field
	ReasonSeveral     Reason = "several"          // §4.3 (1): more than one proof
	ReasonSize        Reason = "size"             // §4.3 (2): longer than MaxProofSize
	ReasonForm        Reason = "form"             // §4.3 (2): no compact JWS of strict base64url
	ReasonHeader      Reason = "header"           // §4.3 (2): JOSE header is no JSON object, or names a member twice
	ReasonTyp         Reason = "typ"              // §4.3 (4): typ is not dpop+jwt
	ReasonCrit        Reason = "crit"             // RFC 7515 §4.1.11: an extension we do not understand
	ReasonAlg         Reason = "alg"              // §4.3 (5): algorithm not allowed
	ReasonJWK         Reason = "jwk"              // §4.2: no jwk, or one that is no JSON object
	ReasonPrivateKey  Reason = "private_key"      // §4.3 (7): jwk holds a private or symmetric key
	ReasonKeyType     Reason = "key_type"         // §4.3 (6): kty or crv does not fit the algorithm
	ReasonKey         Reason = "key"              // §4.3 (6): point not on the curve, modulus too short or too long, …
	ReasonClaims      Reason = "claims"           // §4.3 (2): payload is no JSON object, or names a member twice
	ReasonID          Reason = "jti"              // §4.3 (3): jti missing, empty or longer than MaxIDSize
	ReasonIssuedAt    Reason = "iat"              // §4.3 (3): iat missing or no sane number
	ReasonMethod      Reason = "htm"              // §4.3 (8): htm is not the request's method
	ReasonURI         Reason = "htu"              // §4.3 (9): htu is not the request's URI
	ReasonAccessToken Reason = "ath"              // §4.3 (12): ath is not the access token's hash
	ReasonNoNonce     Reason = "nonce_missing"    // §4.3 (10): no nonce, and one is asked for
	ReasonStaleNonce  Reason = "nonce_stale"      // §4.3 (10): a nonce of ours whose time is over
	ReasonWrongNonce  Reason = "nonce_foreign"    // §4.3 (10): a nonce that is not ours
	ReasonTooOld      Reason = "iat_past"         // §4.3 (11): made longer ago than is allowed
	ReasonTooEarly    Reason = "iat_future"       // §4.3 (11): made further in the future than is allowed
	ReasonBeforeStart Reason = "iat_before_start" // §4.3 (11): made before Config.NotBefore
	ReasonSignature   Reason = "signature"        // §4.3 (6): does not verify with the key in jwk
	ReasonOtherKey    Reason = "key_mismatch"     // §4.3 (12): valid, but not by the key that was asked for
	ReasonRepeated    Reason = "replayed"         // §11.1: this proof was taken before
)

// Reasons returns every Reason, in the order of the checks.
func Reasons() []Reason { return slices.Clone(reasons) }

var reasons = []Reason{
	ReasonMissing, ReasonSeveral, ReasonSize, ReasonForm, ReasonHeader, ReasonTyp, ReasonCrit,
	ReasonAlg, ReasonJWK, ReasonPrivateKey, ReasonKeyType, ReasonKey, ReasonClaims, ReasonID,
	ReasonIssuedAt, ReasonMethod, ReasonURI, ReasonAccessToken, ReasonNoNonce, ReasonStaleNonce,
	ReasonWrongNonce, ReasonTooOld, ReasonTooEarly, ReasonBeforeStart, ReasonSignature,
	ReasonOtherKey, ReasonRepeated,
}

// The error codes of RFC 9449 §5, §7.1 and §8, and of RFC 6750 §3.1 where a
// resource server refuses the token itself.
const (
	CodeInvalidProof = "invalid_dpop_proof"
	CodeUseNonce     = "use_dpop_nonce"
	CodeInvalidToken = "invalid_token"
)

// Error says why a proof was refused. It never wraps anything and never holds
// a byte that the client chose.
type Error struct {
	// Reason is the check that refused.
	Reason Reason
	// Detail is a sentence for the client's developer.
	Detail string

	useNonce bool
}

// Error returns the detail. It is fit for an error_description of RFC 6749
// §5.2: printable ASCII without quotes and backslashes.
func (e *Error) Error() string { return e.Detail }

// Code returns the OAuth error code, CodeUseNonce where a fresh nonce helps
// the client and else CodeInvalidProof.
func (e *Error) Code() string {
	if e.useNonce {
		return CodeUseNonce
	}
	return CodeInvalidProof
}

// ErrUnavailable is wrapped by errors that say nothing about the proof: the
// replay memory is full or its store cannot be reached. Answer 503.
var ErrUnavailable = errors.New("replay memory unavailable")

// ErrFull is returned by a ReplayCache that has no room left and may not
// forget anything early.
var ErrFull = errors.New("replay memory full")
