package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var chart = filepath.Join(root, "charts", "ort-gateway")

// chartPatterns say in a regular expression what the types of environment take, item by item for lists. What needs more than
// an expression (one origin for all issuers, each item once) the program says at its start.
var chartPatterns = map[reflect.Type]string{
	reflect.TypeFor[issuerList]():  `https?://[^\s?#"<>\\^{|}` + "`" + `@,]+`,
	reflect.TypeFor[upstreamURL](): `https?://[^\s/?#"<>\\^{|}` + "`" + `@]+/?`,
	reflect.TypeFor[listenAddr]():  `[^\s]*:[0-9]{1,5}`,
	reflect.TypeFor[duration]():    `([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+`,
	reflect.TypeFor[pause]():       `0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+`,
	reflect.TypeFor[plainNames]():  `[^\x00-\x1f\x7f,*][^\x00-\x1f\x7f,]*`,
	reflect.TypeFor[names]():       `[^\x00-\x1f\x7f,]+`,
	reflect.TypeFor[scope]():       `[\x21\x23-\x5b\x5d-\x7e ]*`,
	reflect.TypeFor[cookieNames](): "[!#$%&'*+.^_`|~0-9A-Za-z-]+",
	reflect.TypeFor[algorithms]():  strings.Join(knownAlgorithms, "|"),
	reflect.TypeFor[prefixes]():    `private|[0-9A-Fa-f:.]+(/[0-9]{1,3})?`,
	reflect.TypeFor[origins]():     `[a-z][a-z0-9+.-]*://[^\s/?#"<>\\^{|}` + "`" + `@,]+`,
	reflect.TypeFor[upstreamEnd](): "auto|logout|revoke|none",
	reflect.TypeFor[authority]():   "gateway|upstream",
	reflect.TypeFor[nonceMode]():   "required|off",
	reflect.TypeFor[auth0Target](): "audience|resource",
	reflect.TypeFor[logFormat]():   "json|text",
	reflect.TypeFor[logLevel]():    "debug|info|warn|error",
	reflect.TypeFor[string]():      `/.*`, // paths
}

// settingSchema gives the JSON schema of one variable: text, and where YAML has a form of its own, that too.
func settingSchema(field reflect.Type, text string) (map[string]any, error) {
	schema := map[string]any{"description": text}
	switch field {
	case reflect.TypeFor[boolean]():
		schema["enum"] = []any{true, false, "true", "false"}
		return schema, nil
	case reflect.TypeFor[count]():
		schema["type"], schema["minimum"], schema["maximum"] = "integer", 1, 1<<31-1
		return schema, nil
	}
	pattern, known := chartPatterns[field]
	if !known {
		return nil, fmt.Errorf("no pattern for type %s: give chartPatterns one", field)
	}
	if field.Kind() != reflect.Slice {
		schema["type"], schema["pattern"] = "string", "^("+pattern+")$"
		return schema, nil
	}
	schema["oneOf"] = []any{
		map[string]any{"type": "string", "pattern": `^\s*(` + pattern + `)\s*(,\s*(` + pattern + `)\s*)*$`},
		map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"type": "string", "pattern": "^(" + pattern + ")$"}},
	}
	return schema, nil
}

