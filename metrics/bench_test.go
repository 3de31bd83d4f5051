package metrics

import (
	"testing"
	"time"
)

// Counting a forwarded request: what the gateway adds to every request.
func BenchmarkRequest(b *testing.B) {
	m, _ := newMetrics(b)
	b.ReportAllocs()
	for b.Loop() {
		m.Request("forward", 200)
	}
}

func BenchmarkRequestParallel(b *testing.B) {
	m, _ := newMetrics(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Request("forward", 200)
		}
	})
}

// The bare counter, as the baseline of BenchmarkRequest.
func BenchmarkCounter(b *testing.B) {
	m, _ := newMetrics(b)
	c := m.requests[0][0]
	b.ReportAllocs()
	for b.Loop() {
		c.Inc()
	}
}

func BenchmarkExchanged(b *testing.B) {
	m, _ := newMetrics(b)
	b.ReportAllocs()
	for b.Loop() {
		m.Exchanged(Exchange{Result: "ok", Took: 3 * time.Millisecond})
	}
}

func BenchmarkStoreOperation(b *testing.B) {
	m, _ := newMetrics(b)
	b.ReportAllocs()
	for b.Loop() {
		m.StoreOperation("session", nil, time.Millisecond)
	}
}

// The hot calls allocate nothing.
func TestNoAllocations(t *testing.T) {
	m, _ := newMetrics(t)
	for name, f := range map[string]func(){
		"Request":         func() { m.Request("forward", 200) },
		"Exchanged":       func() { m.Exchanged(Exchange{Result: "ok", Took: 3 * time.Millisecond}) },
		"UpstreamRequest": func() { m.UpstreamRequest("token", 3*time.Millisecond, "") },
		"StoreOperation":  func() { m.StoreOperation("session", nil, time.Millisecond) },
	} {
		f() // a native histogram makes its bucket at the first value of a kind
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
