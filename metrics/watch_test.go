package metrics

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// What watches the metrics: made for Kubernetes and for without.
const (
	rulesFile     = "../charts/ort-gateway/files/rules.yaml"
	dashboardFile = "../charts/ort-gateway/files/dashboard.json"
	runbooksFile  = "../charts/ort-gateway/RUNBOOKS.md"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// promtool runs Prometheus' own checks.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		proctest.Missing(t, "promtool is not installed: apt-get install prometheus")
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRulesCheck(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
}

// What the README says of prometheus.yml is one.
func TestReadmeConfig(t *testing.T) {
	_, after, _ := strings.Cut(read(t, "../README.md"), "```yaml\n# prometheus.yml\n")
	config, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("README.md has no prometheus.yml")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"prometheus.yml": config, "rules.yaml": read(t, rulesFile)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "check", "config", filepath.Join(dir, "prometheus.yml"))
}

// Each alert fires on its fault and is silent without.
func TestRulesFire(t *testing.T) {
	tests, err := filepath.Glob("testdata/rules/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, path := range tests {
		all.WriteString(read(t, path))
		t.Run(filepath.Base(path), func(t *testing.T) { promtool(t, "test", "rules", path) })
	}
	for _, a := range alerts(t) {
		if !strings.Contains(all.String(), `alertname="`+a.name+`"`) {
			t.Errorf("no test sees %s fire", a.name)
		}
	}
}

// alert is one alert of the rules file, as text.
type alert struct{ name, text string }

func alerts(t *testing.T) []alert {
	t.Helper()
	parts := strings.Split(read(t, rulesFile), "\n      - alert: ")
	var all []alert
	for _, p := range parts[1:] {
		name, _, _ := strings.Cut(p, "\n")
		all = append(all, alert{name, p})
	}
	if len(all) < 10 {
		t.Fatalf("%d alerts", len(all))
	}
	return all
}

// field reads a member that stands on one line, of an alert.
func (a alert) field(name string) string {
	m := regexp.MustCompile(`(?m)^ +` + name + `: (.+)$`).FindStringSubmatch(a.text)
	if m == nil {
		return ""
	}
	return m[1]
}

const runbooksURL = "https://github.com/ort-gateway/ort-gateway/blob/main/charts/ort-gateway/RUNBOOKS.md#"

// Each alert says how bad it is, what to do, and where to look.
func TestAlertsLead(t *testing.T) {
	sections := map[string]string{}
	for _, s := range strings.Split(read(t, runbooksFile), "\n## ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		sections[title] = text
	}
	panels := map[string]bool{}
	for _, p := range readDashboard(t).Panels {
		panels[p.key()] = true
	}
	for _, a := range alerts(t) {
		if s := a.field("severity"); s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", a.name, s)
		}
		for _, name := range []string{"for", "summary", "description"} {
			if a.field(name) == "" {
				t.Errorf("%s has no %s", a.name, name)
			}
		}
		if got, want := a.field("runbook_url"), runbooksURL+strings.ToLower(a.name); got != want {
			t.Errorf("%s: runbook_url %s, want %s", a.name, got, want)
		}
		id, ok := strings.CutPrefix(a.field("dashboard_url"), "/d/ort-gateway/ort-gateway?viewPanel=")
		if !ok || !panels[id] {
			t.Errorf("%s: no panel %s", a.name, id)
		}
		for _, part := range []string{"Meaning", "Impact", "Find", "Fix"} {
			if !strings.Contains(sections[a.name], "\n**"+part+".** ") {
				t.Errorf("RUNBOOKS.md: %s has no %s", a.name, part)
			}
		}
		delete(sections, a.name)
	}
	for title := range sections {
		t.Errorf("RUNBOOKS.md: there is no alert %s", title)
	}
}