// chartSettings are the variables that the chart takes under `settings`: all but those with a _FILE, which come from Secrets.
func chartSettings(t *testing.T) map[string]any {
	t.Helper()
	defaults, err := defaultValues()
	if err != nil {
		t.Fatal(err)
	}
	properties := map[string]any{}
	environment := reflect.TypeFor[environment]()
	for i := range environment.NumField() {
		name := variableOfField(environment.Field(i).Name)
		at := slices.IndexFunc(variables, func(v variable) bool { return v.name == name })
		if at < 0 || variables[at].hasFile() {
			continue // the _FILE itself, or what has one
		}
		text := strings.ReplaceAll(variables[at].meaning, "{default}", defaults[name])
		if properties[name], err = settingSchema(environment.Field(i).Type, text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
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

// TestChartSchemaHasTheSettings: the chart refuses a setting that is misspelt or of a wrong form, by the table that the
// program itself has. UPDATE=1 writes that part of the schema.
func TestChartSchemaHasTheSettings(t *testing.T) {
	path := filepath.Join(chart, "values.schema.json")
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	schema := map[string]any{}
	if len(old) > 0 {
		d := json.NewDecoder(bytes.NewReader(old))
		d.UseNumber()
		if err := d.Decode(&schema); err != nil {
			t.Fatal(err)
		}
	}
	definitions, _ := schema["definitions"].(map[string]any)
	if definitions == nil {
		definitions = map[string]any{}
		schema["definitions"] = definitions
	}
	definitions["settings"] = chartSettings(t)
	holdFile(t, path, old, writeJSON(t, schema))
}

// holdFile compares, or writes with UPDATE=1.
func holdFile(t *testing.T, path string, old, want []byte) {
	t.Helper()
	if bytes.Equal(old, want) {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("%s is not what the settings table says; UPDATE=1 go test ./cmd/ort-gateway/app writes it", path)
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// What the program takes the chart takes, and the other way round.
func TestChartSchemaTakesWhatTheProgramTakes(t *testing.T) {
	defaults, err := defaultValues()
	if err != nil {
		t.Fatal(err)
	}
	properties := chartSettings(t)["properties"].(map[string]any)
	for _, v := range variables {
		schema, ok := properties[v.name].(map[string]any)
		if !ok || schema["type"] == "integer" || schema["enum"] != nil {
			continue
		}
		pattern, _ := schema["pattern"].(string)
		if pattern == "" {
			pattern = schema["oneOf"].([]any)[0].(map[string]any)["pattern"].(string)
		}
		re := regexp.MustCompile(pattern)
		for _, good := range []string{v.example, defaults[v.name]} {
			if good != "" && !re.MatchString(good) {
				t.Errorf("%s: %q is not taken", v.name, good)
			}
		}
		if v.name != "ORT_UPSTREAM_SCOPE" && re.MatchString("") {
			t.Errorf("%s: an empty text is taken, which says nothing", v.name)
		}
	}
	bad := map[string][]string{
		"ORT_ISSUER": {"id.example.com", "ftp://id.example.com", "https://id.example.com/?a=b"}, "ORT_UPSTREAM_URL": {"http://idp:8080/auth", "idp:8080"},
		"ORT_LISTEN_ADDR": {"8080", ":http"}, "ORT_SESSION_IDLE_TIMEOUT": {"72", "3d", "-1h"}, "ORT_UPSTREAM_END": {"Revoke", "off"},
		"ORT_DPOP_ALGS": {"ES256,HS256", "ES256 ES384"}, "ORT_CLIENTS": {"*", "a,,b"}, "ORT_TLS_KEY_FILE": {"tls.key"},
		"ORT_CORS_ORIGINS": {"*", "https://app.example.com/"}, "ORT_TRUSTED_PROXIES": {"all", "10.0.0.0/8 10.1.0.0/16"},
	}
	for name, values := range bad {
		schema := properties[name].(map[string]any)
		pattern, _ := schema["pattern"].(string)
		if pattern == "" {
			pattern = schema["oneOf"].([]any)[0].(map[string]any)["pattern"].(string)
		}
		for _, value := range values {
			if regexp.MustCompile(pattern).MatchString(value) {
				t.Errorf("%s: %q is taken", name, value)
			}
		}
	}
}

// The chart's README has the table that `ort-gateway env` prints. UPDATE=1 writes it.
func TestChartREADMEHasTheSettingsTable(t *testing.T) {
	path := filepath.Join(chart, "README.md")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(old), "<!-- settings -->\n")
	_, after, found := strings.Cut(rest, "<!-- /settings -->")
	if !found {
		t.Fatal("the chart's README.md has no settings markers")
	}
	var table strings.Builder
	if err := writeTable(&table); err != nil {
		t.Fatal(err)
	}
	holdFile(t, path, old, []byte(before+"<!-- settings -->\n"+table.String()+"<!-- /settings -->"+after))
}
