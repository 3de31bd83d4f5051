package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// checkDeadlines wants both session members, inside the limits.
func (w *walker) checkDeadlines(a *answer) {
	idle, absolute := a.number("session_idle_expires_in"), a.number("session_expires_in")
	w.check(fmt.Sprintf("session_idle_expires_in (%v) and session_expires_in (%v) are inside the limits", idle, absolute),
		idle > 0 && idle <= w.options.idle.Seconds() && absolute >= idle && absolute <= w.options.absolute.Seconds())
}

// checkDead wants the refusal of an ended session.
func (w *walker) checkDead(c *appClient, a *answer) {
	w.checkEqual(c.id+": exchange", errorOf(a), "400 invalid_grant")
	w.check(c.id+": the description begins "+deadPrefix, strings.HasPrefix(a.text("error_description"), deadPrefix))
}

// watch opens the events stream of a client's session.
func (w *walker) watch(c *appClient) (<-chan string, func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	r := w.statusRequest(c, "/events")
	fmt.Fprintf(w.out, "   → GET %s (stays open)\n", r.url)
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, nil)
	if err != nil {
		w.stop("%v", err)
	}
	req.Header = r.header
	res, err := streams.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		w.stop("the stream did not open: %v", err)
	}
	names := make(chan string, 64)
	go func() {
		defer close(names)
		defer res.Body.Close()
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "event:"); ok {
				names <- strings.TrimSpace(name)
			}
		}
	}()
	return names, cancel
}

// streams has no time-out: an events stream lasts.
var streams = &http.Client{}

// next waits for one event.
func (w *walker) next(events <-chan string) string {
	select {
	case name, open := <-events:
		if !open {
			return "(end of stream)"
		}
		fmt.Fprintf(w.out, "   ← event: %s\n", name)
		return name
	case <-time.After(5 * time.Second):
		return "(nothing for 5 s)"
	}
}

// metric sums the series of that name at the gateway's /metrics.
func (w *walker) metric(series string) float64 {
	res, err := http.Get(w.admin + "/metrics")
	if err != nil {
		w.stop("reading metrics: %v", err)
	}
	defer res.Body.Close()
	return sumSeries(res.Body, []counter{{series: series}})[0].Value
}

// errorOf is "200", or the status and the error.
func errorOf(a *answer) string {
	return strings.TrimSpace(fmt.Sprint(a.status, " ", a.text("error")))
}

// challengeError reads error out of WWW-Authenticate.
func challengeError(a *answer) string {
	_, after, _ := strings.Cut(a.header.Get("WWW-Authenticate"), `error="`)
	code, _, _ := strings.Cut(after, `"`)
	return code
}

func listed(list any, value string) bool {
	values, _ := list.([]any)
	return slices.Contains(values, any(value))
}

// claim reads one claim of a JWT that came straight from the token endpoint.
func claim(jwt, name string) any {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims map[string]any
	_ = json.Unmarshal(raw, &claims)
	return claims[name]
}
