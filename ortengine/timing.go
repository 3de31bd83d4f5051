package ortengine

import (
	"sync"
	"time"

	"github.com/ort-gateway/ort-gateway/metrics"
)

// Timing is what is measured of an ORT exchange.
type Timing struct {
	Took   time.Duration // from its arrival until its answer
	Waited time.Duration // of it: see [Waits]
	Trace  string        // trace id of the request, empty where it has none
}

// Waits adds up how long an exchange waited for the upstream: for the answer to
// its own call, and for its turn behind the calls of others with the same token.
// The zero value is ready; a nil *Waits adds nothing up.
type Waits struct {
	mu    sync.Mutex
	since time.Time // of the wait under way, zero where there is none
	sum   time.Duration
}

// Until is the sum, a wait under way counted until now: the upstream may be silent
// for longer than the client has patience.
func (w *Waits) Until(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		return w.sum
	}
	return w.sum + now.Sub(w.since)
}

func (w *Waits) begin(now time.Time) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = now
}

func (w *Waits) end(now time.Time) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum, w.since = w.sum+now.Sub(w.since), time.Time{}
}

func (e *Engine) exchangeCounted(result string, t Timing) {
	e.Metrics.Exchanged(metrics.Exchange{Result: result, Took: t.Took, Waited: t.Waited, Trace: t.Trace})
}
