package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chartutil"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// watched renders the chart with alerts and dashboard.
func watched(t *testing.T, more string) (map[string]string, error) {
	t.Helper()
	return render(theChart(t), parseValues(t, `
settings: {ORT_ISSUER: https://id.example.com, ORT_UPSTREAM_URL: https://idp.example.net}
monitor: {enabled: true}
dashboard: {enabled: true, namespace: monitoring, folder: Identity}
`+more), install{})
}

// rulesOf reads the PrometheusRule strictly, by the alerts' names.
func rulesOf(t *testing.T, files map[string]string) (monitoring.PrometheusRule, map[string]monitoring.Rule) {
	t.Helper()
	var object monitoring.PrometheusRule
	if err := yaml.UnmarshalStrict([]byte(files["ort-gateway/templates/prometheusrule.yaml"]), &object); err != nil {
		t.Fatal(err)
	}
	rules := map[string]monitoring.Rule{}
	for _, group := range object.Spec.Groups {
		for _, rule := range group.Rules {
			rules[rule.Alert+rule.Record] = rule
		}
	}
	return object, rules
}

// The object holds what the plain file holds, with all that Prometheus and Grafana fill in themselves.
func TestWatchedAsTheFilesSay(t *testing.T) {
	files, err := watched(t, "prometheusRule: {enabled: true, labels: {release: kps}}")
	if err != nil {
		t.Fatal(err)
	}
	object, _ := rulesOf(t, files)
	plain, err := plainRules()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(object.Spec, plain) {
		t.Error("the PrometheusRule is not what files/rules.yaml says")
	}
	if object.Labels["release"] != "kps" {
		t.Errorf("labels: %v", object.Labels)
	}
	var dashboard core.ConfigMap
	if err := yaml.UnmarshalStrict([]byte(files["ort-gateway/templates/dashboard.yaml"]), &dashboard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(chartDir, "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if dashboard.Data["ort-gateway.json"] != strings.TrimSpace(string(text)) {
		t.Error("the ConfigMap is not what files/dashboard.json says")
	}
	if dashboard.Namespace != "monitoring" || dashboard.Labels["grafana_dashboard"] != "1" || dashboard.Annotations["grafana_folder"] != "Identity" {
		t.Errorf("Grafana's sidecar would not find it: %+v", dashboard.ObjectMeta)
	}
}

func TestAlertsByValues(t *testing.T) {
	files, err := watched(t, `
prometheusRule:
  enabled: true
  excludeRules: [OrtGatewayReplayMemoryFull]
  runbookUrlBase: https://wiki.example.com/ort
  dashboardUrlBase: https://grafana.example.com
  objectives: {exchanges: "0.9995", latency: "0.95"}
  thresholds: {OrtGatewayDiskLow: "1073741824"}
  for: {OrtGatewayUpstreamDown: 5m}
  alertLabels: {team: identity, severity: page}
  alertAnnotations: {channel: "#identity"}
`)
	if err != nil {
		t.Fatal(err)
	}
	_, rules := rulesOf(t, files)
	if _, there := rules["OrtGatewayReplayMemoryFull"]; there {
		t.Error("an excluded alert is there")
	}
	disk := rules["OrtGatewayDiskLow"]
	if got, want := disk.Expr.String(), "ort_gateway_store_disk_free_bytes < 1073741824"; got != want {
		t.Errorf("threshold: %s, want %s", got, want)
	}
	for name, want := range map[string]string{
		"runbook_url":   "https://wiki.example.com/ort#ortgatewaydisklow",
		"dashboard_url": "https://grafana.example.com/d/ort-gateway/ort-gateway?viewPanel=54",
		"channel":       "#identity",
	} {
		if got := disk.Annotations[name]; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if want := map[string]string{"team": "identity", "severity": "page"}; !reflect.DeepEqual(disk.Labels, want) {
		t.Errorf("labels: %v, want %v", disk.Labels, want)
	}
	if got := rules["OrtGatewayUpstreamDown"].For; got == nil || *got != "5m" {
		t.Errorf("for: %v", got)
	}
	for name, end := range map[string]string{
		"job:ort_gateway_exchange_failures:burnrate5m": "/ (1 - 0.9995)", "job:ort_gateway_exchange_slow:burnrate3d": "/ (1 - 0.95)",
	} {
		rule := rules[name]
		if got := rule.Expr.String(); !strings.HasSuffix(got, end) {
			t.Errorf("%s: %s, want …%s", name, got, end)
		}
	}
}

// Every alert with a threshold takes another, whatever number was there.
func TestEveryThresholdIsAValue(t *testing.T) {
	files, err := watched(t, "prometheusRule: {enabled: true}")
	if err != nil {
		t.Fatal(err)
	}
	_, rules := rulesOf(t, files)
	ends := regexp.MustCompile(`^((?s).*[<>] )[0-9.]+$`)
	want, thresholds := map[string]string{}, map[string]string{}
	for name, rule := range rules {
		if m := ends.FindStringSubmatch(rule.Expr.String()); m != nil && rule.Alert != "" {
			want[name], thresholds[name] = m[1]+"0.777", "0.777"
		}
	}
	if len(want) < 10 {
		t.Fatalf("only %d alerts have a threshold", len(want))
	}
	text, err := json.Marshal(map[string]any{"enabled": true, "thresholds": thresholds})
	if err != nil {
		t.Fatal(err)
	}
	if files, err = watched(t, "prometheusRule: "+string(text)); err != nil {
		t.Fatal(err)
	}
	_, rules = rulesOf(t, files)
	for name, expr := range want {
		rule := rules[name]
		if got := rule.Expr.String(); got != expr {
			t.Errorf("%s: %s, want %s", name, got, expr)
		}
	}
}

// What would be passed over in silence is refused.
func TestAlertsUnknown(t *testing.T) {
	for values, want := range map[string]string{
		`excludeRules: [OrtGatewayDiskLwo]`:    `excludeRules/0`,
		`thresholds: {OrtGatewayDiskLwo: "1"}`: `OrtGatewayDiskLwo`,
		`thresholds: {OrtGatewayAbsent: "1"}`:  `OrtGatewayAbsent`,
		`thresholds: {OrtGatewayDiskLow: 1Gi}`: `thresholds/OrtGatewayDiskLow`,
		`for: {OrtGatewayDiskLwo: 5m}`:         `OrtGatewayDiskLwo`,
		`for: {OrtGatewayDiskLow: soon}`:       `for/OrtGatewayDiskLow`,
		`objectives: {exchanges: "99.9"}`:      `objectives/exchanges`,
	} {
		if _, err := watched(t, "prometheusRule: {enabled: true, "+values+"}"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", values, err, want)
		}
	}
}

// plainRules reads files/rules.yaml.
var plainRules = sync.OnceValues(func() (rules monitoring.PrometheusRuleSpec, err error) {
	text, err := os.ReadFile(filepath.Join(chartDir, "files", "rules.yaml"))
	if err != nil {
		return rules, err
	}
	return rules, yaml.UnmarshalStrict(text, &rules)
})

// hasThreshold: the expression ends in a number that is compared with.
func hasThreshold(r monitoring.Rule) bool {
	return regexp.MustCompile(`[<>] [0-9.]+$`).MatchString(r.Expr.String())
}

// ofAlerts gives a schema to the name of each alert that is wanted.
func ofAlerts(schema any, wanted func(monitoring.Rule) bool) map[string]any {
	rules, err := plainRules()
	if err != nil {
		panic(err)
	}
	all := map[string]any{}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" && wanted(rule) {
				all[rule.Alert] = schema
			}
		}
	}
	return all
}

// TestMonitoringIsAddedToEachExample: the file adds objects, and changes none: no setting of the gateway, above all.
func TestMonitoringIsAddedToEachExample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "examples", addition+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios(t) {
		if _, err := os.Stat(filepath.Join(chartDir, "examples", s.name+".yaml")); err != nil || s.name == addition {
			continue
		}
		alone, err := render(theChart(t), s.values, install{})
		if err != nil {
			t.Fatal(err)
		}
		both, err := render(theChart(t), chartutil.CoalesceTables(parseValues(t, string(text)), s.values), install{})
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		added := documents(manifests(both))
		for _, document := range documents(manifests(alone)) {
			if !slices.Contains(added, document) {
				t.Errorf("%s: monitoring.yaml changes\n%s", s.name, document)
			}
		}
		if len(added) < len(documents(manifests(alone)))+3 {
			t.Errorf("%s: monitoring.yaml adds %d objects", s.name, len(added))
		}
	}
}
