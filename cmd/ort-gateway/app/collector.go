package app

import (
	"context"
	"os"
	"runtime/metrics"
	"time"
)

// The heap may grow to five times what lives before it is collected, as long as little lives: a few MiB save a tenth of the
// work of a request. Where more lives (thousands of event streams), the garbage beside it is bounded.
const (
	collectorMost  = 400      // percent of what lives
	collectorLeast = 100      // Go's own default
	collectorSpare = 48 << 20 // bytes of garbage that are worth the saved work
	collectorStep  = 20       // a smaller change is not worth the stop of the world
	collectorEvery = time.Second
)

// collectorPercent is how much garbage may come beside what lives, in percent of it.
func collectorPercent(live uint64) int {
	if live == 0 {
		return collectorMost
	}
	return int(min(max(collectorSpare*100/live, collectorLeast), collectorMost))
}

// tunesCollector says whether the collector is ours to set: where GOGC is, its user decides.
func tunesCollector() bool { return os.Getenv("GOGC") == "" }

// followHeap sets the collector after what lives, at each tick until ctx ends.
func followHeap(ctx context.Context, tick <-chan time.Time, set func(percent int) (before int)) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for now := collectorMost; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		metrics.Read(live)
		if next := collectorPercent(live[0].Value.Uint64()); next < now-collectorStep || next > now+collectorStep {
			set(next)
			now = next
		}
	}
}
