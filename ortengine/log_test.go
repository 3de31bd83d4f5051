package ortengine_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

func boundLog(now func() time.Time) (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	l := slog.New(slog.NewTextHandler(&b, nil))
	return ortengine.BoundLog(l.With("a", 1), now), &b
}

// Strangers choose how long their names are, not how long a line is.
func TestNamesInTheLogAreCut(t *testing.T) {
	log, b := boundLog(time.Now)
	long := strings.Repeat("é", 5000)
	for _, key := range []string{"client", "audiences", "scope", "path"} {
		b.Reset()
		log.With("b", 2).Info("event", key, "x"+long, "why", "short", "n", 3)
		line := b.String()
		if len(line) > 400 || !utf8.ValidString(line) || !strings.Contains(line, "why=short n=3") || !strings.Contains(line, key+"=xéé") || !strings.Contains(line, "a=1 b=2") {
			t.Errorf("%s: %d bytes: %.300s", key, len(line), line)
		}
	}
	b.Reset()
	log.Info("event", "client", strings.Repeat("c", 128), "stack", long)
	if got := b.String(); strings.Contains(got, "…") || len(got) < 10000 {
		t.Errorf("cut without need: %.300s", got)
	}
}

// A warning that strangers cause comes now and then, and says how often it was
// left out; events of the audit come each time.
func TestWarningsAreCounted(t *testing.T) {
	now := time.Now()
	log, b := boundLog(func() time.Time { return now })
	for range 1000 {
		log.Warn("the same", "client", "c")
		log.Info("ort_issued")
		log.Error("a fault")
	}
	log.Warn("another")
	for text, want := range map[string]int{`msg="the same"`: 20, "msg=ort_issued": 1000, `msg="a fault"`: 1000, "msg=another": 1, "left_out": 0} {
		if got := strings.Count(b.String(), text); got != want {
			t.Errorf("%s: %d lines, want %d", text, got, want)
		}
	}
	b.Reset()
	now = now.Add(3 * time.Second)
	for range 10 {
		log.Warn("the same")
	}
	if got := b.String(); strings.Count(got, "\n") != 3 || strings.Count(got, "left_out=980") != 1 {
		t.Errorf("later: %s", got)
	}
}
