package metrics

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ort-gateway/ort-gateway/dpop"
)

var update = flag.Bool("update", false, "write testdata/names.golden anew")

var errNotFound = errors.New("not found")

// newMetrics is a Metrics of a full Config, with its registry.
func newMetrics(t testing.TB) (*Metrics, *prometheus.Registry) {
	t.Helper()
	zero := func() float64 { return 0 }
	var reasons []string
	for _, r := range dpop.Reasons() {
		reasons = append(reasons, string(r))
	}
	reg := prometheus.NewPedanticRegistry()
	m := New(reg, Config{
		Version: "v0.0.0", Revision: "0000000", GoVersion: "go0.0", Store: "bolt", DPoPAuthority: "gateway",
		DPoPReasons:    reasons,
		NotFound:       func(err error) bool { return errors.Is(err, errNotFound) },
		SessionsActive: zero, SessionsOwing: zero, TransactionsWaiting: zero, ReplayEntries: zero, EventsStreams: zero,
		StoreSize: zero, StoreDiskFree: zero,
	})
	return m, reg
}

// callAll calls every method of m once.
func callAll(m *Metrics) {
	m.Issued("ok")
	m.Exchanged(Exchange{Result: "ok", Took: 9 * time.Millisecond, Waited: 7 * time.Millisecond})
	m.UpstreamRequest("token", time.Millisecond, "")
	m.DPoPRefused("replayed")
	m.ClockOffset(-3 * time.Second)
	m.SessionEnded("logout")
	m.TransactionPushedOut(7)
	m.Request("token", 200)
	m.StoreOperation("session", nil, time.Millisecond)
	m.StoreOperation("update", nil, time.Millisecond)
	m.UpstreamUp(true)
	m.SealingKeys([]string{"k1"})
}

