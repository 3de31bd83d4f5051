package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/caarlos0/env/v11"
)

func TestTableAndEnvironmentAreTheSame(t *testing.T) {
	params, err := env.GetFieldParams(&environment{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range params {
		names = append(names, p.Key)
		v := variables[slices.IndexFunc(variables, func(v variable) bool { return p.Key == v.name || p.Key == v.name+"_FILE" && v.hasFile() })]
		if v.meaning == "" || v.example == "" {
			t.Errorf("%s has no meaning or no example", p.Key)
		}
		if required := v.unset == "required"; required != p.Required {
			t.Errorf("%s: required %v in the struct, %v in the table", p.Key, p.Required, required)
		}
	}
	if !slices.Equal(names, variableNames) {
		t.Errorf("struct %q\ntable %q", names, variableNames)
	}
}

// An example that is refused would be a bad joke.
func TestExamplesAreGood(t *testing.T) {
	for _, v := range variables {
		if v.name == "ORT_SEALING_KEYS" || strings.HasSuffix(v.name, "_FILE") {
			continue
		}
		if _, _, err := Load(append([]string{v.name + "=" + v.example}, with()...), checkSealingKeys); err != nil {
			t.Error(err)
		}
	}
}
