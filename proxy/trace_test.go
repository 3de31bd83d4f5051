package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

const (
	traceA  = "4bf92f3577b34da6a3ce929d0e0e4736"
	traceB  = "0af7651916cd43dd8448eb211c80319c"
	parentA = "00-" + traceA + "-00f067aa0ba902b7-01"
	parentB = "00-" + traceB + "-b7ad6b7169203331-00"
)

// tracingFields are what a request's tracer sends, and an upstream's may answer.
var tracingFields = []string{
	"Traceparent", parentA, "Tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", "Tracestate", " vendor@x=1 ",
	"Baggage", "userId=alice,serverNode=DF%2028;p=1", "Baggage", "isProduction=false",
}

var answeredFields = []string{
	"Traceparent", parentB, "Traceresponse", parentB, "Tracestate", "up=1", "Tracestate", "up=2", "Baggage", "a=b",
}

// keeps checks that a header has each of the fields, with their values in order, and no more of them.
func keeps(t *testing.T, what string, h http.Header, fields []string) {
	t.Helper()
	want := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		want.Add(fields[i], strings.TrimSpace(fields[i+1]))
	}
	for _, name := range []string{"Traceparent", "Traceresponse", "Tracestate", "Baggage"} {
		got := slices.Clone(h.Values(name))
		for i := range got {
			got[i] = strings.TrimSpace(got[i])
		}
		if !slices.Equal(got, want.Values(name)) {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want.Values(name))
		}
	}
}

// traceparent, tracestate and baggage pass both ways on every path, in requests that
// the gateway rewrites and in those that it makes of an ORT too.
func TestTracingPassesBothWays(t *testing.T) {
	tracing := func(w http.ResponseWriter, req *http.Request, body string) {
		for i := 0; i < len(answeredFields); i += 2 {
			w.Header().Add(answeredFields[i], answeredFields[i+1])
		}
		usual(w, req, body)
	}
	check := func(t *testing.T, r *rig, what, method, target, body string, header ...string) {
		t.Helper()
		before := r.count()
		resp := r.do(method, target, body, append(header, tracingFields...)...)
		if r.count() != before+1 || resp.StatusCode >= 400 {
			t.Fatalf("%s: %d, %d requests reached the upstream: %s", what, resp.StatusCode, r.count()-before, text(resp))
		}
		keeps(t, what+", request", r.last().header, tracingFields)
		keeps(t, what+", answer", resp.Header, answeredFields)
	}
	r := newRig(t, confidential("web"))
	login := r.app().login()
	r.does(tracing)
	for _, q := range [][3]string{
		{"GET", "/pages/login?x=1", ""}, {"POST", "/pages/login", "user=a"}, {"GET", "/userinfo", ""}, {"GET", "/jwks", ""},
		{"GET", "/authorize?scope=openid&redirect_uri=https%3A%2F%2Fapp.example%2F", ""}, {"GET", "/logout", ""},
		{"POST", "/token", "grant_type=client_credentials"}, {"POST", "/token", "grant_type=refresh_token&refresh_token=R"},
		{"POST", "/revoke", "token=x"}, {"POST", "/introspect", "token=x"}, {"POST", "/device", "client_id=spa&scope=online_access"},
		{"POST", "/par", "client_id=x"}, {"OPTIONS", "/token", ""},
	} {
		check(t, r, q[0]+" "+q[1]+" "+q[2], q[0], q[1], q[2])
	}
	a := r.app()
	check(t, r, "an authorization request for online_access", "GET", "/authorize?"+a.authorize().Encode(), "")
	check(t, r, "a code exchange", "POST", "/token", a.codeForm(a.code()).Encode(), "DPoP", a.proof("/token"))
	check(t, r, "a pushed request for online_access", "POST", "/par", r.app().authorize().Encode())
	check(t, r, "an ORT exchange", "POST", "/token", login.refreshForm().Encode(), "DPoP", login.proof("/token"))
	check(t, r, "a login cookie", "GET", "/pages/account", "", "Cookie", "idp=1")

	auth0 := newRig(t, withAuth0(false))
	auth0.does(tracing)
	check(t, auth0, "a JSON body that becomes a form", "POST", "/oauth/token", `{"grant_type":"client_credentials"}`, "Content-Type", "", "Content-Type", "application/json")
}

// The upstream is asked to authenticate a client that revokes its ORT in that client's trace.
func TestTracingPassesWithARevocation(t *testing.T) {
	for path, field := range map[string]string{"/revoke": "token", ownRevocation: "token", "/logout": "refresh_token"} {
		t.Run(path, func(t *testing.T) {
			r, _ := idpRig(t, nil, confidential("web"))
			form := url.Values{field: {webApp(r).ort}, "client_id": {"web"}, "client_secret": {"s+cret &%"}}
			if resp := r.do(http.MethodPost, path, form.Encode(), tracingFields...); resp.StatusCode >= 300 {
				t.Fatalf("revoking: %d %s", resp.StatusCode, text(resp))
			}
			if r.last().path != "/revoke" {
				t.Fatalf("the upstream was asked %s", r.last().path)
			}
			keeps(t, "the question to the upstream", r.last().header, tracingFields)
		})
	}
}

