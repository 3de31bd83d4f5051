package chart

import (
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What is set to null (`ingress:` with each of its lines commented out, say) is refused by its name where templates cannot do
// without it, and else is the same as empty.
func TestNulls(t *testing.T) {
	all := slices.DeleteFunc(scenarios(t), func(s scenario) bool { // those that together use every value
		return !slices.Contains([]string{"bolt-full", "redis-scaled", "watched", "sidecar-keycloakx"}, s.name)
	})
	for i, s := range all {
		rendered := func(path string, to any) string {
			files, err := render(theChart(t), with(s.values, path, to), install{unchecked: true})
			if err != nil {
				return err.Error()
			}
			return manifests(files) + notes(files)
		}
		readValues(t).each(func(v *value) {
			var err error
			if i == 0 { // the schema looks at each value by itself: once is enough
				err = refused(t, with(s.values, v.path, nil))
			}
			switch {
			case !v.mayBeNull() && i > 0:
			case !v.mayBeNull() && strings.HasPrefix(v.path, "global."):
				if err != nil {
					t.Errorf("%s: %s: %v", s.name, v.path, err)
				}
			case !v.mayBeNull():
				if err == nil || !strings.Contains(err.Error(), "'"+v.name+"'") {
					t.Errorf("%s: %s as null: %v", s.name, v.path, err)
				}
			case err != nil:
				t.Errorf("%s: %s: %v", s.name, v.path, err)
			default:
				var empty any = []any{}
				if v.node.Kind == yaml.MappingNode {
					empty = map[string]any{}
				}
				taken := rendered(v.path, nil)
				if strings.Contains(taken, "template: ") {
					t.Errorf("%s: %s as null: %s", s.name, v.path, taken)
				}
				if isMap := len(v.node.Content) > 0 && v.node.Kind == yaml.MappingNode; isMap {
					return // an empty map leaves the defaults
				}
				if difference := firstDifference(taken, rendered(v.path, empty)); difference != "" {
					t.Errorf("%s: %s as null is not as empty%s", s.name, v.path, difference)
				}
			}
		})
	}
}
