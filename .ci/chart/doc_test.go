// Package chart tests charts/ort-gateway with helm's own packages and with the Go types of what it renders. It is a module of
// its own, since what it needs is large and none of it belongs to the gateway.
//
//	go test            everything
//	UPDATE=1 go test   writes what is generated: values.schema.json (but its settings, which come from the program's table), the
//	                   table in the chart's README.md, and testdata/golden
package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const chartDir = "../../charts/ort-gateway"

// update reports whether generated files are written.
var update = os.Getenv("UPDATE") != ""

// hold compares a file with what it should be, or writes it.
func hold(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err == nil && bytes.Equal(got, want) {
		return
	}
	if !update {
		t.Errorf("%s is not up to date: UPDATE=1 go test writes it%s", path, firstDifference(string(got), string(want)))
		return
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
}
