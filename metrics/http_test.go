package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	openMetrics = "application/openmetrics-text; version=1.0.0"
	protobuf    = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// scrape reads reg as Prometheus does.
func scrape(reg prometheus.Gatherer) (string, error) {
	w := get(reg, openMetrics)
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") {
		return "", fmt.Errorf("scrape: status %d, type %s", w.Code, w.Header().Get("Content-Type"))
	}
	return w.Body.String(), nil
}

func get(reg prometheus.Gatherer, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	Handler(reg).ServeHTTP(w, r)
	return w
}

func TestHandlerFormats(t *testing.T) {
	m, reg := newMetrics(t)
	callAll(m)
	for _, tt := range []struct{ accept, contentType, body string }{
		{"", "text/plain", "# TYPE ort_gateway_issued_total counter"},
		{openMetrics, "application/openmetrics-text", "# EOF"},
		{protobuf, "application/vnd.google.protobuf", "ort_gateway_exchange_duration_seconds"},
	} {
		w := get(reg, tt.accept)
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.HasPrefix(got, tt.contentType) {
			t.Errorf("Accept %q: status %d, type %q, want 200, %q", tt.accept, w.Code, got, tt.contentType)
		}
		if !strings.Contains(w.Body.String(), tt.body) {
			t.Errorf("Accept %q: no %q in the body", tt.accept, tt.body)
		}
	}
}

// Native buckets are kept beside the classic ones.
func TestHistogramsAreNativeToo(t *testing.T) {
	m, reg := newMetrics(t)
	callAll(m)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "ort_gateway_") {
			continue
		}
		for _, s := range f.GetMetric() {
			if h := s.GetHistogram(); h != nil && (h.Schema == nil || len(h.GetBucket()) == 0) {
				t.Errorf("%s: native %v, %d classic buckets, want both", f.GetName(), h.Schema != nil, len(h.GetBucket()))
			}
		}
	}
}

// One source that fails must not blind operators to all the others.
func TestHandlerServesWhatItCan(t *testing.T) {
	m, reg := newMetrics(t)
	callAll(m)
	reg.MustRegister(broken{})
	body, err := scrape(reg)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(body, `ort_gateway_issued_total{result="ok"} 1`) {
		t.Error("a broken collector hides the others")
	}
}

type broken struct{}

var brokenDesc = prometheus.NewDesc("broken", "Fails.", nil, nil)

func (broken) Describe(ch chan<- *prometheus.Desc) { ch <- brokenDesc }
func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(brokenDesc, errors.New("no"))
}

// What no trace context says is no exemplar: an exemplar of any length would
// spoil the scrape, and strangers would write into it.
func TestTraceID(t *testing.T) {
	const id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for value, want := range map[string]string{
		"00-" + id + "-" + parent + "-01":                         id,
		"00-" + id + "-" + parent + "-00":                         id,
		"cc-" + id + "-" + parent + "-01-what-the-future-will-be": id,
		"00-" + id + "-" + parent + "-01-more":                    "",
		"cc-" + id + "-" + parent + "-01.more":                    "",
		"ff-" + id + "-" + parent + "-01":                         "",
		"00-" + strings.Repeat("0", 32) + "-" + parent + "-01":    "",
		"00-" + id + "-" + strings.Repeat("0", 16) + "-01":        "",
		"00-" + strings.ToUpper(id) + "-" + parent + "-01":        "",
		"00-" + id[:31] + "-" + parent + "-01":                    "",
		"00-" + id[:31] + "g-" + parent + "-01":                   "",
		"00-" + id + "_" + parent + "-01":                         "",
		"":                                                        "",
		"00-" + id:                                                "",
		strings.Repeat("a", 1000):                                 "",
	} {
		if got := TraceID(http.Header{"Traceparent": {value}}); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
	good := "00-" + id + "-" + parent + "-01"
	if got := TraceID(http.Header{"Traceparent": {good, good}}); got != "" {
		t.Errorf("two fields: got %q", got)
	}
}

// A bucket names the trace of a request in it: from a slow bucket on a dashboard
// to the request itself.
func TestExemplars(t *testing.T) {
	m, reg := newMetrics(t)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	m.Exchanged(Exchange{Result: "ok", Took: 9 * time.Millisecond, Waited: 7 * time.Millisecond, Trace: id})
	m.UpstreamRequest("token", 7*time.Millisecond, id)
	got, err := scrape(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`exchange_duration_seconds_bucket{le="0.01"} 1 # {trace_id="` + id + `"} 0.009`,
		`exchange_gateway_duration_seconds_bucket{le="0.002"} 1 # {trace_id="` + id + `"} 0.002`,
		`upstream_request_duration_seconds_bucket{endpoint="token",le="0.0075"} 1 # {trace_id="` + id + `"} 0.007`,
	} {
		if !strings.Contains(got, "ort_gateway_"+want) {
			t.Errorf("no %s", want)
		}
	}
}

// The own time is that of exchanges that succeeded, however many bad tokens come.
func TestOwnTimeIsOfSuccesses(t *testing.T) {
	m, reg := newMetrics(t)
	for range 1000 {
		m.Exchanged(Exchange{Result: "invalid_token", Took: time.Microsecond})
	}
	m.Exchanged(Exchange{Result: "ok", Took: time.Second})
	got, err := scrape(reg)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "ort_gateway_exchange_gateway_duration_seconds_count 1\n") {
		t.Error(lineOf(got, "ort_gateway_exchange_gateway_duration_seconds_count"))
	}
}

func TestTimedAndCounted(t *testing.T) {
	now := time.Unix(1000, 0)
	reg := prometheus.NewPedanticRegistry()
	m := New(reg, Config{Now: func() time.Time { return now }})
	answer := roundTripper(func(*http.Request) (*http.Response, error) {
		now = now.Add(3 * time.Second)
		return nil, errors.New("no answer")
	})
	r := httptest.NewRequest(http.MethodGet, "/keys", nil)
	if _, err := m.Timed(answer, func(*http.Request) string { return "jwks" }).RoundTrip(r); err == nil {
		t.Error("the error is lost")
	}
	m.Counted("admin", http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	m.Counted("admin", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(httptest.NewRecorder(), r)
	got, err := scrape(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`upstream_request_duration_seconds_sum{endpoint="jwks"} 3.0`,
		`requests_total{code="4xx",endpoint="admin"} 1.0`,
		`requests_total{code="2xx",endpoint="admin"} 1.0`,
	} {
		if !strings.Contains(got, "ort_gateway_"+want) {
			t.Errorf("no %s", want)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
