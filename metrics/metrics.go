package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const namespace = "ort_gateway"

// Config says what the metrics cannot know by themselves. Its zero value works.
type Config struct {
	Version, Revision string // build_info
	GoVersion         string // build_info; empty: of this binary
	Store             string // config_info: bolt, redis
	DPoPAuthority     string // config_info: gateway, upstream

	// DPoPReasons are the values of dpop_refusals_total's label: all reasons
	// of package dpop.
	DPoPReasons []string

	// NotFound tells which errors of a store say that a record is not there,
	// which is an answer like any other. Nil: none.
	NotFound func(error) bool

	// Gauges read at each scrape, by several scrapes at once. Nil: no such
	// metric.
	SessionsActive, TransactionsWaiting, ReplayEntries, EventsStreams func() float64
	StoreSize                                                         func() float64 // bytes

	Now func() time.Time // for StoreTimer; nil: time.Now
}

// Metrics counts. A nil *Metrics counts nothing.
type Metrics struct {
	issued, exchanges, dpopRefusals, sessionsEnded counters

	requests  []prometheus.Counter // endpoint times class
	storeOps  []prometheus.Counter // operation times result
	pushedOut prometheus.Counter

	exchangeDuration prometheus.Histogram
	upstreamDuration histograms
	storeDuration    histograms
	clockOffset      prometheus.Histogram

	upstreamUp prometheus.Gauge
	keys       *keyInfo

	notFound func(error) bool
	now      func() time.Time
}

// Buckets in seconds.
var (
	durationBuckets = []float64{
		.001, .002, .003, .005, .0075, .01, .015, .02, .03, .04, .05,
		.075, .1, .25, .5, 1, 2.5, 5, 10, 30}
	storeBuckets = []float64{
		.00005, .0001, .00025, .0005, .001, .002, .005, .01, .02, .03, .05, .1, .25, 1, 5}
	offsetBuckets = []float64{
		-3600, -600, -300, -60, -30, -10, -5, -2, 0, 2, 5, 10, 30, 60, 300, 600, 3600}
)

// New registers every metric with reg, a registry made for this process: what is
// registered twice panics, as a fault of the program. The Go runtime's and the
// process's metrics are among them.
func New(reg prometheus.Registerer, cfg Config) *Metrics {
	f := factory{promauto.With(reg)}
	m := &Metrics{notFound: cfg.NotFound, now: cfg.Now, keys: newKeyInfo()}
	if m.now == nil {
		m.now = time.Now
	}

	m.issued = f.counters("issued_total", "Code exchanges that asked for an ORT, by result.", "result", issueResults)
	m.exchanges = f.counters("exchanges_total", "ORT exchanges, by result.", "result", exchangeResults)
	m.exchangeDuration = f.histogram("exchange_duration_seconds", "Time that ORT exchanges took, the upstream's part included.", durationBuckets)
	m.upstreamDuration = f.histograms("upstream_request_duration_seconds", "Time until the upstream's answer headers, by endpoint.", durationBuckets, "endpoint", upstreamEndpoints)
	m.dpopRefusals = f.counters("dpop_refusals_total", "DPoP proofs refused, by reason.", "reason", newList(cfg.DPoPReasons...))
	m.clockOffset = f.histogram("dpop_clock_offset_seconds", "How far clients' clocks are ahead (negative: behind), by the iat of their DPoP proofs.", offsetBuckets)
	m.sessionsEnded = f.counters("sessions_ended_total", "Sessions that ended, by reason.", "reason", endReasons)
	m.pushedOut = f.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "transactions_pushed_out_total", Help: "Waiting transactions dropped because too many waited."})
	m.requests = f.table("requests_total", "Requests answered, by endpoint and status class.", "endpoint", endpoints.values, "code", statusClasses.values)
	m.storeOps = f.table("store_operations_total", "Operations of the store, by result.", "operation", storeOperations.values, "result", storeResults)
	m.storeDuration = f.histograms("store_operation_duration_seconds", "Time that operations of the store took.", storeBuckets, "operation", storeOperations)

	f.gaugeFunc("sessions_active", "Sessions that have not ended.", cfg.SessionsActive)
	f.gaugeFunc("transactions_waiting", "Authorization requests whose code has not come yet.", cfg.TransactionsWaiting)
	f.gaugeFunc("replay_entries", "DPoP proofs remembered against replay.", cfg.ReplayEntries)
	f.gaugeFunc("events_streams", "Open streams of session events.", cfg.EventsStreams)
	f.gaugeFunc("store_size_bytes", "Size of the store.", cfg.StoreSize)
	m.upstreamUp = f.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "upstream_up", Help: "1 while the upstream answers, else 0."})

	f.info("config_info", "Settings that tell deployments apart; always 1.", prometheus.Labels{
		"store": stores.closed(cfg.Store), "dpop_authority": dpopAuthorities.closed(cfg.DPoPAuthority)})
	if cfg.GoVersion == "" {
		cfg.GoVersion = runtime.Version()
	}
	f.info("build_info", "The build that runs; always 1.", prometheus.Labels{
		"version": cfg.Version, "revision": cfg.Revision, "goversion": cfg.GoVersion})
	reg.MustRegister(m.keys,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Issued counts a code exchange that asked for an ORT.
func (m *Metrics) Issued(result string) {
	if m != nil {
		m.issued.inc(result)
	}
}

// Exchanged counts an ORT exchange that took d from the request's arrival until
// its answer was ready.
func (m *Metrics) Exchanged(result string, d time.Duration) {
	if m != nil {
		m.exchanges.inc(result)
		m.exchangeDuration.Observe(seconds(d))
	}
}

// UpstreamRequest records that the upstream's answer headers, or the error in
// their place, came after d.
func (m *Metrics) UpstreamRequest(endpoint string, d time.Duration) {
	if m != nil {
		m.upstreamDuration.observe(endpoint, d)
	}
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
	classes := len(statusClasses.values)
	class := status/100 - 1
	if class < 0 || class >= classes-1 {
		class = classes - 1
	}
	m.requests[endpoints.index(endpoint)*classes+class].Inc()
}

// StoreOperation counts an operation of the store that took d. Of errors, those
// that Config.NotFound knows have the result "not_found".
func (m *Metrics) StoreOperation(op string, err error, d time.Duration) {
	if m != nil {
		m.storeOperation(storeOperations.index(op), err, d)
	}
}

func (m *Metrics) storeOperation(op int, err error, d time.Duration) {
	result := storeOK
	if err != nil {
		result = storeError
		if m.notFound != nil && m.notFound(err) {
			result = storeNotFound
		}
	}
	m.storeOps[op*len(storeResults)+result].Inc()
	m.storeDuration.of[op].Observe(seconds(d))
}

// StoreTimer is an operation of the store under way.
type StoreTimer struct {
	m     *Metrics
	op    int
	start time.Time
}

// StoreTimer starts the clock of an operation, to be stopped by Done:
//
//	t := m.StoreTimer("session")
//	s, err := store.Session(ctx, id)
//	t.Done(err)
//
// On a nil *Metrics the clock is not even read.
func (m *Metrics) StoreTimer(op string) StoreTimer {
	if m == nil {
		return StoreTimer{}
	}
	return StoreTimer{m, storeOperations.index(op), m.now()}
}

// Done counts the operation as [Metrics.StoreOperation] does.
func (t StoreTimer) Done(err error) {
	if t.m != nil {
		t.m.storeOperation(t.op, err, t.m.now().Sub(t.start))
	}
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
