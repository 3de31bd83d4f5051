package chart

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// otherValue gives a good value that differs from what is there. Some need one of their own.
func otherValue(v *value, present any) any {
	if own, ok := map[string]any{
		"sidecar.form": "container", "image.digest": "sha256:" + strings.Repeat("b", 64), "monitor.interval": "17s", "backup.timeZone": "Asia/Tokyo", "store.bolt.size": "3Gi",
		"global.imagePullSecrets": []any{map[string]any{"name": "other"}}, "imagePullSecrets": []any{map[string]any{"name": "other"}},
		"extraEnv": []any{map[string]any{"name": "OTHER", "value": "1"}}, "extraVolumes": []any{map[string]any{"name": "other", "emptyDir": map[string]any{}}},
		"extraVolumeMounts": []any{map[string]any{"name": "ort-data", "mountPath": "/other"}}, "extraObjects": []any{"kind: Other"},
		"hostAliases": []any{map[string]any{"ip": "10.9.9.9"}}, "tolerations": []any{map[string]any{"operator": "Exists"}},
		"affinity":                  map[string]any{"podAntiAffinity": map[string]any{"preferredDuringSchedulingIgnoredDuringExecution": []any{}}},
		"topologySpreadConstraints": []any{map[string]any{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}},
		"settings":                  map[string]any{"ORT_LOG_LEVEL": "debug"}, "resources": map[string]any{"requests": map[string]any{"cpu": "7m"}},
		"backup.resources": map[string]any{"requests": map[string]any{"cpu": "7m"}}, "podSecurityContext": map[string]any{"fsGroup": 7},
		"securityContext": map[string]any{"runAsGroup": 7}, "autoscaling.behavior": map[string]any{"scaleDown": map[string]any{"stabilizationWindowSeconds": 7}},
		"httpRoute.parentRefs": []any{map[string]any{"name": "other"}}, "httpRoute.timeouts": map[string]any{"backendRequest": "7s"},
		"httpRoute.filters": []any{map[string]any{"type": "RequestMirror", "requestMirror": map[string]any{"backendRef": map[string]any{"name": "other"}}}},
		"ingress.tls":       []any{map[string]any{"secretName": "other"}}, "ingress.hosts": []any{"other.example"}, "httpRoute.hostnames": []any{"other.example"},
		"monitor.metricRelabelings": []any{map[string]any{"action": "drop"}}, "sidecar.idpOtherPorts": []any{7080},
		"prometheusRule.excludeRules": []any{"OrtGatewayAbsent"}, "prometheusRule.thresholds": map[string]any{"OrtGatewayDiskLow": "7"},
		"prometheusRule.for": map[string]any{"OrtGatewayDiskLow": "7m"}, "prometheusRule.objectives.exchanges": "0.9", "prometheusRule.objectives.latency": "0.9",
		"networkPolicy.storePorts":  []any{7},
		"networkPolicy.extraEgress": []any{map[string]any{"ports": []any{map[string]any{"port": 7}}}},
	}[v.path]; ok {
		return own
	}
	switch {
	case len(v.enum) > 0:
		for _, word := range v.enum {
			if fmt.Sprint(word) != fmt.Sprint(present) && word != "" {
				return word
			}
		}
	case strings.Contains(v.typ, "NetworkPolicyPeer"):
		return []any{map[string]any{"ipBlock": map[string]any{"cidr": "192.0.2.0/24"}}}
	case strings.Contains(v.typ, "NetworkPolicyIngressRule"):
		return []any{map[string]any{"ports": []any{map[string]any{"port": 7}}}}
	case v.typ == "map of string":
		return map[string]any{"other": "thing"}
	case v.node.Tag == "!!int":
		return 11
	case v.node.Tag == "!!bool":
		return present != true
	}
	return "other"
}

// with sets one value, by its path with dots.
func with(values map[string]any, path string, to any) map[string]any {
	changed := maps.Clone(values)
	name, rest, deeper := strings.Cut(path, ".")
	if !deeper {
		changed[name] = to
		return changed
	}
	inner, _ := values[name].(map[string]any)
	if inner == nil {
		inner = map[string]any{}
	}
	changed[name] = with(inner, rest, to)
	return changed
}

func at(values map[string]any, path string) any {
	name, rest, deeper := strings.Cut(path, ".")
	inner, isMap := values[name].(map[string]any)
	if deeper && isMap {
		return at(inner, rest)
	}
	return values[name]
}

// TestEveryValueIsUsed: changing a value changes what is rendered, or is refused by a sentence of the chart, in one of the scenarios.
func TestEveryValueIsUsed(t *testing.T) {
	all := scenarios(t)
	for _, s := range all {
		if recipes[s.name] != "" {
			all = append(all, scenario{name: s.name + "-recipe", values: with(s.values, "sidecar.recipe", recipes[s.name])})
		}
	}
	rendered := func(values map[string]any) string {
		files, err := render(theChart(t), values, install{unchecked: true})
		if err != nil {
			return err.Error()
		}
		return manifests(files) + notes(files)
	}
	before := map[string]string{}
	for _, s := range all {
		before[s.name] = rendered(s.values)
	}
	readValues(t).each(func(v *value) {
		if v.isSection() {
			return
		}
		used := slices.ContainsFunc(all, func(s scenario) bool {
			present := at(s.values, v.path)
			if present == nil && v.node.Kind == yaml.ScalarNode {
				present = scalar(v.node.Value)
			}
			values := with(s.values, v.path, otherValue(v, present))
			if err := refused(t, values); err != nil {
				t.Fatalf("%s: %v", v.path, err)
			}
			return rendered(values) != before[s.name]
		})
		if !used {
			t.Errorf("%s changes nothing", v.path)
		}
	})
}

// TestEveryUsedValueIsDeclared: what templates read stands in values.yaml.
func TestEveryUsedValueIsDeclared(t *testing.T) {
	declared := map[string]bool{}
	var closed []string
	readValues(t).each(func(v *value) {
		declared[v.path] = true
		if !v.isSection() {
			closed = append(closed, v.path+".")
		}
	})
	reads := regexp.MustCompile(`\.Values((?:\.[A-Za-z]\w*)+)`)
	err := filepath.WalkDir(filepath.Join(chartDir, "templates"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range reads.FindAllSubmatch(text, -1) {
			name := strings.TrimPrefix(string(m[1]), ".")
			inside := slices.ContainsFunc(closed, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
			if !declared[name] && !inside {
				t.Errorf("%s reads %s, which values.yaml does not have", filepath.Base(path), name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
