package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

type contextKey int

const (
	requestIDKey contextKey = iota
	endpointKey
)

// endpointOf names the endpoint that a request to the upstream is for.
func endpointOf(r *http.Request) string {
	if at, ok := r.Context().Value(endpointKey).(*location); ok {
		return at.name()
	}
	return "forward"
}

// maxRequestID bounds a request id that a trusted proxy gave, in characters.
const maxRequestID = 128

// RequestID is the id of the request that a context belongs to, empty where it
// has none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// withRequestID gives a request its id: that of a trusted proxy, or a new one. It
// notes where the request goes, for what is measured of calls to the upstream.
func (g *Gateway) withRequestID(r *http.Request, at *location) *http.Request {
	id := ""
	if g.forwarder.trusts(r) {
		id = safeID(r.Header.Get("X-Request-ID"))
	}
	if id == "" {
		var b [8]byte
		rand.Read(b[:])
		id = hex.EncodeToString(b[:])
	}
	return r.WithContext(context.WithValue(context.WithValue(r.Context(), endpointKey, at), requestIDKey, id))
}

// safeID is an id that can stand in a log line, or nothing.
func safeID(id string) string {
	if len(id) > maxRequestID {
		return ""
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=':
		default:
			return ""
		}
	}
	return id
}
