package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"

	"github.com/ort-gateway/ort-gateway/metrics"
)

type contextKey int

const (
	idsKey contextKey = iota
	endpointKey
	heldKey
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

// ids are what the log lines of one request have in common.
type ids struct{ request, trace string }

func idsOf(ctx context.Context) ids {
	known, _ := ctx.Value(idsKey).(*ids)
	if known == nil {
		return ids{}
	}
	return *known
}

// RequestID is the id of the request that a context belongs to, empty where it
// has none.
func RequestID(ctx context.Context) string { return idsOf(ctx).request }

// TraceID is the trace id of the request that a context belongs to, empty where it
// has none: see [metrics.TraceID].
func TraceID(ctx context.Context) string { return idsOf(ctx).trace }

// withIDs gives a request's context what its log lines have in common: the
// request id of a trusted proxy, or a new one, and the trace id. A traceparent that
// is not valid passes upstream like any other, but a stranger chooses no text of a
// line by it.
func (f *forwarder) withIDs(r *http.Request) *http.Request {
	if idsOf(r.Context()).request != "" {
		return r
	}
	known := ids{trace: metrics.TraceID(r.Header)}
	if f.trusts(r) {
		known.request = safeID(r.Header.Get("X-Request-ID"))
	}
	if known.request == "" {
		known.request = newRequestID()
	}
	return r.WithContext(context.WithValue(r.Context(), idsKey, &known))
}

func newRequestID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// withNewIDs is withIDs at the admin listener, before which no proxy is trusted.
func withNewIDs(r *http.Request) *http.Request {
	known := ids{request: newRequestID(), trace: metrics.TraceID(r.Header)}
	return r.WithContext(context.WithValue(r.Context(), idsKey, &known))
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
