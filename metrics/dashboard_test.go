package metrics

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// dashboard is what of Grafana's model the rules below look at.
type dashboard struct {
	UID, Title    string
	Editable      *bool
	SchemaVersion int
	Templating    struct{ List []variable }
	Panels        []dashboardPanel
}

type variable struct {
	Name, Label, Type, AllValue string
	Query                       json.RawMessage
	Datasource                  source
	Multi, IncludeAll           bool
	Refresh                     int
}

type source struct{ Type, UID string }

type dashboardPanel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []target
}

type target struct {
	RefID, Expr, LegendFormat string
	Datasource                source
}

func (p dashboardPanel) key() string { return strconv.Itoa(p.ID) }

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var prometheusSource = source{"prometheus", "${datasource}"}

// The rules of Grafana's dashboard-linter, by which a dashboard works at anybody's:
// the frame.
func TestDashboardFrame(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "ort-gateway" || d.Title == "" || d.Editable == nil || *d.Editable || d.SchemaVersion < 41 {
		t.Errorf("uid %q, title %q, editable %v, schemaVersion %d", d.UID, d.Title, d.Editable, d.SchemaVersion)
	}
	variables := map[string]variable{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v
	}
	if v := variables["datasource"]; v.Type != "datasource" || v.Label != "Data source" || string(v.Query) != `"prometheus"` {
		t.Errorf("datasource: %+v", v)
	}
	for name, label := range map[string]string{"job": "Job", "instance": "Instance"} {
		v := variables[name]
		if v.Type != "query" || v.Label != label || v.Datasource != prometheusSource || !v.Multi || !v.IncludeAll || v.AllValue != ".+" || v.Refresh != 2 {
			t.Errorf("%s: %+v", name, v)
		}
		if !strings.Contains(string(v.Query), "label_values(ort_gateway_build_info") {
			t.Errorf("%s: %s", name, v.Query)
		}
	}
}

// The panels: each says what it shows, in which unit, and none lies on another.
func TestDashboardPanels(t *testing.T) {
	ids, titles := map[int]bool{}, map[string]bool{}
	taken := map[[2]int]string{}
	for _, p := range readDashboard(t).Panels {
		if ids[p.ID] || titles[p.Title] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d, %q: id or title is missing or not its own", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x > 23 {
					t.Fatalf("%s lies on %q, or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !slices.Contains([]string{"timeseries", "stat", "table"}, p.Type) || !strings.HasSuffix(p.Description, ".") || p.Datasource != prometheusSource {
			t.Errorf("%s: type %q, description %q, data source %v", p.Title, p.Type, p.Description, p.Datasource)
		}
		if !slices.Contains([]string{"short", "ops", "reqps", "s", "percentunit", "bytes"}, p.FieldConfig.Defaults.Unit) {
			t.Errorf("%s: unit %q", p.Title, p.FieldConfig.Defaults.Unit)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s has no query", p.Title)
		}
	}
}

// The queries: of the chosen jobs and instances, over the window that fits the
// resolution, counters as rates alone.
func TestDashboardQueries(t *testing.T) {
	metric := regexp.MustCompile(`\b(?:(?:ort_gateway|go|process)_\w+|up\b)(\{[^}]*\})?`)
	window := regexp.MustCompile(`\[([^\]]+)\]`)
	counter := regexp.MustCompile(`(\w+\()?\b\w+_(?:total|bucket|count|sum)\{`)
	for _, p := range readDashboard(t).Panels {
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.RefID == "" || q.Datasource != prometheusSource || q.LegendFormat == "" && p.Type != "table" {
				t.Errorf("%s: query %+v", p.Title, q)
			}
			refs[q.RefID] = true
			for _, m := range metric.FindAllStringSubmatch(q.Expr, -1) {
				if !strings.Contains(m[1], `job=~"$job"`) || !strings.Contains(m[1], `instance=~"$instance"`) {
					t.Errorf("%s: %s is not of the chosen jobs and instances", p.Title, m[0])
				}
			}
			for _, m := range window.FindAllStringSubmatch(q.Expr, -1) {
				if m[1] != "$__rate_interval" {
					t.Errorf("%s: window %s", p.Title, m[1])
				}
			}
			for _, m := range counter.FindAllStringSubmatch(q.Expr, -1) {
				if m[1] != "rate(" {
					t.Errorf("%s: %s is not taken as a rate", p.Title, m[0])
				}
			}
		}
	}
}
