package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func ask(h http.HandlerFunc, method string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h(w, httptest.NewRequest(method, "/", nil))
	return w
}

func TestReadyzNamesThePartThatIsNotReady(t *testing.T) {
	var log logBuffer
	r := newReadiness(log.logger())
	var upstream error
	r.add("store", func(context.Context) error { return nil })
	r.add("upstream", func(context.Context) error { return upstream })

	for _, step := range []struct {
		upstream error
		status   int
		body     string
	}{
		{errors.New("no metadata yet"), 503, "store: ok\nupstream: not ready\n"},
		{errors.New("no metadata yet"), 503, "store: ok\nupstream: not ready\n"},
		{nil, 200, "store: ok\nupstream: ok\nready\n"},
		{nil, 200, "store: ok\nupstream: ok\nready\n"},
	} {
		upstream = step.upstream
		if w := ask(r.readyz, "GET"); w.Code != step.status || w.Body.String() != step.body || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %q, want %d %q", w.Code, w.Body, step.status, step.body)
		}
	}
	if got := strings.Count(log.String(), "part=upstream"); got != 2 {
		t.Errorf("a change is one line: %s", log.String())
	}
	r.drain()
	if w := ask(r.readyz, "GET"); w.Code != 503 || !strings.HasSuffix(w.Body.String(), "process: shutting down\n") {
		t.Errorf("draining: %d %q", w.Code, w.Body)
	}
	if w := ask(r.livez, "HEAD"); w.Code != 200 {
		t.Errorf("livez: %d", w.Code)
	}
	for _, h := range []http.HandlerFunc{r.livez, r.readyz} {
		if w := ask(h, "POST"); w.Code != 405 || w.Header().Get("Allow") == "" {
			t.Errorf("POST: %d", w.Code)
		}
	}
}

// Whoever asks and goes away says nothing about the part that was asked.
func TestReadyzOfWhoHasGone(t *testing.T) {
	var log logBuffer
	r := newReadiness(log.logger())
	r.add("store", func(ctx context.Context) error { return ctx.Err() })
	ask(r.readyz, "GET")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ready, _ := r.ask(ctx); ready {
		t.Error("ready, though nothing was found out")
	}
	ask(r.readyz, "GET")
	if got := log.String(); strings.Count(got, "part=store") != 1 || strings.Contains(got, "not ready") {
		t.Errorf("logged: %s", got)
	}
}

func TestReadyzDoesNotWaitForAPartThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		r := newReadiness(log.logger())
		r.add("store", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		began := time.Now()
		if w := ask(r.readyz, "GET"); w.Code != 503 {
			t.Errorf("got %d", w.Code)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestReadyCommand(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		code   int
		stderr string
	}{
		{"ready", 200, "store: ok\nready\n", 0, ""},
		{"not ready", 503, "store: ok\nupstream: not ready\n", 1, "status 503: store: ok, upstream: not ready\n"},
		{"something else listens", 302, "", 1, "status 302: \n"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.Header().Set("Location", "http://192.0.2.1/")
			w.WriteHeader(c.status)
			w.Write([]byte(c.body))
		}))
		var stdout, stderr strings.Builder
		environ := []string{"ORT_ADMIN_ADDR=" + srv.Listener.Addr().String(), "ORT_ISSUER=wrong, but not asked for"}
		if code := Run(t.Context(), []string{"ready"}, environ, &stdout, &stderr); code != c.code || !strings.HasSuffix(stderr.String(), c.stderr) {
			t.Errorf("%s: code %d, stderr %q", c.name, code, stderr.String())
		}
		srv.Close()
	}
}

// A gateway that hangs is told from one that is not there.
func TestReadyCommandGivesUp(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := askReady(ctx, strings.TrimPrefix(srv.URL, "http://")); err == nil || err.Error() != "no answer within 5s" {
		t.Errorf("got %v", err)
	}
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		":9090": "127.0.0.1:9090", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1", "10.0.0.1:1": "10.0.0.1:1", "[fd00::1]:1": "[fd00::1]:1", "localhost:1": "localhost:1",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("%s: got %s, want %s", listen, got, want)
		}
	}
}