// withTrace writes the ids of a line's context, as the program's logger does.
type withTrace struct{ slog.Handler }

func (h withTrace) Handle(ctx context.Context, line slog.Record) error {
	line.AddAttrs(slog.String("request_id", RequestID(ctx)), slog.String("trace_id", TraceID(ctx)))
	return h.Handler.Handle(ctx, line)
}

// The trace id stands in each line about its request, on plain paths too; of what is
// no traceparent nothing stands there.
func TestTraceIDInTheLog(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config, e *ortengine.Config) {
		c.Logger = slog.New(withTrace{c.Logger.Handler()})
		e.Logger = c.Logger
	})
	login := r.app().login()
	lineOf := func(event string) string {
		t.Helper()
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, event) {
				return line
			}
		}
		t.Fatalf("no line has %q:\n%s", event, r.log.String())
		return ""
	}
	for _, row := range []struct{ what, event, parent, want string }{
		{"an ORT exchange", "ort_exchanged", parentA, traceA},
		{"another", "ort_exchanged", parentB, traceB},
		{"no trace", "ort_exchanged", "", ""},
		{"no traceparent", "ort_exchanged", "00-SECRET-SECRET-01", ""},
	} {
		r.log.Reset()
		r.do(http.MethodPost, "/token", login.refreshForm().Encode(), "DPoP", login.proof("/token"), "Traceparent", row.parent)
		line := lineOf(row.event)
		if !strings.Contains(line+" ", " trace_id="+orNone(row.want)) || strings.Contains(line, "SECRET") {
			t.Errorf("%s: want the trace %q:\n%s", row.what, row.want, line)
		}
	}
	r.log.Reset()
	r.do(http.MethodPost, "/token", login.refreshForm().Encode(), "DPoP", login.proof("/token"), "Traceparent", parentA, "Traceparent", parentB)
	if line := lineOf("ort_exchanged"); !strings.Contains(line, `trace_id=""`) {
		t.Errorf("of two traceparents one is taken:\n%s", line)
	}
	r.log.Reset()
	r.do(http.MethodPost, "/token", "grant_type=refresh_token&refresh_token=ORT1.x&client_id=spa", "Traceparent", parentA)
	if line := lineOf("request refused"); !strings.Contains(line, "trace_id="+traceA) {
		t.Errorf("a refusal:\n%s", line)
	}
	r.does(func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) })
	for _, header := range [][]string{{"Traceparent", parentA}, {"Traceparent", parentA, "Cookie", "idp=1"}} {
		r.log.Reset()
		r.do(http.MethodGet, "/pages/x", "", header...)
		if line := lineOf("the upstream does not answer"); !strings.Contains(line, "trace_id="+traceA) || strings.Contains(line, `request_id=""`) {
			t.Errorf("a plain request with %q:\n%s", header, line)
		}
	}
}

// A line about a page that passes has the ids of its request, with the store gone too.
func TestPlainRequestsAreNamedInTheLog(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config, _ *ortengine.Config) { c.Logger = slog.New(withTrace{c.Logger.Handler()}) })
	r.does(func(w http.ResponseWriter, _ *http.Request, _ string) { w.Header().Add("Set-Cookie", "idp=2; Path=/") })
	r.store.Close()
	for event, cookie := range map[string]string{"looking whether a login cookie is dead": "idp=1", "following a login cookie": ""} {
		r.log.Reset()
		r.do(http.MethodGet, "/pages/x", "", "Traceparent", parentA, "Cookie", cookie)
		line, _, _ := strings.Cut(r.log.String()[max(0, strings.Index(r.log.String(), event)):], "\n")
		if !strings.HasPrefix(line, event) || !strings.Contains(line, "trace_id="+traceA) || strings.Contains(line, `request_id=""`) {
			t.Errorf("%s:\n%s", event, r.log.String())
		}
	}
}

// orNone is a value as the text log writes it.
func orNone(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

// A page with a tracer in it may send its fields where the gateway answers preflights itself.
func TestPreflightsAllowTracing(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config, _ *ortengine.Config) { c.CORSOrigins = []string{good} })
	for _, path := range []string{"/token", "/revoke", "/_ort/session"} {
		resp := r.do(http.MethodOptions, path, "", "Origin", good, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "baggage,content-type,dpop,traceparent,tracestate")
		for _, name := range []string{"baggage", "content-type", "dpop", "traceparent", "tracestate"} {
			if !hasToken(resp.Header.Values("Access-Control-Allow-Headers"), name) {
				t.Errorf("%s: %s is not in %q", path, name, resp.Header.Values("Access-Control-Allow-Headers"))
			}
		}
	}
}
