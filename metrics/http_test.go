package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