func TestNamesAreLintClean(t *testing.T) {
	m, reg := newMetrics(t)
	callAll(m)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Every series of a known label value is there before anything was counted, at
// 0. Dashboards and alerts are written against this list.
func TestNamesGolden(t *testing.T) {
	m, reg := newMetrics(t)
	m.SealingKeys([]string{"new", "old"}) // else that family would be empty
	got := describe(t, reg)
	path := filepath.Join("testdata", "names.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("metrics differ from %s (go test -update writes it anew):\n%s", path, got)
	}
}

// describe lists our families: name, type, number of series, values of each
// label, classic buckets. It fails where a series that counts is not at 0.
func describe(t *testing.T, reg prometheus.Gatherer) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "ort_gateway_") {
			continue // of the Go runtime and the process: not ours to fix
		}
		fmt.Fprintf(&b, "%s %s, %d series\n", name, strings.ToLower(f.GetType().String()), len(f.GetMetric()))
		values := map[string][]string{}
		var names []string
		for _, s := range f.GetMetric() {
			n := s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
			if n != 0 && !strings.HasSuffix(name, "_info") {
				t.Errorf("%s starts at %v, want 0", name, n)
			}
			for _, l := range s.GetLabel() {
				if values[l.GetName()] == nil {
					names = append(names, l.GetName())
				}
				if !slices.Contains(values[l.GetName()], l.GetValue()) {
					values[l.GetName()] = append(values[l.GetName()], l.GetValue())
				}
			}
		}
		for _, l := range names {
			fmt.Fprintf(&b, "\t%s: %s\n", l, strings.Join(values[l], " "))
		}
		if h := f.GetMetric()[0].GetHistogram(); h != nil {
			b.WriteString("\tle:")
			for _, bucket := range h.GetBucket() {
				fmt.Fprintf(&b, " %v", bucket.GetUpperBound())
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func TestUnknownValuesBecomeOther(t *testing.T) {
	m, reg := newMetrics(t)
	before := count(t, reg)
	for _, s := range []string{"", "other", "Token", "tokem", "a client's id", strings.Repeat("x", 1000), "\xff"} {
		m.Issued(s)
		m.Exchanged(Exchange{Result: s})
		m.UpstreamRequest(s, 0, "")
		m.DPoPRefused(s)
		m.SessionEnded(s)
		m.Request(s, 200)
		m.StoreOperation(s, nil, 0)
	}
	if after := count(t, reg); after != before {
		t.Errorf("unknown label values made series: %d before, %d after", before, after)
	}
	for _, tt := range []struct {
		what string
		c    prometheus.Collector
		want float64
	}{
		{"issued", m.issued.of[len(m.issued.of)-1], 7},
		{"exchanges", m.exchanges.of[len(m.exchanges.of)-1], 7},
		{"dpop refusals", m.dpopRefusals.of[len(m.dpopRefusals.of)-1], 7},
		{"sessions ended", m.sessionsEnded.of[len(m.sessionsEnded.of)-1], 7},
	} {
		if got := testutil.ToFloat64(tt.c); got != tt.want {
			t.Errorf("%s under other = %v, want %v", tt.what, got, tt.want)
		}
	}
}

func count(t *testing.T, reg prometheus.Gatherer) int {
	t.Helper()
	n, err := testutil.GatherAndCount(reg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCountedWhereItBelongs(t *testing.T) {
	m, reg := newMetrics(t)
	callAll(m)
	m.TransactionPushedOut(0)
	m.TransactionPushedOut(-1)
	m.StoreOperation("session", fmt.Errorf("reading session: %w", errNotFound), 0)
	m.StoreOperation("session", errors.New("disk full"), 0)
	for _, status := range []int{101, 199, 204, 302, 404, 499, 599, 0, -1, 99, 600, 1 << 30} {
		m.Request("forward", status)
	}
	m.UpstreamUp(false)
	got, err := scrape(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`issued_total{result="ok"} 1`,
		`exchanges_total{result="ok"} 1`,
		`exchange_duration_seconds_bucket{le="0.0075"} 0`,
		`exchange_duration_seconds_bucket{le="0.01"} 1`,
		`exchange_gateway_duration_seconds_bucket{le="0.001"} 0`,
		`exchange_gateway_duration_seconds_bucket{le="0.002"} 1`,
		`upstream_request_duration_seconds_count{endpoint="token"} 1`,
		`dpop_refusals_total{reason="replayed"} 1`,
		`dpop_clock_offset_seconds_bucket{le="-5.0"} 0`,
		`dpop_clock_offset_seconds_bucket{le="-2.0"} 1`,
		`dpop_clock_offset_seconds_sum -3.0`,
		`sessions_ended_total{reason="logout"} 1`,
		`transactions_pushed_out_total 7`,
		`requests_total{code="2xx",endpoint="token"} 1`,
		`requests_total{code="1xx",endpoint="forward"} 2`,
		`requests_total{code="2xx",endpoint="forward"} 1`,
		`requests_total{code="3xx",endpoint="forward"} 1`,
		`requests_total{code="4xx",endpoint="forward"} 2`,
		`requests_total{code="5xx",endpoint="forward"} 1`,
		`requests_total{code="other",endpoint="forward"} 5`,
		`store_operations_total{operation="session",result="ok"} 1`,
		`store_operations_total{operation="session",result="not_found"} 1`,
		`store_operations_total{operation="session",result="error"} 1`,
		`store_operations_total{operation="update",result="ok"} 1`,
		`store_operation_duration_seconds_count{operation="session"} 3`,
		`upstream_up 0`,
		`sealing_key_info{id="k1"} 1`,
		`config_info{dpop_authority="gateway",store="bolt"} 1`,
		`build_info{goversion="go0.0",revision="0000000",version="v0.0.0"} 1`,
		`store_size_bytes 0`,
	} {
		// OpenMetrics writes counts with a fraction.
		want = "ort_gateway_" + want
		if !strings.Contains(got, want+".0\n") && !strings.Contains(got, want+"\n") {
			name, _, _ := strings.Cut(want, " ")
			t.Errorf("want %s, got %s", want, lineOf(got, name))
		}
	}
	for _, runtime := range []string{"go_goroutines ", "process_start_time_seconds "} {
		if !strings.Contains(got, "\n"+runtime) {
			t.Errorf("no metric %s", runtime)
		}
	}
}

func lineOf(text, name string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+" ") {
			return strings.TrimSpace(line)
		}
	}
	return "nothing"
}

func TestNilMetricsDoNothing(t *testing.T) {
	callAll(nil)
}

// Fields of a Config left out: what they would have counted is absent.
func TestZeroConfig(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := New(reg, Config{})
	callAll(m)
	m.StoreOperation("session", errNotFound, 0)
	got, err := scrape(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{"sessions_active", "sessions_owing", "store_disk_free_bytes", "transactions_waiting", "replay_entries", "events_streams", "store_size_bytes"} {
		if strings.Contains(got, "ort_gateway_"+absent) {
			t.Errorf("%s is there although the Config has no source", absent)
		}
	}
	for _, want := range []string{
		`dpop_refusals_total{reason="other"} 1`,
		`store_operations_total{operation="session",result="error"} 1`,
		`config_info{dpop_authority="other",store="other"} 1`,
	} {
		if !strings.Contains(got, "ort_gateway_"+want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestSealingKeysForgetsFormerOnes(t *testing.T) {
	m, reg := newMetrics(t)
	m.SealingKeys([]string{"b", "a"})
	m.SealingKeys([]string{"c", "b", "c"}) // a repeated id must not spoil the scrape
	got, err := scrape(reg)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, `{id="a"}`) || !strings.Contains(got, `{id="b"}`) || !strings.Contains(got, `{id="c"}`) {
		t.Errorf("want keys b and c, got %s", got)
	}
}

// A clock that was set back takes nothing away: a sum that falls would pass for a new process.
func TestAClockThatWasSetBack(t *testing.T) {
	m, reg := newMetrics(t)
	m.StoreOperation("lease", nil, 3*time.Second)
	m.StoreOperation("lease", nil, -time.Hour)
	got, err := scrape(reg)
	if err != nil {
		t.Fatal(err)
	}
	if want := `ort_gateway_store_operation_duration_seconds_sum{operation="lease"} 3.0`; !strings.Contains(got, want) {
		t.Errorf("no %s", want)
	}
}

// What the stores call their operations is in the list: else it would be counted
// under other, and nobody would know of what.
func TestStoreOperationsAreNamed(t *testing.T) {
	files, err := filepath.Glob("../sessions/*store/*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	told := regexp.MustCompile(`\.observe(?:Wait)?\("(\w+)"`)
	seen := map[string]bool{}
	for _, file := range files {
		for _, m := range told.FindAllStringSubmatch(read(t, file), -1) {
			seen[m[1]] = true
			if !slices.Contains(storeOperations.values, m[1]) {
				t.Errorf("%s: operation %s is in no list", file, m[1])
			}
		}
	}
	for _, op := range storeOperations.values {
		if !seen[op] && op != other {
			t.Errorf("no store has an operation %s", op)
		}
	}
}

func TestListFindsEveryValue(t *testing.T) {
	for _, l := range []*list{
		endpoints, upstreamEndpoints, statusClasses, issueResults, exchangeResults, endReasons, storeOperations,
		newList(), newList("a"), newList("other", "a", "a", "b"),
	} {
		for i, v := range l.values {
			if got := l.index(v); got != i {
				t.Errorf("index(%q) in %v = %d, want %d", v, l.values, got, i)
			}
		}
		if last := l.values[len(l.values)-1]; last != other {
			t.Errorf("%v does not end in other", l.values)
		}
	}
}
