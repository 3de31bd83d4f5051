package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

// Quiet makes the errors of a transport fit for a log: net/http quotes what it
// cannot read of an answer, which may be a token or a cookie.
func Quiet(next http.RoundTripper) http.RoundTripper { return quiet{next} }

type quiet struct{ next http.RoundTripper }

func (q quiet) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := q.next.RoundTrip(r)
	if err == nil || isPlain(err) {
		return resp, err
	}
	return resp, unreadable{err}
}

// isPlain says whether an error names nothing but the connection.
func isPlain(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		err == io.EOF || err == io.ErrUnexpectedEOF
}

// unreadable is an error whose text is withheld; what it is can still be asked.
type unreadable struct{ cause error }

func (unreadable) Error() string   { return "the connection broke, or the answer cannot be read" }
func (u unreadable) Unwrap() error { return u.cause }
