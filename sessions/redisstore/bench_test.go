package redisstore

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

func BenchmarkStore(b *testing.B) { storetest.Bench(b, open) }

// BenchmarkLookup is what it costs to find a session among few and among many:
// the same. BENCH_SESSIONS is the larger number, 1000000 for the figures that are
// told; filling Redis takes most of the time.
func BenchmarkLookup(b *testing.B) {
	large := 100_000
	if text := os.Getenv("BENCH_SESSIONS"); text != "" {
		large, _ = strconv.Atoi(text)
	}
	for _, n := range []int{1000, large} {
		srv := newServer(b)
		s := openAt(b, srv.url(), Config{}, fmt.Sprint(n))
		b.Cleanup(func() { _ = s.Close() })
		ids, grants := importMany(b, s, n)
		b.Run(fmt.Sprintf("grant/sessions=%d", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				if _, _, err := s.Grant(b.Context(), ids[i], grants[i]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("find/sessions=%d", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				list, err := s.Find(b.Context(), sessions.Finder{Browser: sessions.BrowserOf(fmt.Sprint("b", i))})
				if err != nil || len(list) != 1 {
					b.Fatal(len(list), err)
				}
			}
		})
		b.Run(fmt.Sprintf("exchange/sessions=%d", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				if err := storetest.Exchange(s, ids[i], grants[i]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("stats/sessions=%d", n), func(b *testing.B) {
			for b.Loop() {
				if st, err := s.count(b.Context()); err != nil || st.Active != n {
					b.Fatal(st, err)
				}
			}
		})
	}
}

// importMany fills a store the short way.
func importMany(b *testing.B, s *Store, n int) (ids []sessions.ID, grants []sessions.GrantID) {
	b.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	err := s.Import(context.Background(), func(yield func(sessions.Moved, error) bool) {
		for i := range n {
			ses := sessions.Session{ID: sessions.NewID(), Place: "https://id.example/authorize",
				Browsers: []sessions.BrowserID{sessions.BrowserOf(fmt.Sprint("b", i))},
				Subjects: []sessions.Subject{{Issuer: "https://id.example", Client: "spa", Sub: fmt.Sprint("user", i)}},
				Created:  now, Start: now, LastUsed: now, Idle: now.Add(72 * time.Hour), Absolute: now.Add(168 * time.Hour)}
			g := sessions.Grant{ID: sessions.NewGrantID(), Session: ses.ID, Client: "spa", Issuer: "https://id.example", Credential: make([]byte, 128), Created: now, LastUsed: now}
			ids, grants = append(ids, ses.ID), append(grants, g.ID)
			if !yield(sessions.Moved{Session: &ses, Grants: []sessions.Grant{g}}, nil) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return ids, grants
}
