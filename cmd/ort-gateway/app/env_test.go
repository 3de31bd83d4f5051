package app

import (
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// The README's table is what the program prints: `ort-gateway env` between the two markers.
func TestREADMEHasTheSettingsTable(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "<!-- settings -->\n")
	got, _, found := strings.Cut(after, "<!-- /settings -->")
	if !found {
		t.Fatal("README.md has no settings markers")
	}
	var want strings.Builder
	if err := writeTable(&want); err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(got) != strings.TrimSpace(want.String()) {
		t.Error("README.md has another settings table; put the output of `ort-gateway env` between the markers")
	}
}

func TestVersionComesFromTheBinaryItself(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}
	if got, want := buildOf(info), (build{"v1.2.3", "abc-modified", "go1.26.8"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := buildOf(&debug.BuildInfo{GoVersion: "go1.26.8"}), (build{"unknown", "unknown", "go1.26.8"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
