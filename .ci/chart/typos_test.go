package chart

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// openMaps are the maps whose keys the operator chooses: those that values.yaml says, and Kubernetes' labels. Anything else is a
// name of ours or of Kubernetes', and a misspelt one is refused at any depth.
func openMaps(t *testing.T) func(path string) bool {
	t.Helper()
	open := map[string]bool{"nodeSelector": true}
	readValues(t).each(func(v *value) {
		open[v.path] = open[v.path] || v.typ == "map of string" || v.typ == "open object"
	})
	return func(path string) bool {
		return open[path] || strings.HasSuffix(path, ".matchLabels") || strings.HasPrefix(path, "extraObjects")
	}
}

// variant is the scenario's values with one entry changed.
type variant struct {
	path   string
	values map[string]any
}

// misspelt gives one variant for each object in the values: a key more that nobody knows.
func misspelt(values map[string]any, isOpen func(string) bool) []variant {
	var all []variant
	walk(values, "", func(path string, replace func(any) any, node any) {
		object, isObject := node.(map[string]any)
		if !isObject || isOpen(path) {
			return
		}
		changed := maps.Clone(object)
		changed["unknwon"] = "x"
		all = append(all, variant{path, replace(changed).(map[string]any)})
	})
	return all
}

// ofWrongType gives one variant for each entry: an object where there was none, text where there was one.
func ofWrongType(values map[string]any) []variant {
	var all []variant
	walk(values, "", func(path string, replace func(any) any, node any) {
		if path == "" || strings.HasPrefix(path, "extraObjects.") {
			return
		}
		var wrong any = map[string]any{"wrong": map[string]any{}}
		if _, isObject := node.(map[string]any); isObject {
			wrong = 7
		}
		all = append(all, variant{path, replace(wrong).(map[string]any)})
	})
	return all
}

// walk visits every node; replace gives the whole with that node changed.
func walk(root any, path string, visit func(path string, replace func(any) any, node any)) {
	var step func(node any, path string, replace func(any) any)
	step = func(node any, path string, replace func(any) any) {
		visit(path, replace, node)
		switch n := node.(type) {
		case map[string]any:
			for name, child := range n {
				step(child, strings.TrimPrefix(path+"."+name, "."), func(v any) any {
					changed := maps.Clone(n)
					changed[name] = v
					return replace(changed)
				})
			}
		case []any:
			for i, child := range n {
				step(child, fmt.Sprintf("%s.%d", path, i), func(v any) any {
					changed := slices.Clone(n)
					changed[i] = v
					return replace(changed)
				})
			}
		}
	}
	step(root, path, func(v any) any { return v })
}

// TestTypos: each object of the defaults and of every scenario with a misspelt key, and each entry of a wrong type, is refused by
// the schema, Kubernetes' own blocks too.
func TestTypos(t *testing.T) {
	tried, isOpen := 0, openMaps(t)
	for _, s := range append(scenarios(t), scenario{name: "defaults", values: theChart(t).Values}) {
		if err := refused(t, s.values); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		for kind, variants := range map[string][]variant{"misspelt": misspelt(s.values, isOpen), "wrong type": ofWrongType(s.values)} {
			for _, v := range variants {
				tried++
				if err := refused(t, v.values); err == nil {
					t.Errorf("%s: %s at %q is taken", s.name, kind, v.path)
				}
			}
		}
	}
	t.Logf("%d variants", tried)
}

// A wrong value is named by its path, on a line.
func TestSchemaNamesTheValue(t *testing.T) {
	for values, says := range map[string]string{
		"replicas: 0": "/replicas", "replica: 3": "replica", "mode: side": "/mode", "settings: {ORT_ISUER: x}": "ORT_ISUER",
		"settings: {ORT_SESSION_IDLE_TIMEOUT: 72}": "/settings/ORT_SESSION_IDLE_TIMEOUT", "settings: {ORT_STORE_URL: 'redis://x'}": "ORT_STORE_URL",
		"securityContext: {runAsNonroot: true}": "runAsNonroot", "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerm: []}}}": "nodeSelectorTerm",
		"resources: {limits: {memory: lots}}": "/resources/limits/memory", "tolerations: {key: a}": "/tolerations",
	} {
		_, err := render(theChart(t), parseValues(t, values), install{})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", values, err)
		}
	}
}
