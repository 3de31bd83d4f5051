package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Issued counts a code exchange that asked for an ORT.
func (m *Metrics) Issued(result string) {
	if m != nil {
		m.issued.inc(result)
	}
}

// Exchange is what is to be told of an ORT exchange.
type Exchange struct {
	Result string
	Took   time.Duration // from the request's arrival until its answer was ready
	Waited time.Duration // that part of it in which the upstream was waited for
	Trace  string        // trace id (W3C Trace Context), empty where there is none
}

// Exchanged counts an ORT exchange. The gateway's own time is kept of those that
// succeeded: refusals are fast, and whoever sends bad tokens by the thousand must
// not make a slow gateway look fast.
func (m *Metrics) Exchanged(x Exchange) {
	if m == nil {
		return
	}
	result := m.exchanges.values.index(x.Result)
	m.exchanges.of[result].Inc()
	observe(m.exchangeDuration, x.Took, x.Trace)
	if result == exchangeOK {
		observe(m.gatewayDuration, x.Took-x.Waited, x.Trace)
	}
}

// UpstreamRequest records that the upstream's answer headers, or the error in
// their place, came after d. trace is the trace id, empty where there is none.
func (m *Metrics) UpstreamRequest(endpoint string, d time.Duration, trace string) {
	if m != nil {
		observe(m.upstreamDuration.of[m.upstreamDuration.values.index(endpoint)], d, trace)
	}
}

// observe adds a duration, and leaves the trace id as its bucket's exemplar.
// Without one it allocates nothing.
func observe(h prometheus.Observer, d time.Duration, trace string) {
	if trace == "" {
		h.Observe(seconds(d))
		return
	}
	h.(prometheus.ExemplarObserver).ObserveWithExemplar(seconds(d), prometheus.Labels{"trace_id": trace})
}

// DPoPRefused counts a refused proof.
func (m *Metrics) DPoPRefused(reason string) {
	if m != nil {
		m.dpopRefusals.inc(reason)
	}
}

// ClockOffset records how far a client's clock is ahead of ours (negative:
// behind).
func (m *Metrics) ClockOffset(d time.Duration) {
	if m != nil {
		m.clockOffset.Observe(d.Seconds())
	}
}

// SessionEnded counts a session that ended.
func (m *Metrics) SessionEnded(reason string) {
	if m != nil {
		m.sessionsEnded.inc(reason)
	}
}

// TransactionPushedOut counts n transactions dropped because too many waited.
// An n below 1 counts nothing.
func (m *Metrics) TransactionPushedOut(n int) {
	if m != nil && n > 0 {
		m.pushedOut.Add(float64(n))
	}
}

// Request counts an answered request. A status outside 100 to 599 (nothing was
// answered) is of the class "other". It is called for every request that the
// gateway forwards, and costs a few nanoseconds.
func (m *Metrics) Request(endpoint string, status int) {
	if m == nil {
		return
	}
	class := uint(status)/100 - 1 // of 0 to 99 and of negative ones: far too large
	if class > classOther {
		class = classOther
	}
	m.requests[endpoints.index(endpoint)][class].Inc()
}

// StoreOperation counts an operation of the store that took d. Of errors, those
// that Config.NotFound knows have the result "not_found".
func (m *Metrics) StoreOperation(op string, err error, d time.Duration) {
	if m == nil {
		return
	}
	result := storeOK
	if err != nil {
		result = storeError
		if m.notFound != nil && m.notFound(err) {
			result = storeNotFound
		}
	}
	i := storeOperations.index(op)
	m.storeOps[i][result].Inc()
	m.storeDuration.of[i].Observe(seconds(d))
}

// UpstreamUp says whether the upstream answers.
func (m *Metrics) UpstreamUp(up bool) {
	if m == nil {
		return
	}
	if up {
		m.upstreamUp.Set(1)
	} else {
		m.upstreamUp.Set(0)
	}
}

// SealingKeys says which sealing keys are in force. Former ones are forgotten.
func (m *Metrics) SealingKeys(ids []string) {
	if m != nil {
		m.keys.set(ids)
	}
}

// seconds is d for a histogram. A clock that was set back made no time.
func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }
