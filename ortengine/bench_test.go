package ortengine_test

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// BenchmarkExchange is the gateway's own part of an ORT exchange, a durable
// rotation in it, at an upstream that answers at once. The clients have a grant
// each.
func BenchmarkExchange(b *testing.B) {
	for _, bench := range []struct {
		name    string
		clients int
	}{{"serial", 1}, {"parallel=64", 64}} {
		b.Run(bench.name, func(b *testing.B) { benchmarkExchange(b, bench.clients, bench.clients) })
	}
	// Every tab of one app at once: one after the other, by the rule.
	b.Run("one-grant=64", func(b *testing.B) { benchmarkExchange(b, 64, 1) })
}

func benchmarkExchange(b *testing.B, clients, grants int) {
	f := newFixture(b, func(c *ortengine.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
	})
	var tokens []string
	for range grants {
		tokens = append(tokens, f.login(login{key: "jkt"}).Token)
	}
	send := func(context.Context, string) (ortengine.Answer, error) {
		return ortengine.Answer{Status: 200, Credential: "a credential of the upstream as long as those of some identity providers"}, nil
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wait sync.WaitGroup
	for i := range clients {
		token := tokens[i%grants]
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				o, err := f.Open(token)
				if err == nil {
					_, err = f.Exchange(b.Context(), ortengine.Exchange{ORT: o, Send: send})
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exchanges/s")
}

// BenchmarkOpen is what every request with an ORT pays before anything else.
func BenchmarkOpen(b *testing.B) {
	f := newFixture(b, nil)
	ort := f.login(login{key: "jkt"}).Token
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Open(ort); err != nil {
			b.Fatal(err)
		}
	}
}
