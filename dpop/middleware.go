package dpop

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// Header fields of RFC 9449.
const (
	HeaderProof = "DPoP"
	HeaderNonce = "DPoP-Nonce"
)

// MiddlewareConfig is what a resource server gives to Middleware.
type MiddlewareConfig struct {
	// Verifier checks the proofs. Required.
	Verifier *Verifier
	// Resolve checks an access token and returns the thumbprint it is bound to
	// (cnf.jkt, RFC 9449 §6), empty for a token that is bound to no key. It is
	// called before the proof is checked. An error means that the token is not
	// good (401); wrap ErrUnavailable where that could not be found out (503).
	// Required.
	Resolve func(r *http.Request, accessToken string) (thumbprint string, err error)
	// URL returns the public URL of a request, as the client called it.
	// PublicURL makes one. Required: behind a proxy only its operator knows the
	// public URL, and the Host header is the sender's choice.
	URL func(r *http.Request) string
	// AllowUnbound lets "Authorization: Bearer" pass with a token that is bound
	// to no key. A bound token never passes that way.
	AllowUnbound bool
	// Refused, where set, is told of every request that is not let through, for
	// logs and metrics: by an *Error with its Reason, by an error wrapping
	// ErrUnavailable, or by another about the access token.
	Refused func(r *http.Request, err error)
}

// Middleware protects a resource as RFC 9449 §7 says. It wants
// "Authorization: DPoP" and one proof by the token's key, for this method, URL
// and token; see FromContext for what the handler learns. All else is answered
// with 401 and a challenge, and with a nonce where the verifier issues them; a
// verifier that cannot answer, with 503.
//
// A fresh nonce rides on every answer, with Cache-Control: no-store (§8.2). For
// browsers of other origins let CORS expose DPoP-Nonce and WWW-Authenticate.
func Middleware(c MiddlewareConfig) (func(http.Handler) http.Handler, error) {
	switch {
	case c.Verifier == nil:
		return nil, errors.New("dpop: Verifier is required")
	case c.Resolve == nil:
		return nil, errors.New("dpop: Resolve is required")
	case c.URL == nil:
		return nil, errors.New("dpop: URL is required")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			proof, err := c.authenticate(r)
			if nonce := c.Verifier.Nonce(); nonce != "" {
				w.Header().Set(HeaderNonce, nonce)
			}
			w.Header().Set("Cache-Control", "no-store")
			if err != nil {
				if c.Refused != nil {
					c.Refused(r, err)
				}
				c.refuse(w, err)
				return
			}
			if proof != nil {
				r = r.WithContext(context.WithValue(r.Context(), proofKey{}, proof))
			}
			next.ServeHTTP(w, r)
		})
	}, nil
}

// tokenError refuses the access token or the way it was sent.
type tokenError struct{ code, detail string }

func (e *tokenError) Error() string { return e.detail }

// noToken is for the log.
const noToken = "request has no access token"

// authenticate returns the proof, or nil for an unbound token that may pass.
func (c *MiddlewareConfig) authenticate(r *http.Request) (*Proof, error) {
	fields := r.Header.Values("Authorization")
	if len(fields) == 0 {
		return nil, &tokenError{detail: noToken}
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	token = strings.TrimLeft(token, " ")
	bearer := strings.EqualFold(scheme, "Bearer")
	switch {
	case len(fields) > 1:
		return nil, &tokenError{CodeInvalidToken, "more than one Authorization header field"}
	case !bearer && !strings.EqualFold(scheme, "DPoP"):
		return nil, &tokenError{detail: noToken}
	case !isToken68(token):
		return nil, &tokenError{CodeInvalidToken, "Authorization header field has no access token"}
	}
	thumbprint, err := c.Resolve(r, token)
	switch {
	case errors.Is(err, ErrUnavailable):
		return nil, err
	case err != nil:
		return nil, &tokenError{CodeInvalidToken, "access token is not valid"}
	case bearer && thumbprint == "" && c.AllowUnbound:
		return nil, nil
	case bearer:
		// RFC 9449 §7.2: a stolen bound token must not pass as a bearer token.
		return nil, &tokenError{CodeInvalidToken, "access token must be sent with the DPoP scheme and a proof"}
	case thumbprint == "":
		// RFC 9449 §7.1: any key would do for a token that is bound to none.
		return nil, &tokenError{CodeInvalidToken, "access token is not bound to a key"}
	}
	return c.Verifier.Verify(r.Context(), Request{
		Proofs: r.Header.Values(HeaderProof), Method: r.Method, URL: c.URL(r),
		Thumbprint: thumbprint, AccessToken: token,
	})
}

// isToken68 reports whether s is written as an access token (RFC 9110 §11.2).
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isUnreserved(c) && c != '+' && c != '/' {
			return false
		}
	}
	return s != ""
}

func (c *MiddlewareConfig) refuse(w http.ResponseWriter, err error) {
	var bad *Error
	var badToken *tokenError
	challenge := ""
	switch {
	case errors.As(err, &bad):
		challenge = c.Verifier.Challenge(bad.Code(), bad.Detail)
	case errors.As(err, &badToken) && badToken.code == "":
		challenge = c.Verifier.Challenge("", "") // RFC 6750 §3.1: no error where nothing was sent
	case errors.As(err, &badToken):
		challenge = c.Verifier.Challenge(badToken.code, badToken.detail)
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "temporarily unavailable", http.StatusServiceUnavailable)
		return
	}
	w.Header().Add("WWW-Authenticate", challenge)
	if c.AllowUnbound {
		w.Header().Add("WWW-Authenticate", "Bearer")
	}
	http.Error(w, "unauthorized", http.StatusUnauthorized)
}

// Challenge returns the value of a WWW-Authenticate header field (RFC 9449
// §7.1) with the algorithms that are allowed. Code and description are left out
// where empty; the description must be fit for an error_description.
func (v *Verifier) Challenge(code, description string) string {
	var b strings.Builder
	b.WriteString("DPoP ")
	if code != "" {
		b.WriteString(`error="` + code + `", `)
	}
	if description != "" {
		b.WriteString(`error_description="` + description + `", `)
	}
	b.WriteString(`algs="` + v.algs + `"`)
	return b.String()
}

type proofKey struct{}

// FromContext returns the proof that Middleware has accepted for this request;
// false for an unbound token.
func FromContext(ctx context.Context) (*Proof, bool) {
	p, ok := ctx.Value(proofKey{}).(*Proof)
	return p, ok
}

// PublicURL returns a URL function for a service whose paths are public under
// an origin such as "https://api.example.com", as they stand.
func PublicURL(origin string) func(*http.Request) string {
	origin = strings.TrimSuffix(origin, "/")
	return func(r *http.Request) string { return origin + r.URL.EscapedPath() }
}
