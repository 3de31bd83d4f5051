package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
)

const commandToken = "a-token-of-24-characters"

// command runs `ort-gateway sessions …` against the gateway at an admin address.
func command(t *testing.T, admin, token string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), append([]string{"sessions"}, args...), []string{"ORT_ADMIN_ADDR=" + admin, "ORT_ADMIN_TOKEN=" + token}, &out, &errs)
	if strings.Contains(out.String()+errs.String(), commandToken) {
		t.Errorf("%q shows the token", args)
	}
	return out.String(), errs.String(), code
}

// More sessions than one page holds come whole, each once, and no more of them than were asked for.
func TestSessionsListGoesOnFromPageToPage(t *testing.T) {
	const n = pageOfList + 7
	path, admin := filepath.Join(t.TempDir(), "sessions.db"), proctest.FreeAddress(t)
	want := map[string]bool{}
	for _, id := range filled(t, path, n) {
		want[string(id)] = true
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var log logBuffer
	running.Go(func() {
		_ = Run(ctx, nil, []string{
			"ORT_ISSUER=http://127.0.0.1:1", "ORT_UPSTREAM_URL=http://127.0.0.1:1", "ORT_LISTEN_ADDR=127.0.0.1:0", "ORT_ADMIN_ADDR=" + admin,
			"ORT_ADMIN_TOKEN=" + commandToken, "ORT_STORE_URL=bolt:" + path, "ORT_SEALING_KEYS=" + seal.NewKey(), "ORT_SHUTDOWN_TIMEOUT=100ms",
		}, &log, &log)
	})
	defer running.Wait()
	defer stop()
	if err := waitAlive(admin); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	for _, c := range []struct {
		limit string
		want  int
	}{{"", n}, {"3", 3}, {fmt.Sprint(pageOfList), pageOfList}, {fmt.Sprint(pageOfList + 2), pageOfList + 2}, {"9999", n}} {
		args := []string{"list", "--json"}
		if c.limit != "" {
			args = append(args, "--limit", c.limit)
		}
		out, errs, code := command(t, admin, commandToken, args...)
		seen := map[string]bool{}
		for line := range strings.Lines(out) {
			var s listedSession
			if err := json.Unmarshal([]byte(line), &s); err != nil || !want[s.ID] || seen[s.ID] {
				t.Fatalf("%q: %v: %s", args, err, line)
			}
			seen[s.ID] = true
		}
		if code != 0 || errs != "" || len(seen) != c.want {
			t.Errorf("%q: %d sessions, want %d; exit code %d, %s", args, len(seen), c.want, code, errs)
		}
	}
	out, _, _ := command(t, admin, commandToken, "list")
	if lines := strings.Split(out, "\n"); len(lines) != n+2 || !strings.HasPrefix(lines[0], "SESSION ") || strings.Count(out, "SESSION ") != 1 {
		t.Errorf("the table has %d lines: %.200s", len(lines), out)
	}
	for id := range want {
		whole, errs, code := command(t, admin, commandToken, "show", id, "--json")
		var s listedSession
		if err := json.Unmarshal([]byte(whole), &s); err != nil || s.ID != id || strings.Count(whole, "\n") != 1 || code != 0 {
			t.Errorf("show --json: %v, exit code %d: %s%s", err, code, whole, errs)
		}
		break
	}
}

// Without a token nothing is asked: exit code 2, one line.
func TestSessionsCommandsNeedTheToken(t *testing.T) {
	for _, args := range [][]string{{"list"}, {"show", "some-id"}, {"end", "some-id"}, {"backup", filepath.Join(t.TempDir(), "copy")}} {
		out, errs, code := command(t, "127.0.0.1:1", "", args...)
		if code != exitUsage || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "ORT_ADMIN_TOKEN: is not set") {
			t.Errorf("%q: exit code %d: %s%s", args, code, out, errs)
		}
	}
	if _, errs, code := command(t, "127.0.0.1:1", commandToken, "backup", ""); code != exitUsage || !strings.Contains(errs, "into which file?") {
		t.Errorf("no file: exit code %d: %s", code, errs)
	}
}

// What no gateway answers, or one that breaks: one line, exit code 1, and nothing is left of a copy.
func TestSessionsCommandsOverBrokenAnswers(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for name, c := range map[string]struct {
		args   []string
		answer http.HandlerFunc
		want   string
	}{
		"no JSON":                 {[]string{"list"}, answer(200, "<html>"), "answered, and not as a gateway does"},
		"a list of other things":  {[]string{"list"}, answer(200, `{"sessions":["x"]}`), "the gateway's answer cannot be read"},
		"an end that says no how": {[]string{"end", "some-id"}, answer(200, `"yes"`), "the gateway's answer cannot be read"},
		"an error of a gateway":   {[]string{"list"}, answer(503, `{"error":"temporarily_unavailable","error_description":"The store\nis away."}`), "answered 503: The store is away."},
		"an error of another":     {[]string{"list"}, answer(502, "bad gateway"), "answered 502, and not as a gateway does"},
		"no such page":            {[]string{"list"}, answer(404, "nothing here"), "has no session API"},
		"no such page, in JSON":   {[]string{"list"}, answer(404, `{"error":"lost","error_description":"Nothing."}`), "answered 404: Nothing."},
		"a copy that is cut": {[]string{"backup"}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "half")
		}, "broke the copy off after 4 bytes"},
		"a copy of no length": {[]string{"backup"}, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "perhaps whole")
			w.(http.Flusher).Flush()
		}, "broke the copy off after 13 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.answer)
			defer srv.Close()
			dir, args := t.TempDir(), c.args
			if args[0] == "backup" {
				args = append(args[:1:1], filepath.Join(dir, "copy"))
			}
			out, errs, code := command(t, strings.TrimPrefix(srv.URL, "http://"), commandToken, args...)
			if code != exitFailed || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, c.want) {
				t.Errorf("exit code %d: %s%s, want %q", code, out, errs, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// Who stops a command is told so, and not that the gateway is at fault; one that hangs is.
func TestSessionsCommandGivesUp(t *testing.T) {
	for want, until := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"interrupted": context.WithCancel,
		"no answer in time": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		},
	} {
		ctx, stop := until(t.Context())
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if want == "interrupted" {
				stop()
			}
			<-r.Context().Done()
		}))
		var out, errs bytes.Buffer
		code := Run(ctx, []string{"sessions", "list"}, []string{"ORT_ADMIN_ADDR=" + strings.TrimPrefix(srv.URL, "http://"), "ORT_ADMIN_TOKEN=" + commandToken}, &out, &errs)
		if code != exitFailed || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 || !strings.HasSuffix(errs.String(), want+"\n") {
			t.Errorf("want %q, got exit code %d: %s%s", want, code, out.String(), errs.String())
		}
		stop()
		srv.Close()
	}
}

// Where nothing is set, commands ask where the gateway listens then.
func TestAdminAddrByDefault(t *testing.T) {
	if got, err := adminAddr(""); err != nil || got != "127.0.0.1:9090" {
		t.Errorf("got %s, %v", got, err)
	}
}
