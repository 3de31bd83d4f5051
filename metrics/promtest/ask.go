package promtest

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"testing"
	"time"
)

// Sample is one series' value now.
type Sample struct {
	Labels map[string]string
	Value  float64 // not a number for a native histogram
}

// Query evaluates an expression now.
func (s *Server) Query(expr string) ([]Sample, error) {
	var data struct {
		ResultType string
		Result     []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := s.get("/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	samples := make([]Sample, 0, len(data.Result))
	for _, r := range data.Result {
		sample := Sample{r.Metric, math.NaN()}
		if text, ok := r.Value[1].(string); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, err
			}
			sample.Value = v
		}
		samples = append(samples, sample)
	}
	return samples, nil
}

// Rule is a rule as Prometheus has it loaded.
type Rule struct {
	Name, Query, Health, LastError string
	State                          string // of an alert: inactive, pending or firing
	Alerts                         []struct{ Labels, Annotations map[string]string }
}

// Rules lists the rules that are loaded.
func (s *Server) Rules() ([]Rule, error) {
	var data struct {
		Groups []struct{ Rules []Rule }
	}
	if err := s.get("/api/v1/rules", nil, &data); err != nil {
		return nil, err
	}
	var rules []Rule
	for _, g := range data.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules, nil
}

// UntilFiring waits until an alert fires.
func (s *Server) UntilFiring(t testing.TB, name string) Rule {
	t.Helper()
	var found Rule
	s.Until(t, name+" fires", func() bool {
		rules, err := s.Rules()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			if r.Name == name && r.State == "firing" {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

// Exemplars lists the trace ids that the buckets of an expression carry.
func (s *Server) Exemplars(expr string) ([]string, error) {
	now := time.Now()
	var data []struct {
		Exemplars []struct{ Labels map[string]string }
	}
	err := s.get("/api/v1/query_exemplars", url.Values{
		"query": {expr}, "start": {stamp(now.Add(-time.Hour))}, "end": {stamp(now.Add(time.Hour))},
	}, &data)
	var ids []string
	for _, series := range data {
		for _, e := range series.Exemplars {
			ids = append(ids, e.Labels["trace_id"])
		}
	}
	return ids, err
}

func stamp(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// Panel is one panel of a Grafana dashboard.
type Panel struct {
	Title   string
	Targets []struct{ Expr string }
}

// Panels reads a dashboard's panels.
func Panels(dashboard []byte) ([]Panel, error) {
	var d struct{ Panels []Panel }
	if err := json.Unmarshal(dashboard, &d); err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	return d.Panels, nil
}
