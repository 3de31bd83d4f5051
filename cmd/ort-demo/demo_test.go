package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestCommandLine(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want int
	}{
		"help":             {[]string{"--help"}, 0},
		"unknown flag":     {[]string{"--nonsense"}, 2},
		"unknown argument": {[]string{"nonsense"}, 2},
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), tt.args, &stdout, &stderr); got != tt.want {
			t.Errorf("%s: got exit code %d, want %d\n%s", name, got, tt.want, &stderr)
		}
		if stderr.Len() == 0 {
			t.Errorf("%s: nothing is said", name)
		}
	}
}

func TestPanelSplitsLines(t *testing.T) {
	p := newPanel()
	for _, part := range []string{`{"msg":"one"`, "}\nplain text\n", `{"msg":"th`, "ree\"}\n\nunfinished"} {
		if n, err := p.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	past, _, end := p.subscribe()
	defer end()
	var got []string
	for _, e := range past {
		got = append(got, string(e.data))
	}
	want := []string{`{"msg":"one"}`, `{"msg":"plain text"}`, `{"msg":"three"}`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPanelIsBounded(t *testing.T) {
	p := newPanel()
	_, next, end := p.subscribe() // reads nothing
	defer end()
	for range panelBacklog + panelLines {
		_, _ = io.WriteString(p, "line\n")
	}
	past, _, endSecond := p.subscribe()
	defer endSecond()
	if len(past) != panelLines || len(next) != panelBacklog {
		t.Errorf("kept %d lines and %d for a reader that is behind, want %d and %d", len(past), len(next), panelLines, panelBacklog)
	}
}

func TestPanelPublishesChangesOnly(t *testing.T) {
	p := newPanel()
	_, next, end := p.subscribe()
	defer end()
	for _, data := range []string{"1", "1", "2"} {
		p.publish("counters", event{"counters", []byte(data)})
	}
	if len(next) != 2 {
		t.Errorf("sent %d, want 2", len(next))
	}
	past, _, endSecond := p.subscribe()
	defer endSecond()
	if len(past) != 1 || string(past[0].data) != "2" {
		t.Errorf("a new page gets %v, want the newest alone", past)
	}
}

func TestSumSeries(t *testing.T) {
	text := `# HELP exchanges_total x
exchanges_total{result="ok"} 3
exchanges_total{result="idle"} 1
exchanges_total{result="ended"} 2
sessions_active 1e+00
`
	got := sumSeries(strings.NewReader(text), []counter{
		{series: `exchanges_total{result="ok"}`}, {series: "exchanges_total{", except: `result="ok"`}, {series: "sessions_active"}, {series: "none"},
	})
	for i, want := range []float64{3, 3, 1, 0} {
		if got[i].Value != want {
			t.Errorf("%s: got %v, want %v", got[i].series, got[i].Value, want)
		}
	}
}

// testApp serves the first app without a gateway behind it.
func testApp(t *testing.T) (*world, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	w := &world{
		origin: "http://127.0.0.1:1", panel: newPanel(), apps: newApps(server.Listener, other),
		options: options{idle: time.Minute, absolute: time.Hour},
	}
	server.Config.Handler = w.appHandler(0)
	server.Start()
	t.Cleanup(server.Close)
	return w, server
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestAppPage(t *testing.T) {
	_, server := testApp(t)
	res, body := get(t, server.URL+"/")
	if res.StatusCode != http.StatusOK || !strings.Contains(body, "<h1") {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	policy := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self';", "connect-src 'self' http://127.0.0.1:1;", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %q: %s", want, policy)
		}
	}
	if regexp.MustCompile(`(?i)<script>|\son\w+=|style="`).MatchString(body) {
		t.Error("the page has inline code or style, which its own policy forbids")
	}
	if m := regexp.MustCompile(`(src|href)="(https?:)?//`).FindString(body); m != "" {
		t.Errorf("the page loads from elsewhere: %s", m)
	}
}

func TestAppModulesAreThere(t *testing.T) {
	_, server := testApp(t)
	imports := regexp.MustCompile(`(?m)^import .* from "(.+)";$`)
	err := fs.WalkDir(spaFiles, "spa/js", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		at := strings.TrimPrefix(name, "spa")
		res, body := get(t, server.URL+at)
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/javascript") {
			t.Errorf("%s: got %d %s", at, res.StatusCode, res.Header.Get("Content-Type"))
		}
		for _, m := range imports.FindAllStringSubmatch(body, -1) {
			if _, err := fs.Stat(spaFiles, "spa"+path.Join(path.Dir(at), m[1])); err != nil {
				t.Errorf("%s imports %s: %v", at, m[1], err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppConfig(t *testing.T) {
	w, server := testApp(t)
	_, body := get(t, server.URL+"/demo/config.json")
	var got struct {
		Issuer, ClientID, RedirectURI, Scope string
		Demo                                 struct{ OtherURL string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Issuer != w.origin || got.ClientID != "app-one" || got.RedirectURI != server.URL+"/" || got.Demo.OtherURL != w.apps[1].origin+"/" {
		t.Errorf("got %+v", got)
	}
}

func TestAppAnswersItsOwnNameAlone(t *testing.T) {
	_, server := testApp(t)
	r, err := http.NewRequest("GET", server.URL+"/demo/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "rebound.example"
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("got %d, want 421", res.StatusCode)
	}
}

func TestAppStateReachesTheOtherPage(t *testing.T) {
	w, server := testApp(t)
	post := func(origin string) int {
		r, err := http.NewRequest("POST", server.URL+"/demo/state", strings.NewReader(`{"state":"in","user":"Alice","app":"forged"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := post("http://evil.example"); got != http.StatusForbidden {
		t.Errorf("another origin: got %d, want 403", got)
	}
	if got := post(server.URL); got != http.StatusNoContent {
		t.Errorf("got %d, want 204", got)
	}
	past, _, end := w.panel.subscribe()
	defer end()
	if len(past) != 1 || !strings.Contains(string(past[0].data), `"user":"Alice"`) || !strings.Contains(string(past[0].data), `"app":"app-one"`) {
		t.Errorf("the other page gets %q", past)
	}
}

func TestEventsSendThePastFirst(t *testing.T) {
	w, server := testApp(t)
	_, _ = io.WriteString(w.panel, "{\"msg\":\"before\"}\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/demo/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	want := "event: log\ndata: {\"msg\":\"before\"}\n\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
		t.Fatalf("got %q %v, want %q", got, err, want)
	}
	_, _ = io.WriteString(w.panel, "{\"msg\":\"after!\"}\n")
	if _, err := io.ReadFull(res.Body, got); err != nil || !strings.Contains(string(got), "after!") {
		t.Errorf("got %q %v", got, err)
	}
}
