package app

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/metrics"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// A scrape of the whole gateway: it reads counts, and looks at no session.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
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
			fill(b, p.store.(sessions.Mover), n)
			h := metrics.Handler(p.registry)
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
			want := fmt.Sprintf("\nort_gateway_sessions_active %.1f", float64(n))
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

// fill makes n sessions with a grant each, by an import: one by one they would take an hour.
func fill(b *testing.B, s sessions.Mover, n int) {
	b.Helper()
	now := time.Now()
	err := s.Import(b.Context(), func(yield func(sessions.Moved, error) bool) {
		for i := range n {
			session := sessions.Session{
				ID: sessions.NewID(), Place: "https://id.example/authorize",
				Browsers: []sessions.BrowserID{sessions.BrowserOf(fmt.Sprint("browser", i))},
				Subjects: []sessions.Subject{{Issuer: "https://id.example", Client: "spa", Sub: fmt.Sprint("user", i)}},
				Created:  now, AuthTime: now, Start: now, LastUsed: now, Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour),
			}
			grant := sessions.Grant{
				ID: sessions.NewGrantID(), Session: session.ID, Client: "spa", Issuer: "https://id.example", Credential: make([]byte, 128),
				CodeHash: sessions.HashCode(fmt.Sprint("code", i)), Created: now, LastUsed: now,
			}
			if !yield(sessions.Moved{Session: &session, Grants: []sessions.Grant{grant}}, nil) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
}
