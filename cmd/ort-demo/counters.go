package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// counter is one number on the page: the sum of the gateway's series that
// begin so.
type counter struct {
	Label string  `json:"label"`
	Value float64 `json:"value"`
	series,
	except string
}

var shownCounters = []counter{
	{Label: "Sessions now", series: "ort_gateway_sessions_active"},
	{Label: "ORTs issued", series: `ort_gateway_issued_total{result="ok"}`},
	{Label: "Exchanges", series: `ort_gateway_exchanges_total{result="ok"}`},
	{Label: "Exchanges refused", series: "ort_gateway_exchanges_total{", except: `result="ok"`},
	{Label: "Proofs refused", series: "ort_gateway_dpop_refusals_total"},
	{Label: "Sessions ended", series: "ort_gateway_sessions_ended_total"},
	{Label: "Open event streams", series: "ort_gateway_events_streams"},
}

// count keeps the pages' counters up to date until ctx ends.
func (w *world) count(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if data, err := w.counters(ctx); err == nil {
			w.panel.publish("counters", event{"counters", data})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// counters asks the gateway's /metrics, and the identity provider what it saw.
func (w *world) counters(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	defer res.Body.Close()
	sums := sumSeries(io.LimitReader(res.Body, 4<<20), shownCounters)
	stats := w.idp.Stats()
	sums = append(sums,
		counter{Label: "Passwords typed", Value: float64(stats.Logins)},
		counter{Label: "Refreshes at the IdP", Value: float64(stats.Refreshes)},
	)
	return json.Marshal(sums)
}

// sumSeries reads the Prometheus text format as far as is needed here: one
// series and its value a line.
func sumSeries(r io.Reader, wanted []counter) []counter {
	sums := append([]counter(nil), wanted...)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			continue
		}
		for i, c := range sums {
			if strings.HasPrefix(line, c.series) && (c.except == "" || !strings.Contains(line[:at], c.except)) {
				sums[i].Value += value
			}
		}
	}
	return sums
}
