package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/metrics/promtest"
)

// chart is where what watches the gateway lies.
const chart = "../../charts/ort-gateway/files/"

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPrometheus has a real Prometheus scrape the gateway during the walkthrough.
// Then the dashboard is full, every rule works, and when the identity provider is
// gone, the right alerts fire.
func TestPrometheus(t *testing.T) {
	w, err := startWorld(t.Context(), options{idle: 2 * time.Minute, absolute: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	rules := regexp.MustCompile(`(?m)^( +for:) .*$`).ReplaceAllString(readFile(t, chart+"rules.yaml"), "$1 1s")
	target := []string{strings.TrimPrefix(w.admin, "http://")}
	p := promtest.Start(t, promtest.Config{Job: "gw", Targets: target, Rules: rules})
	native := promtest.Start(t, promtest.Config{Job: "gw", Targets: target, Native: true})

	var out bytes.Buffer
	if code := walk(t.Context(), w, &out); code != 0 {
		t.Fatalf("the walkthrough failed:\n%s", &out)
	}
	user := tracedUser(t, w, &out)
	t.Run("fed", func(t *testing.T) { everythingIsFed(t, p, user) })
	t.Run("dashboard", func(t *testing.T) { dashboardIsFull(t, p) })
	t.Run("rules", func(t *testing.T) { rulesWork(t, p) })
	t.Run("exemplars", func(t *testing.T) { exemplarsLead(t, p) })
	t.Run("native", func(t *testing.T) { nativeHistograms(t, native) })
	t.Run("upstream gone", func(t *testing.T) { upstreamGone(t, p, user) })
}

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

// traced sends each request as a part of one trace.
type traced struct{}

func (traced) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Traceparent", "00-"+traceID+"-00f067aa0ba902b7-01")
	return http.DefaultTransport.RoundTrip(r)
}

// tracedUser logs in and stays so, with a traceparent in each request.
func tracedUser(t *testing.T, w *world, out *bytes.Buffer) *walker {
	t.Helper()
	user, err := newWalker(context.WithoutCancel(t.Context()), w, out)
	if err != nil {
		t.Fatal(err)
	}
	user.browser.Transport = traced{}
	for _, step := range []func(*walker){discovery, firstLogin, codeExchange, threeExchanges} {
		if !user.try(step) || len(user.faults) > 0 {
			t.Fatalf("logging in once more: %v\n%s", user.faults, out)
		}
	}
	return user
}

// everythingIsFed wants to see what the walkthrough did in the metrics.
func everythingIsFed(t *testing.T, p *promtest.Server, user *walker) {
	const exchanged = `ort_gateway_exchanges_total{result="ok"}`
	p.Until(t, "the last exchange was scraped", func() bool {
		samples, err := p.Query(exchanged)
		return err == nil && len(samples) == 1 && samples[0].Value == user.metric(exchanged)
	})
	for _, expr := range []string{
		`issued_total{result="ok"}`, `exchanges_total{result="ok"}`, `exchanges_total{result="dpop"}`, `exchanges_total{result="wrong_client"}`,
		`exchange_duration_seconds_count`, `exchange_gateway_duration_seconds_count`,
		`upstream_request_duration_seconds_count{endpoint="token"}`, `upstream_request_duration_seconds_count{endpoint="authorization"}`,
		`upstream_request_duration_seconds_count{endpoint="discovery"}`,
		`upstream_request_duration_seconds_count{endpoint="forward"}`, `upstream_request_duration_seconds_count{endpoint="revocation"}`,
		`dpop_refusals_total{reason="missing"}`, `dpop_refusals_total{reason="nonce_missing"}`, `dpop_refusals_total{reason="htu"}`,
		`dpop_clock_offset_seconds_count`, `sessions_ended_total{reason="revoked"}`, `sessions_ended_total{reason="user_switch"}`,
		`requests_total{endpoint="token",code="2xx"}`, `requests_total{endpoint="events",code="2xx"}`, `requests_total{endpoint="session",code="4xx"}`,
		`requests_total{endpoint="forward",code="2xx"}`, `requests_total{endpoint="admin",code="2xx"}`,
		`store_operations_total{operation="update",result="ok"}`, `store_operation_duration_seconds_count{operation="update"}`,
		`sessions_active`, `replay_entries`, `upstream_up`, `sealing_key_info`, `store_size_bytes`, `store_disk_free_bytes`,
		`config_info{store="bolt",dpop_authority="gateway"}`, `build_info`,
	} {
		samples, err := p.Query("ort_gateway_" + expr + " > 0")
		if err != nil || len(samples) == 0 {
			t.Errorf("%s is not above zero after the walkthrough (%v)", expr, err)
		}
	}
}

// dashboardIsFull asks what each panel asks. What never happened is a series at
// zero, so no panel is empty.
func dashboardIsFull(t *testing.T, p *promtest.Server) {
	panels, err := promtest.Panels([]byte(readFile(t, chart+"dashboard.json")))
	if err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, panel := range panels {
		for _, q := range panel.Targets {
			queries++
			expr := strings.NewReplacer("$__rate_interval", "1m", "$job", "gw", "$instance", ".+").Replace(q.Expr)
			if samples, err := p.Query(expr); err != nil || len(samples) == 0 {
				t.Errorf("panel %s: %d series, %v: %s", panel.Title, len(samples), err, expr)
			}
		}
	}
	t.Logf("%d queries of %d panels and rows", queries, len(panels))
}

// rulesWork looks whether each rule was evaluated, and whether everything that it
// reads is there.
func rulesWork(t *testing.T, p *promtest.Server) {
	var rules []promtest.Rule
	p.Until(t, "every rule was evaluated", func() bool {
		var err error
		if rules, err = p.Rules(); err != nil {
			t.Fatal(err)
		}
		return len(rules) > 0 && !slices.ContainsFunc(rules, func(r promtest.Rule) bool { return r.Health == "unknown" })
	})
	selector := regexp.MustCompile(`\b(?:job:)?(?:ort_gateway_\w+|process_\w+)(?::\w+)?(?:\{[^}]*\})?`)
	for _, r := range rules {
		if r.Health != "ok" || r.LastError != "" {
			t.Errorf("%s: %s, %s", r.Name, r.Health, r.LastError)
		}
		for _, read := range selector.FindAllString(r.Query, -1) {
			if samples, err := p.Query(read); err != nil || len(samples) == 0 {
				t.Errorf("%s reads %s: %d series, %v", r.Name, read, len(samples), err)
			}
		}
		// A disk's trend is nothing to go by within seconds: its `for` of an hour is cut here.
		if r.State == "firing" && r.Name != "OrtGatewayDiskFilling" {
			t.Errorf("%s fires although nothing is wrong", r.Name)
		}
	}
	t.Logf("%d rules", len(rules))
}

func exemplarsLead(t *testing.T, p *promtest.Server) {
	for _, name := range []string{"exchange_duration_seconds", "exchange_gateway_duration_seconds", "upstream_request_duration_seconds"} {
		ids, err := p.Exemplars("ort_gateway_" + name + "_bucket")
		if err != nil || !slices.Contains(ids, traceID) {
			t.Errorf("%s: exemplars %v, %v, want %s among them", name, ids, err, traceID)
		}
	}
}

// nativeHistograms are there for a Prometheus that asks for them.
func nativeHistograms(t *testing.T, p *promtest.Server) {
	for _, name := range []string{"exchange_duration_seconds", "exchange_gateway_duration_seconds", "store_operation_duration_seconds"} {
		expr := "histogram_quantile(0.5, sum(ort_gateway_" + name + ")) > 0"
		if samples, err := p.Query(expr); err != nil || len(samples) != 1 {
			t.Errorf("%s: %v, %v", expr, samples, err)
		}
	}
}

// upstreamGone stops the identity provider under a user who goes on.
func upstreamGone(t *testing.T, p *promtest.Server, user *walker) {
	user.stopIdP()
	for range 15 {
		a, err := user.send(request{
			method: http.MethodPost, url: user.endpoint("token_endpoint"), form: user.one.ortForm(),
			header: http.Header{"Dpop": {user.prove(user.one)}},
		})
		if err != nil || a.status != http.StatusServiceUnavailable {
			t.Fatalf("an exchange without the identity provider: %+v, %v, want 503", a, err)
		}
	}
	for _, name := range []string{"OrtGatewayUpstreamFailing", "OrtGatewayExchangeBudgetFast", "OrtGatewayUpstreamDown"} {
		r := p.UntilFiring(t, name)
		for _, a := range r.Alerts {
			if a.Labels["job"] != "gw" || a.Labels["severity"] == "" || a.Annotations["summary"] == "" ||
				strings.Contains(a.Annotations["description"], "{{") || !strings.HasSuffix(a.Annotations["runbook_url"], "#"+strings.ToLower(name)) {
				t.Errorf("%s: %v, %v", name, a.Labels, a.Annotations)
			}
		}
	}
	rules, err := p.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.State == "firing" && slices.Contains([]string{"OrtGatewayStoreFailing", "OrtGatewayDown", "OrtGatewayLatencyBudgetFast"}, r.Name) {
			t.Errorf("%s fires: the identity provider is away, nothing else", r.Name)
		}
	}
}
