package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schemaOf gives the JSON schema of a value. Objects are closed: what is not known is refused. Helm drops a value that is set to
// null, default and all, before the schema sees it: what templates cannot do without is demanded, or no replicas would be asked for.
func schemaOf(v *value, k *kubernetesTypes) (map[string]any, error) {
	schema := map[string]any{}
	if v.doc != "" {
		schema["description"] = v.doc
	}
	switch {
	case v.ref != "":
		schema["$ref"] = "#/definitions/" + v.ref
	case len(v.enum) > 0:
		schema["enum"] = v.enum
	case v.typ == "" && v.node.Kind == yaml.MappingNode, v.typ == "open object":
		properties, required := map[string]any{}, []string{}
		for _, child := range v.children {
			var err error
			if properties[child.name], err = schemaOf(child, k); err != nil {
				return nil, err
			}
			if !child.mayBeNull() && v.typ != "open object" {
				required = append(required, child.name)
			}
		}
		if len(required) > 0 {
			schema["required"] = required
		}
		schema["type"], schema["properties"], schema["additionalProperties"] = "object", properties, v.typ == "open object"
	case v.typ == "":
		typ, ok := map[string]string{"!!str": "string", "!!int": "integer", "!!bool": "boolean"}[v.node.Tag]
		if !ok {
			return nil, fmt.Errorf("values.yaml: %s: no @type for %s", v.path, v.node.Tag)
		}
		schema["type"] = typ
	default:
		if err := k.named(v.typ, schema); err != nil {
			return nil, fmt.Errorf("values.yaml: %s: %w", v.path, err)
		}
	}
	for name, limit := range v.limits {
		schema[name] = limit
	}
	return schema, nil
}

// TestSchema: values.schema.json is what values.yaml and the Kubernetes types say, and the settings part that the program's own
// test writes.
func TestSchema(t *testing.T) {
	path := filepath.Join(chartDir, "values.schema.json")
	old := map[string]any{}
	if text, err := os.ReadFile(path); err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&old); err != nil {
			t.Fatal(err)
		}
	}
	k := newKubernetesTypes()
	schema, err := schemaOf(readValues(t), k)
	if err != nil {
		t.Fatal(err)
	}
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = "Values of the chart ort-gateway"
	definitions := k.definitions()
	settings, ok := old["definitions"].(map[string]any)["settings"]
	if !ok {
		t.Fatal("the schema has no settings: UPDATE=1 go test ./cmd/ort-gateway/app writes them")
	}
	definitions["settings"] = settings
	schema["definitions"] = definitions
	hold(t, path, writeJSON(t, schema))
}

// writeJSON is the form of values.schema.json: members in order, two spaces.
func writeJSON(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestREADMETable: the values stand in the chart's README as they do in values.yaml.
func TestREADMETable(t *testing.T) {
	var b strings.Builder
	b.WriteString("| value | default | meaning |\n|---|---|---|\n")
	readValues(t).each(func(v *value) {
		if v.isSection() {
			return
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.path, shownDefault(v), strings.ReplaceAll(v.doc, "|", `\|`))
	})
	path := filepath.Join(chartDir, "README.md")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(old), "<!-- values -->\n")
	_, after, found := strings.Cut(rest, "<!-- /values -->")
	if !found {
		t.Fatal("README.md has no values markers")
	}
	hold(t, path, []byte(before+"<!-- values -->\n"+b.String()+"<!-- /values -->"+after))
}

// shownDefault is the default in the table: on one line, or where to look.
func shownDefault(v *value) string {
	if v.node.Kind == yaml.ScalarNode {
		if v.node.Value == "" {
			return "empty"
		}
		return "`" + v.node.Value + "`"
	}
	var content any
	if err := v.node.Decode(&content); err != nil {
		return err.Error()
	}
	text, err := json.Marshal(content)
	switch {
	case err != nil:
		return err.Error()
	case len(v.node.Content) == 0:
		return "empty"
	case len(text) > 70:
		return "see values.yaml"
	}
	return "`" + string(text) + "`"
}
