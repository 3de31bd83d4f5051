package chart

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

// kubeVersions are those that the sidecar's form and the pre-stop sleep depend on.
var kubeVersions = []string{"1.28.0", "1.29.0", "1.33.0"}

// recipes lists what is printed for the IdP of a sidecar scenario.
var recipes = map[string]string{
	"sidecar-keycloak-operator": "keycloak-operator", "sidecar-keycloakx": "keycloakx", "sidecar-dex": "dex", "sidecar-deployment": "deployment",
}

// TestGolden: what is installed, and what the operator is told, for each file of values. What is installed is the same for each
// version of Kubernetes; the recipes are not.
func TestGolden(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			files, err := render(theChart(t), s.values, install{})
			if err != nil {
				t.Fatal(err)
			}
			older, err := render(theChart(t), s.values, install{kube: kubeVersions[0], unchecked: true})
			if err != nil {
				t.Fatal(err)
			}
			if difference := firstDifference(manifests(older), manifests(files)); difference != "" {
				t.Errorf("differs for %s%s", kubeVersions[0], difference)
			}
			hold(t, filepath.Join("testdata", "golden", s.name+".yaml"), []byte(elided(t, manifests(files))))
			hold(t, filepath.Join("testdata", "golden", s.name+".txt"), []byte(strings.TrimSpace(notes(files))+"\n"))
		})
	}
}

// elided leaves out the dashboard: TestWatchedAsTheFilesSay holds it to its file.
func elided(t *testing.T, text string) string {
	t.Helper()
	dashboard, err := os.ReadFile(filepath.Join(chartDir, "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	indented := "    " + strings.ReplaceAll(strings.TrimSpace(string(dashboard)), "\n", "\n    ")
	return strings.ReplaceAll(text, indented, "    (files/dashboard.json)")
}

// recipeOf prints the part for the IdP, as `helm template --set sidecar.recipe=…` does.
func recipeOf(t *testing.T, s scenario, kube string) string {
	t.Helper()
	values := maps.Clone(s.values)
	sidecar := maps.Clone(values["sidecar"].(map[string]any))
	sidecar["recipe"] = recipes[s.name]
	values["sidecar"] = sidecar
	files, err := render(theChart(t), values, install{kube: kube})
	if err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if base := filepath.Base(name); base != "recipe.yaml" && base != "NOTES.txt" {
			t.Errorf("%s is rendered beside a recipe", name)
		}
	}
	return strings.TrimSpace(files["ort-gateway/templates/recipe.yaml"]) + "\n"
}

func TestGoldenRecipes(t *testing.T) {
	found := 0
	for _, s := range scenarios(t) {
		if recipes[s.name] == "" {
			continue
		}
		found++
		for _, kube := range kubeVersions {
			name := "recipe-" + recipes[s.name] + "-" + strings.TrimSuffix(kube, ".0")
			hold(t, filepath.Join("testdata", "golden", name+".yaml"), []byte(recipeOf(t, s, kube)))
		}
	}
	if found != len(recipes) {
		t.Errorf("%d recipes of %d have an example", found, len(recipes))
	}
}

func TestLint(t *testing.T) {
	for _, s := range scenarios(t) {
		for _, message := range lint.All(chartDir, s.values, "idp", true).Messages {
			if message.Severity >= support.WarningSev {
				t.Errorf("%s: %v", s.name, message)
			}
		}
	}
}
