package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// logBuffer is a log that tests read, also while others write.
type logBuffer struct{ proctest.Output }

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// watchStep is what is in the file at one look, and what must come of it.
type watchStep struct {
	name    string
	content string // "": the file is not there
	applied string // content that this look takes into use; "": none
	errors  int    // error lines so far
}

func TestChangedFileIsTakenOnceItIsSettledAndGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var log logBuffer
	var applied []string
	w := newFileWatch("FILE", []string{path}, [][]byte{[]byte("one")}, log.logger(), func(contents [][]byte) error {
		if strings.HasPrefix(string(contents[0]), "bad") {
			return errors.New("wrong form")
		}
		applied = append(applied, string(contents[0]))
		return nil
	})
	for _, step := range []watchStep{
		{"unchanged", "one", "", 0},
		{"being written", "tw", "", 0},
		{"just written", "two", "", 0},
		{"settled", "two", "two", 0},
		{"taken once", "two", "", 0},
		{"bad, may be half", "bad", "", 0},
		{"bad", "bad", "", 1},
		{"bad still, one line is enough", "bad", "", 1},
		{"another bad one", "bad again", "", 1},
		{"another bad one, settled", "bad again", "", 2},
		{"back to what is in use", "two", "", 2},
		{"gone", "", "", 2},
		{"gone still", "", "", 3},
		{"and still", "", "", 3},
		{"new", "three", "", 3},
		{"new, settled", "three", "three", 3},
	} {
		if step.content == "" {
			os.Remove(path)
		} else if err := os.WriteFile(path, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		applied = nil
		w.poll()
		if got := strings.Join(applied, ","); got != step.applied {
			t.Errorf("%s: applied %q, want %q", step.name, got, step.applied)
		}
		if got := strings.Count(log.String(), "level=ERROR"); got != step.errors {
			t.Errorf("%s: %d error lines, want %d", step.name, got, step.errors)
		}
	}
	if strings.Contains(log.String(), path) {
		t.Error("the log has the path: " + log.String())
	}
}

// Kubernetes changes a mounted secret by pointing a link at another directory.
func TestChangeThroughALinkIsSeen(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "keys"), []byte(version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to string) {
		os.Remove(filepath.Join(dir, "data"))
		if err := os.Symlink(to, filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	link("v1")
	var got string
	w := newFileWatch("FILE", []string{filepath.Join(dir, "data", "keys")}, [][]byte{[]byte("v1")}, slog.New(slog.DiscardHandler),
		func(contents [][]byte) error { got = string(contents[0]); return nil })
	link("v2")
	w.poll()
	w.poll()
	if got != "v2" {
		t.Errorf("got %q", got)
	}
}

func TestSealingKeysFollowTheirFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys")
		write := func(keys string) {
			if err := os.WriteFile(path, []byte(keys), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("first\n")
		var log logBuffer
		var mu sync.Mutex
		var got []string
		taken := func() string {
			mu.Lock()
			defer mu.Unlock()
			return strings.Join(got, " ")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s := &Settings{SealingKeys: NewSecret("first"), SealingKeysFile: path}
			watchSealingKeys(ctx, s, log.logger(), func(keys string) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, keys)
				return nil
			})
		}()
		wait := func() { time.Sleep(3*rereadInterval + time.Millisecond); synctest.Wait() }
		wait()
		write("first") // the line end does not count
		wait()
		if taken() != "" {
			t.Errorf("unchanged keys taken: %q", taken())
		}
		write("second\r\n")
		wait()
		write("\n")
		wait()
		if taken() != "second" || strings.Count(log.String(), "level=ERROR") != 1 || !strings.Contains(log.String(), "is empty") {
			t.Errorf("taken %q, log %s", taken(), log.String())
		}
		cancel()
		<-done
	})
	watchSealingKeys(t.Context(), &Settings{}, nil, nil) // no file: comes back at once
}

func TestASecretDoesNotShow(t *testing.T) {
	s, _ := load(t, with("ORT_ADMIN_TOKEN="+marker+marker)...)
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	log.Info("x", "secret", s.AdminToken, "settings", s)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "secret", s.AdminToken, "settings", *s)
	hidden := struct{ inside Secret }{s.AdminToken}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb, s.AdminToken)
		fmt.Fprintf(&b, verb, *s)
		fmt.Fprintf(&b, verb, hidden)
	}
	if strings.Contains(b.String(), marker) || strings.Contains(b.String(), fmt.Sprintf("%x", marker)) {
		t.Error("the secret is shown: " + b.String())
	}
	if !strings.Contains(b.String(), redacted) {
		t.Error("nothing says that there is one")
	}
}
