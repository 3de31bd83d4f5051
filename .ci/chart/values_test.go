package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// value is one entry of values.yaml, with what its comment says.
type value struct {
	path     string // with dots; "" for the whole
	name     string
	doc      string
	typ      string // of @type; "": what the default shows
	ref      string // of @ref: a definition of values.schema.json
	enum     []any
	limits   map[string]any // minimum, maximum, pattern
	node     *yaml.Node
	children []*value
}

// isSection: its members are values of their own.
func (v *value) isSection() bool {
	return len(v.children) > 0 && (v.typ == "" || v.typ == "open object")
}

// mayBeNull: an operator may take it away with null, which is the same as empty: lists, maps and blocks of Kubernetes.
func (v *value) mayBeNull() bool {
	return v.node.Kind != yaml.ScalarNode && !v.isSection() && v.ref == "" || v.typ == "open object"
}

// readValues reads the chart's values.yaml.
func readValues(t *testing.T) *value {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	root := &value{node: document.Content[0]}
	if err := root.readChildren(); err != nil {
		t.Fatal(err)
	}
	return root
}

func (v *value) readChildren() error {
	if v.node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(v.node.Content); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		child := &value{path: strings.TrimPrefix(v.path+"."+key.Value, "."), name: key.Value, node: node, limits: map[string]any{}}
		if err := child.readComment(key.HeadComment); err != nil {
			return fmt.Errorf("values.yaml: %s: %w", child.path, err)
		}
		if child.typ == "" && child.ref == "" || child.typ == "open object" {
			if err := child.readChildren(); err != nil {
				return err
			}
		}
		v.children = append(v.children, child)
	}
	return nil
}

// readComment splits a comment into text and the lines that begin with @.
func (v *value) readComment(comment string) error {
	var doc []string
	if at := strings.LastIndex(comment, "\n\n"); at >= 0 { // a comment of the file, or of the part
		comment = comment[at+2:]
	}
	for line := range strings.SplitSeq(comment, "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		directive, isDirective := strings.CutPrefix(line, "@")
		if !isDirective {
			doc = append(doc, line)
			continue
		}
		name, rest, _ := strings.Cut(directive, " ")
		switch name {
		case "type":
			v.typ = rest
		case "ref":
			v.ref = rest
		case "enum":
			for word := range strings.FieldsSeq(rest) {
				v.enum = append(v.enum, scalar(word))
			}
		case "min", "max":
			n, err := strconv.Atoi(rest)
			if err != nil {
				return err
			}
			v.limits[map[string]string{"min": "minimum", "max": "maximum"}[name]] = n
		case "pattern":
			v.limits["pattern"] = rest
		default:
			return fmt.Errorf("unknown directive @%s", name)
		}
	}
	v.doc = strings.TrimSpace(strings.Join(doc, " "))
	return nil
}

func scalar(word string) any {
	switch word {
	case `""`:
		return ""
	case "true":
		return true
	case "false":
		return false
	}
	return word
}

// each calls f for every value, sections too.
func (v *value) each(f func(*value)) {
	for _, child := range v.children {
		f(child)
		child.each(f)
	}
}

// Every value says what it is, in a sentence.
func TestEveryValueIsDocumented(t *testing.T) {
	readValues(t).each(func(v *value) {
		if v.isSection() {
			return
		}
		if len(v.doc) < 3 || !strings.HasSuffix(v.doc, ".") {
			t.Errorf("%s: %q is no description", v.path, v.doc)
		}
		if v.node.Kind != yaml.ScalarNode && v.typ == "" && v.ref == "" && len(v.children) == 0 {
			t.Errorf("%s has no @type", v.path)
		}
	})
}
