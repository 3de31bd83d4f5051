package app

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// text writes a copy's content.
func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// A rotation keeps the last copies, and a copy that breaks off moves nothing.
func TestKeptCopies(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "copy")
	for _, day := range []string{"monday", "tuesday", "wednesday", "thursday"} {
		if err := writeKept(path, 3, text(day)); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("broken off")
	if err := writeKept(path, 3, func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return broken }); !errors.Is(err, broken) {
		t.Errorf("a copy that broke off: %v", err)
	}
	if err := writeNew(path, text("over it")); err == nil {
		t.Error("without --keep a copy is written over")
	}
	got := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(content)
	}
	want := map[string]string{"copy": "thursday", "copy.1": "wednesday", "copy.2": "tuesday"}
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s holds %q, want %q", name, got[name], content)
		}
	}
	if len(got) != len(want) {
		t.Errorf("there are %v", slices.Sorted(maps.Keys(got)))
	}
}
