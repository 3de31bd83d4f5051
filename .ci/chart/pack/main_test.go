package main

import (
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
)

var chart = filepath.Join("..", "..", "..", "charts", "ort-gateway")

// The package of a release has the tag's version, runs what was pushed and nothing else, and is the chart otherwise.
func TestPackPinsTheImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	file, err := pack(chart, "1.2.3-rc.1", digest, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(file) != "ort-gateway-1.2.3-rc.1.tgz" {
		t.Errorf("the package is %s", filepath.Base(file))
	}
	was, err := loader.LoadDir(chart)
	if err != nil {
		t.Fatal(err)
	}
	is, err := loader.LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if is.Metadata.Version != "1.2.3-rc.1" || is.Metadata.AppVersion != "1.2.3-rc.1" {
		t.Errorf("version %s of the program %s", is.Metadata.Version, is.Metadata.AppVersion)
	}
	if image := is.Values["image"].(map[string]any); image["digest"] != digest {
		t.Errorf("the image is %v", image)
	}
	for _, f := range was.Raw {
		switch f.Name {
		case "Chart.yaml":
			continue
		case "values.yaml":
			f.Data = []byte(strings.Replace(string(f.Data), `  digest: ""`, "  digest: "+digest, 1))
		}
		found := false
		for _, other := range is.Raw {
			found = found || other.Name == f.Name && string(other.Data) == string(f.Data)
		}
		if !found {
			t.Errorf("%s is another", f.Name)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for what, args := range map[string][2]string{
		"the tag with its v": {"v1.2.3", digest}, "no version": {"", digest}, "a tag for a digest": {"1.2.3", "latest"},
		"a digest that is cut short": {"1.2.3", digest[:70]}, "no digest": {"1.2.3", ""},
	} {
		if _, err := pack(chart, args[0], args[1], t.TempDir()); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
