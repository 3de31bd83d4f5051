package chart

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

// install says for what the chart is rendered.
type install struct {
	kube      string // Kubernetes version; "": 1.33
	unchecked bool   // without the schema, which takes longer than all else
	release   string // "": gw
	namespace string // "": idp
}

var loadChart = sync.OnceValues(func() (*helmchart.Chart, error) { return loader.LoadDir(chartDir) })

func theChart(t *testing.T) *helmchart.Chart {
	t.Helper()
	if update {
		updateSchema.Do(func() { TestSchema(t) }) // what is written after it is judged by it
	}
	c, err := loadChart()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var updateSchema sync.Once

// theSchema is the chart's schema, compiled once: helm compiles it at each look.
var theSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	c, err := loadChart()
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(c.Schema))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("values.schema.json", document); err != nil {
		return nil, err
	}
	return compiler.Compile("values.schema.json")
})

// refused gives the schema's fault with the values, which are laid over the defaults as helm does.
func refused(t *testing.T, values map[string]any) error {
	t.Helper()
	schema, err := theSchema()
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.CoalesceValues(theChart(t), values)
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(map[string]any(all))
}

// render gives what helm would install for the values, by the name of each template, and an error where helm would refuse.
func render(c *helmchart.Chart, values map[string]any, in install) (map[string]string, error) {
	capabilities := *chartutil.DefaultCapabilities
	kube := in.kube
	if kube == "" {
		kube = "1.33.0"
	}
	version, err := chartutil.ParseKubeVersion(kube)
	if err != nil {
		return nil, err
	}
	capabilities.KubeVersion = *version
	if c.Metadata.KubeVersion != "" && !chartutil.IsCompatibleRange(c.Metadata.KubeVersion, version.String()) {
		return nil, fmt.Errorf("kubeVersion %s is not for %s", c.Metadata.KubeVersion, version)
	}
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return nil, err
	}
	options := chartutil.ReleaseOptions{Name: cmp.Or(in.release, "gw"), Namespace: cmp.Or(in.namespace, "idp"), Revision: 1, IsInstall: true}
	top, err := chartutil.ToRenderValuesWithSchemaValidation(c, values, options, &capabilities, in.unchecked)
	if err != nil {
		return nil, err
	}
	out, err := engine.Render(c, top)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(out, func(name, text string) bool {
		return strings.HasPrefix(filepath.Base(name), "_") || strings.TrimSpace(text) == ""
	})
	return out, nil
}

// manifests joins what is installed, without the notes, in the order of names.
func manifests(files map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		for _, document := range documents(files[name]) {
			fmt.Fprintf(&b, "---\n# %s\n%s\n", strings.TrimPrefix(name, "ort-gateway/templates/"), document)
		}
	}
	return b.String()
}

// documents splits YAML at its separators, and drops what is empty.
func documents(text string) []string {
	var all []string
	for document := range strings.SplitSeq("\n"+text, "\n---") {
		if document = strings.Trim(document, "\n"); strings.TrimSpace(document) != "" {
			all = append(all, document)
		}
	}
	return all
}

// notes is what the operator reads after an installation.
func notes(files map[string]string) string { return files["ort-gateway/templates/NOTES.txt"] }

func parseValues(t *testing.T, text string) map[string]any {
	t.Helper()
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return values
}

// scenario is a file of testdata/values.
type scenario struct {
	name   string
	text   string
	values map[string]any
}

// addition is the example that is added to others; its scenario is that of the first.
const addition, addedTo = "monitoring", "standalone-bolt"

// scenarios reads testdata/values. What the chart's users see as examples is among them.
func scenarios(t *testing.T) []scenario {
	t.Helper()
	var all []scenario
	for _, pattern := range []string{"testdata/values/*.yaml", filepath.Join(chartDir, "examples", "*.yaml")} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Base(path) == addition+".yaml" {
				first, err := os.ReadFile(filepath.Join(chartDir, "examples", addedTo+".yaml"))
				if err != nil {
					t.Fatal(err)
				}
				text = append(first, text...) // they have no key in common
			}
			all = append(all, scenario{strings.TrimSuffix(filepath.Base(path), ".yaml"), string(text), parseValues(t, string(text))})
		}
	}
	if len(all) < 12 {
		t.Fatalf("%d scenarios", len(all))
	}
	return all
}

// firstDifference shows where two texts part.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("\nline %d\n  is     %s\n  should %s", i+1, x, y)
		}
	}
	return ""
}

// parentChart is testdata/parent with this chart as its dependency.
func parentChart(t *testing.T) *helmchart.Chart {
	t.Helper()
	parent, err := loader.LoadDir("testdata/parent")
	if err != nil {
		t.Fatal(err)
	}
	child, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	parent.AddDependency(child)
	return parent
}
