package app

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/metrics"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

// A scrape of the whole gateway: it reads counts, and looks at no session.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			s, _, err := Load([]string{
				"ORT_ISSUER=http://127.0.0.1:1", "ORT_UPSTREAM_URL=http://127.0.0.1:1",
				"ORT_STORE_URL=bolt:" + filepath.Join(b.TempDir(), "sessions.db"),
			}, nil)
			if err != nil {
				b.Fatal(err)
			}
			p, err := assemble(b.Context(), s, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = p.store.Close() })
			storetest.Fill(b, p.store, n)
			h := metrics.Handler(p.registry)
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
			want := fmt.Sprintf("\nort_gateway_sessions_active %.0f", float64(n))
			if n >= 1_000_000 {
				want = "\nort_gateway_sessions_active 1e+06"
			}
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
					b.Fatalf("status %d, without%s", w.Code, want)
				}
			}
		})
	}
}
