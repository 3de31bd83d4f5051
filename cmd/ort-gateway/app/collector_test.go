package app

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestCollectorPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {1 << 20, 400}, {12 << 20, 400}, {16 << 20, 300}, {24 << 20, 200}, {48 << 20, 100}, {1 << 30, 100}} {
		if got := collectorPercent(c.live); got != c.want {
			t.Errorf("%d bytes live: got %d %%, want %d %%", c.live, got, c.want)
		}
	}
}

// The collector works harder when much lives, and is set once for it.
func TestCollectorFollowsWhatLives(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	tick, ended := make(chan time.Time), make(chan struct{})
	var set []int
	go func() {
		followHeap(ctx, tick, func(percent int) int { set = append(set, percent); return 0 })
		close(ended)
	}()
	big := make([]byte, 100<<20)
	runtime.GC()
	for range 3 {
		tick <- time.Time{}
	}
	stop()
	<-ended
	runtime.KeepAlive(big)
	if len(set) != 1 || set[0] != collectorLeast {
		t.Errorf("the collector was set to %v, want %d once", set, collectorLeast)
	}
}