// A recorded burn rate is over the time in its name, and but for that the same as its sisters.
func TestRecordedWindows(t *testing.T) {
	records := regexp.MustCompile(`(?m)^ +- record: (job:\w+):burnrate(\w+)\n +expr: \|-\n((?: {10}.*\n)+)`).FindAllStringSubmatch(read(t, rulesFile), -1)
	if len(records) != 14 {
		t.Fatalf("%d recorded burn rates", len(records))
	}
	ranges := regexp.MustCompile(`\[[^\]]*\]`)
	first := map[string]string{}
	for _, r := range records {
		family, window, expr := r[1], r[2], r[3]
		for _, got := range ranges.FindAllString(expr, -1) {
			if got != "["+window+"]" {
				t.Errorf("%s:burnrate%s looks at %s", family, window, got)
			}
		}
		same := ranges.ReplaceAllString(expr, "[]")
		if first[family] == "" {
			first[family] = same
		}
		if same != first[family] {
			t.Errorf("%s:burnrate%s:\n%swant\n%s", family, window, same, first[family])
		}
	}
}

// Links inside the runbooks, and the panels that they name, are there.
func TestRunbooksAreTrue(t *testing.T) {
	text := read(t, runbooksFile)
	for _, m := range regexp.MustCompile(`\(#([a-z]+)\)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(strings.ToLower(text), "\n## "+m[1]+"\n") {
			t.Errorf("a link to #%s leads nowhere", m[1])
		}
	}
	var titles []string
	for _, p := range readDashboard(t).Panels {
		titles = append(titles, p.Title)
	}
	named := regexp.MustCompile(`\*([A-Z][^*\n]+)\*`)
	for _, m := range named.FindAllStringSubmatch(regexp.MustCompile(`\*\*[^*]+\*\*`).ReplaceAllString(strings.ReplaceAll(text, "\n", " "), ""), -1) {
		if !slices.Contains(titles, m[1]) && m[1] != "Targets" && m[1] != "Operating it" {
			t.Errorf("there is no panel %q", m[1])
		}
	}
}

// Queries name metrics, labels and label values that exist: one that does not
// would stay empty for ever, and silent.
func TestQueriesNameWhatExists(t *testing.T) {
	known := goldenNames(t)
	texts := map[string]string{"rules.yaml": read(t, rulesFile)}
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			texts["panel "+p.Title] += q.Expr + "\n"
		}
	}
	name := regexp.MustCompile(`(job:)?(ort_gateway_\w+)(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`(\w+)(=~|!~|=|!=)"([^"]*)"`)
	for where, text := range texts {
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			if m[1] != "" {
				continue // recorded by the rules themselves
			}
			labels, ok := known[m[2]]
			if !ok {
				t.Errorf("%s: there is no metric %s", where, m[2])
			}
			for _, l := range matcher.FindAllStringSubmatch(m[3], -1) {
				if l[1] == "job" || l[1] == "instance" || l[1] == "le" && slices.Contains(labels["le"], l[3]) {
					continue
				}
				for _, value := range strings.Split(l[3], "|") {
					if exact := regexp.MustCompile("^(?:" + value + ")$"); !slices.ContainsFunc(labels[l[1]], exact.MatchString) {
						t.Errorf("%s: %s has no %s=%q", where, m[2], l[1], value)
					}
				}
			}
		}
	}
}

// goldenNames reads names.golden: the values of each label, by metric, with the
// series that a histogram becomes.
func goldenNames(t *testing.T) map[string]map[string][]string {
	t.Helper()
	known := map[string]map[string][]string{}
	var labels map[string][]string
	for line := range strings.Lines(read(t, "testdata/names.golden")) {
		if rest, ok := strings.CutPrefix(line, "\t"); ok {
			label, values, _ := strings.Cut(strings.TrimSpace(rest), ": ")
			labels[label] = strings.Fields(values)
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		labels = map[string][]string{}
		known[name] = labels
		if strings.HasPrefix(rest, "histogram") {
			delete(known, name)
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				known[name+suffix] = labels
			}
		}
	}
	return known
}
