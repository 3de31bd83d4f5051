package app

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// A file appears whole or not at all, and no other is touched.
func TestWriteNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	broken := errors.New("broken")
	if err := writeNew(path, func(w io.Writer) error { io.WriteString(w, "half"); return broken }); err != broken {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := writeNew(path, text("whole")); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, func(io.Writer) error { t.Error("what has no place is asked for"); return nil }); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "whole" {
		t.Errorf("got %q, %v", b, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
}

// What appears meanwhile is somebody's too.
func TestWriteNewWhereAnotherWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	err := writeNew(path, func(io.Writer) error { return os.WriteFile(path, []byte("another's"), 0o600) })
	if err == nil || !strings.Contains(err.Error(), path+" is there already") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "another's" {
		t.Errorf("got %q, %v", b, err)
	}
}

// A copy that cannot go on to the next number stays where it is, and the fault names it once.
func TestKeptCopiesThatCannotMove(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "copy")
	if err := writeKept(path, 2, text("monday")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".1", "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeKept(path, 2, text("tuesday")); err == nil || err.Error() != path+": file exists" {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "monday" {
		t.Errorf("got %q, %v", b, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".copy.*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
