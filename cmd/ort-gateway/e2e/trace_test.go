package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// traced adds a tracer's fields to each request of a browser.
type traced struct {
	http.RoundTripper
	header http.Header
}

func (t traced) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	maps.Copy(r.Header, t.header)
	return t.RoundTripper.RoundTrip(r)
}

// traceRecorder stands between gateway and upstream, notes the fields of each request, and answers with a trace of its own.
type traceRecorder struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string][]http.Header // of every request by method and path
}

func startTraceRecorder(t *testing.T, upstream string) *traceRecorder {
	t.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	rec := &traceRecorder{seen: map[string][]http.Header{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, r.In.Host
			for name, values := range r.In.Header {
				if strings.HasPrefix(name, "X-Forwarded-") {
					r.Out.Header[name] = values
				}
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Set("Traceresponse", "00-"+strings.Repeat("c", 32)+"-"+strings.Repeat("d", 16)+"-01")
			return nil
		},
	}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.mu.Lock()
		key := r.Method + " " + r.URL.Path
		rec.seen[key] = append(rec.seen[key], r.Header.Clone())
		rec.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(rec.Close)
	return rec
}

// requests returns the fields of the requests to an endpoint that came so far. The gateway's own stand among them: what it
// gives back when a session ends belongs to no request of an app, and has no trace.
func (rec *traceRecorder) requests(t *testing.T, method, endpoint string) []http.Header {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return slices.Clone(rec.seen[method+" "+u.Path])
}

// An app that is traced: its trace reaches the provider with every request, also with the refresh that the gateway makes of
// an ORT, the provider's answer passes, and the log lines of each request name its trace.
func TestTracesGoThrough(t *testing.T) {
	st := startStack(t, setup{embedded: true})
	rec := startTraceRecorder(t, st.upstream)
	st.restart(map[string]string{"ORT_UPSTREAM_URL": rec.URL})
	a := st.app("web", nil)
	step := 0
	// each request of a step is of the step's own trace
	next := func() (trace string, fields http.Header) {
		step++
		trace = fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e%04x", step)
		fields = http.Header{
			"Traceparent": {"00-" + trace + "-00f067aa0ba902b7-01"}, "Tracestate": {"congo=t61rcWkgMzE", "rojo=1"},
			"Baggage": {"tenant=blue,plan=DF%2028;p=1"},
		}
		a.header, a.browser.Transport = fields, traced{st.http, fields}
		return trace, fields
	}
	check := func(what, method, endpoint, event, trace string, fields http.Header) {
		t.Helper()
		seen := rec.requests(t, method, endpoint)
		if !slices.ContainsFunc(seen, func(h http.Header) bool { return carries(h, fields) }) {
			t.Errorf("%s: the provider saw %q, none with %q", what, seen, fields)
		}
		if event == "" {
			return
		}
		waitUntil(t, 20*time.Second, "the line "+event+" of the trace "+trace, func() bool {
			return slices.ContainsFunc(strings.Split(st.out.String(), "\n"), func(line string) bool {
				return member(line, "msg") == event && member(line, "trace_id") == trace
			})
		})
	}
	trace, fields := next()
	code := a.code(t, nil)
	check("the authorization request", http.MethodGet, st.metadata.Authorization, "", trace, fields)
	trace, fields = next()
	got, err := a.redeem(code, a.lastVerifier)
	if err != nil || got.status != http.StatusOK {
		t.Fatal(got, err)
	}
	a.ort = got.RefreshToken
	check("the code exchange", http.MethodPost, st.metadata.Token, "ort_issued", trace, fields)
	trace, fields = next()
	got = a.works(t)
	check("the ORT exchange", http.MethodPost, st.metadata.Token, "ort_exchanged", trace, fields)
	if len(got.header.Values("Traceresponse")) != 1 {
		t.Errorf("the provider's own trace came as %q", got.header.Values("Traceresponse"))
	}
	trace, fields = next()
	if got, err = a.revoke(); err != nil || got.status != http.StatusOK {
		t.Fatal(got, err)
	}
	check("the revocation", http.MethodPost, st.metadata.Revocation, "session_ended", trace, fields)
}

// carries says whether a request has these fields, value by value.
func carries(h, fields http.Header) bool {
	for name, values := range fields {
		if !slices.Equal(h.Values(name), values) {
			return false
		}
	}
	return true
}

// member is a text member of a line of JSON.
func member(line, name string) string {
	var members map[string]any
	_ = json.Unmarshal([]byte(line), &members)
	text, _ := members[name].(string)
	return text
}
