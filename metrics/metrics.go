package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const namespace = "ort_gateway"

// The values that labels may take. This is the whole table; New adds the
// reasons of package dpop, which the Config brings.
var (
	// endpoints are those of the public and the admin listener.
	endpoints = newList(
		"authorization", "token", "revocation", "introspection", "par", "device", "backchannel_authentication",
		"end_session", "userinfo", "jwks", "discovery", "session", "events",
		"backchannel_logout", "revoke_own", "forward", "admin")

	// upstreamEndpoints are those that requests to the upstream go to.
	upstreamEndpoints = newList(
		"authorization", "token", "revocation", "introspection", "par", "device", "backchannel_authentication",
		"end_session", "userinfo", "jwks", "discovery", "forward")

	// statusClasses are in the order of a status' first digit (Request).
	statusClasses = newList("1xx", "2xx", "3xx", "4xx", "5xx")

	// issueResults: what became of a code exchange that asked for an ORT.
	issueResults = newList(
		"ok",
		// answered without an ORT
		"none_not_allowed", "none_no_refresh_token", "none_login_too_old",
		// refused
		"refused_dpop", "refused_transaction", "refused_client", "refused_code_used", "refused_ended",
		// not decided by the gateway
		"upstream_refused", "upstream_unavailable", "store_unavailable", "bad_answer")

	// exchangeResults: what became of an ORT exchange, in the order of its checks.
	exchangeResults = newList(
		"ok",
		"invalid_token", "wrong_client", "dpop", "unauthenticated",
		"unknown_session", "ended", "idle", "absolute",
		"invalid_scope", "invalid_target",
		"upstream_invalid_grant", "upstream_refused", "upstream_unavailable",
		"busy", "store_unavailable", "bad_answer", "ended_meanwhile")

	endReasons = newList(
		"revoked", "logout", "backchannel_logout", "admin", "user_switch",
		"idle", "absolute", "grants_ended")

	storeOperations = newList(
		"add_transaction", "transaction", "drop_transaction", "tie_request_uri", "request_uri", "add_note", "note", "drop_note", "owing",
		"add_code", "code", "create", "update", "session", "grant", "grants", "find",
		"list", "lease", "lease_grant", "waits", "remember", "sweep", "ready", "check", "backup", "export", "import")

	// storeResults are in the order of the constants below.
	storeResults = []string{"ok", "not_found", "error"}

	stores          = newList("bolt", "redis")
	dpopAuthorities = newList("gateway", "upstream")
)

// Indices of storeResults, and that of "other" in statusClasses.
const (
	storeOK = iota
	storeNotFound
	storeError

	classOther = 5

	exchangeOK = 0 // index in exchangeResults
)

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
	SessionsActive, SessionsOwing, TransactionsWaiting, ReplayEntries, EventsStreams func() float64
	StoreSize, StoreDiskFree                                                         func() float64 // bytes

	Now func() time.Time // for Timed; nil: time.Now
}

// Metrics counts. A nil *Metrics counts nothing.
type Metrics struct {
	issued, exchanges, dpopRefusals, sessionsEnded counters

	requests  [][]prometheus.Counter // by endpoint and class
	storeOps  [][]prometheus.Counter // by operation and result
	pushedOut prometheus.Counter

	exchangeDuration prometheus.Histogram
	gatewayDuration  prometheus.Histogram
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
	m.gatewayDuration = f.histogram("exchange_gateway_duration_seconds", "Time that ORT exchanges which succeeded took, without waiting for the upstream.", durationBuckets)
	m.upstreamDuration = f.histograms("upstream_request_duration_seconds", "Time until the upstream's answer headers, by endpoint.", durationBuckets, "endpoint", upstreamEndpoints)
	m.dpopRefusals = f.counters("dpop_refusals_total", "DPoP proofs refused, by reason.", "reason", newList(cfg.DPoPReasons...))
	m.clockOffset = f.histogram("dpop_clock_offset_seconds", "How far clients' clocks are ahead (negative: behind), by the iat of their DPoP proofs.", offsetBuckets)
	m.sessionsEnded = f.counters("sessions_ended_total", "Sessions that ended, by reason.", "reason", endReasons)
	m.pushedOut = f.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "transactions_pushed_out_total", Help: "Waiting transactions dropped because too many waited."})
	m.requests = f.table("requests_total", "Requests answered, by endpoint and status class.", "endpoint", endpoints.values, "code", statusClasses.values)
	m.storeOps = f.table("store_operations_total", "Operations of the store, by result.", "operation", storeOperations.values, "result", storeResults)
	m.storeDuration = f.histograms("store_operation_duration_seconds", "Time that operations of the store took.", storeBuckets, "operation", storeOperations)

	f.gaugeFunc("sessions_active", "Sessions that have not ended.", cfg.SessionsActive)
	f.gaugeFunc("sessions_owing", "Ended sessions whose upstream credentials were not given back yet.", cfg.SessionsOwing)
	f.gaugeFunc("transactions_waiting", "Authorization requests whose code has not come yet.", cfg.TransactionsWaiting)
	f.gaugeFunc("replay_entries", "DPoP proofs remembered against replay.", cfg.ReplayEntries)
	f.gaugeFunc("events_streams", "Open streams of session events.", cfg.EventsStreams)
	f.gaugeFunc("store_size_bytes", "Size of the store.", cfg.StoreSize)
	f.gaugeFunc("store_disk_free_bytes", "Free space on the disk of the embedded store.", cfg.StoreDiskFree)
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
