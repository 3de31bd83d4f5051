package app

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ort-gateway/ort-gateway/"

// layers is the house plan: imports point down, never up or sideways. A package
// that is not named here stands at the level of the longest name that it is
// below of.
var layers = map[string]int{
	"dpop": 1, "ortengine/seal": 1, "proxy/rewrite": 1, "sessions": 1, "metrics": 1,
	"ortengine": 2, "proxy/upstream": 2, "sessions/boltstore": 2, "sessions/redisstore": 2,
	"proxy":               3,
	"cmd/ort-gateway/app": 4,
	"cmd/ort-gateway":     5,
	"cmd/ort-demo/idp":    1,
	"cmd/ort-demo":        5,
}

// homes names the one package that a library is used in.
var homes = map[string][]string{
	"github.com/gorilla/mux":                {"proxy"},
	"github.com/golang-jwt/jwt/v5":          {"dpop", "proxy/upstream"},
	"go.etcd.io/bbolt":                      {"sessions/boltstore"},
	"github.com/redis/go-redis/v9":          {"sessions/redisstore"},
	"github.com/prometheus/client_golang":   {"metrics", "cmd/ort-gateway/app"}, // app hands the registry in
	"github.com/caarlos0/env/v11":           {"cmd/ort-gateway/app"},
	"github.com/KimMachineGun/automemlimit": {"cmd/ort-gateway/app"},
}

// productPackages are our packages and what each imports, without tests.
func productPackages(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		if strings.HasSuffix(name, "test") || strings.HasSuffix(name, "e2e") {
			continue
		}
		packages[name] = fields[1:]
	}
	return packages
}

func TestImportsPointDown(t *testing.T) {
	for name, imports := range productPackages(t) {
		level, ok := layers[name]
		if !ok {
			t.Errorf("package %s stands in no layer: add it to the house plan", name)
			continue
		}
		for _, i := range imports {
			other, ours := strings.CutPrefix(i, module)
			if ours && layers[other] >= level {
				t.Errorf("%s (level %d) imports %s (level %d)", name, level, other, layers[other])
			}
		}
	}
}

func TestEachLibraryHasOneHome(t *testing.T) {
	for name, imports := range productPackages(t) {
		if strings.HasPrefix(name, "cmd/ort-demo") {
			continue
		}
		for _, i := range imports {
			for library, at := range homes {
				if (i == library || strings.HasPrefix(i, library+"/")) && !slices.Contains(at, name) {
					t.Errorf("%s imports %s, whose home is %s", name, i, strings.Join(at, ", "))
				}
			}
		}
	}
}

// A new module in the binary is a decision: it shows in review as a change of
// the golden file. UPDATE=1 writes it.
func TestModulesOfTheBinary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", module+"cmd/ort-gateway").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	got := []byte(strings.Join(slices.Compact(modules), "\n") + "\n")
	golden := filepath.Join("testdata", "modules.golden")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the modules of ort-gateway changed:\n%s\nwant\n%s", got, want)
	}
}

// text/template calls methods by name, for which the linker keeps every method of every type: with it the program has half as
// much again, and the image is over its limit.
func TestNoTemplatesInTheBinary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", module+"cmd/ort-gateway").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if slices.Contains(strings.Fields(string(out)), "text/template") {
		t.Error("a package of the program imports text/template")
	}
}
