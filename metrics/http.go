package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds scrapes at work, and with them their memory. One more is
// answered with 503.
const maxScrapes = 8

// Handler serves the metrics of reg, the registry given to [New], in the format
// that the scraper asks for: text, OpenMetrics, or protobuf (native histograms).
// A collector that fails is left out; the others are served.
func Handler(reg prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	})
}

// Counted counts what next answers under an endpoint's name.
func (m *Metrics) Counted(endpoint string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := &statusWriter{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(status, r)
		m.Request(endpoint, status.code)
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	code int
}

// WriteHeader notes the status, but for 1xx, which come before the answer.
func (w *statusWriter) WriteHeader(code int) {
	if code >= 200 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Timed measures the time until next has the answer's headers, or an error.
// endpoint names the endpoint that a request is for.
func (m *Metrics) Timed(next http.RoundTripper, endpoint func(*http.Request) string) http.RoundTripper {
	return timed{m, next, endpoint}
}

type timed struct {
	m        *Metrics
	next     http.RoundTripper
	endpoint func(*http.Request) string
}

// RoundTrip is next's, timed.
func (t timed) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.m == nil {
		return t.next.RoundTrip(r)
	}
	began := t.m.now()
	resp, err := t.next.RoundTrip(r)
	t.m.UpstreamRequest(t.endpoint(r), t.m.now().Sub(began), TraceID(r.Header))
	return resp, err
}

// TraceID is the trace id in a request's traceparent field (W3C Trace Context
// section 3.2): 32 lower-case hex digits, or nothing where the field is missing
// or is not what the standard says.
func TraceID(h http.Header) string {
	values := h["Traceparent"]
	if len(values) != 1 {
		return ""
	}
	v := values[0]
	// version "-" trace-id "-" parent-id "-" trace-flags, of 2, 32, 16 and 2
	// digits; a later version may go on after a further "-" (section 3.2.2.1).
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' ||
		!isHex(v[:2]) || !isHex(v[3:35]) || !isHex(v[36:52]) || !isHex(v[53:55]) ||
		v[:2] == "ff" || v[:2] == "00" && len(v) != 55 || len(v) > 55 && v[55] != '-' {
		return ""
	}
	if isZero(v[3:35]) || isZero(v[36:52]) {
		return ""
	}
	return v[3:35]
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(s string) bool {
	for _, c := range []byte(s) {
		if c != '0' {
			return false
		}
	}
	return true
}
