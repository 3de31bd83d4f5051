package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLogFormatAndLevel(t *testing.T) {
	for _, c := range []struct {
		format string
		want   string
	}{{"json", `"level":"WARN","msg":"loud"`}, {"text", "level=WARN msg=loud"}} {
		var b bytes.Buffer
		l := newLogger(&b, &Settings{LogFormat: c.format, LogLevel: slog.LevelWarn})
		l.Info("quiet")
		l.Warn("loud")
		if !strings.Contains(b.String(), c.want) || strings.Contains(b.String(), "quiet") {
			t.Errorf("%s: %s", c.format, b.String())
		}
	}
}

func TestTheStandardLoggerDoesNotLeak(t *testing.T) {
	var b bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	undo := redirectStandardLogger(l)
	before := log.Writer()
	for _, line := range []string{
		"code=" + marker,
		"http: TLS handshake error from 192.0.2.1:55: tls: client requested " + marker,
		"http: proxy error: dial tcp: lookup " + marker,
		"Unsolicited response received on idle HTTP channel starting with \"" + marker + "\"; err=<nil>",
		"http: panic serving 192.0.2.1:55: " + marker + "\n\t/" + marker + "/a/b.go:1\ngoroutine 7 [running]:\nmain.f({0x1, 0x2})\n\t/src/pkg/file.go:12 +0x1d\n",
	} {
		log.Print(line)
		libraryLogger(l).Print(line)
	}
	log.Print("several\nlines of " + marker)
	undo()
	if strings.Contains(b.String(), marker) || strings.Contains(b.String(), "192.0.2.1") {
		t.Errorf("leaks: %s", b.String())
	}
	if got := strings.Count(b.String(), "\n"); got != 11 {
		t.Errorf("%d lines, want one an event: %s", got, b.String())
	}
	if !strings.Contains(b.String(), `"stack":["pkg/file.go:12"]`) {
		t.Errorf("the panic's place is not in the log: %s", b.String())
	}
	if log.Writer() == before {
		t.Error("the standard logger was not given back")
	}
}

// What net/http writes of a real panic has the form that libraryLog reads.
func TestAHandlersPanicIsLoggedWithoutItsValue(t *testing.T) {
	var b logBuffer
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(marker) }))
	srv.Config.ErrorLog = libraryLogger(slog.New(slog.NewJSONHandler(&b, nil)))
	srv.Start()
	if _, err := http.Get(srv.URL); err == nil {
		t.Error("a panic was answered")
	}
	srv.Close()
	var event struct {
		Msg   string
		Stack []string
	}
	if err := json.Unmarshal([]byte(b.String()), &event); err != nil {
		t.Fatal(err, b.String())
	}
	if event.Msg != "http: panic serving" || !strings.Contains(fmt.Sprint(event.Stack), "app/logging_test.go:") || strings.Contains(b.String(), marker) {
		t.Errorf("got %s", b.String())
	}
}
