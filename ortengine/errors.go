package ortengine

import (
	"errors"
	"fmt"
	"time"
)

// OAuth error codes, in the spelling of RFC 6749 section 5.2, RFC 7009 section
// 2.2.1, RFC 8707 section 2 and RFC 9449 section 5.
const (
	InvalidRequest         = "invalid_request"
	InvalidClient          = "invalid_client"
	InvalidGrant           = "invalid_grant"
	InvalidTarget          = "invalid_target"
	UnsupportedTokenType   = "unsupported_token_type"
	TemporarilyUnavailable = "temporarily_unavailable"
	ServerError            = "server_error"
)

// retryAfter is what clients are asked to wait where something does not answer.
const retryAfter = 2 * time.Second

// Error is a refusal as a client sees it.
type Error struct {
	Status      int    // HTTP status
	Code        string // OAuth error code
	Description string // ASCII without quotes and backslashes (RFC 6749 section 5.2)
	// RetryAfter is when it is worth to ask again, zero where it is not.
	RetryAfter time.Duration
	// Result is the metric's label.
	Result string
	// Cause is for the log only.
	Cause error

	subject string // keyed hash of the user whose session it was, for the log only
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Description, e.Cause)
	}
	return e.Code + ": " + e.Description
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// deadToken is what clients look for in the description to tell a token that
// will never work again from other faults.
const deadToken = "Unknown or invalid refresh token"

func refuseToken(result, why string) *Error {
	return &Error{Status: 400, Code: InvalidGrant, Description: deadToken + ": " + why, Result: result}
}

func refuseCode(result, why string) *Error {
	return &Error{Status: 400, Code: InvalidGrant, Description: why, Result: result}
}

// Unavailable is the answer to what nobody can tell now: nothing ends by it.
func Unavailable(result, why string, cause error) *Error {
	return &Error{Status: 503, Code: TemporarilyUnavailable, Description: why, RetryAfter: retryAfter, Result: result, Cause: cause}
}

func storeDown(cause error) *Error {
	return Unavailable("store_unavailable", "The session store does not answer", cause)
}

// AsError finds the Error in err; anything else is a fault of the store.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return storeDown(err)
}
