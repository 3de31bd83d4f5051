package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checkNamesTheSetting makes the settings of a real Keycloak's client, and the gateway's, wrong in turn: check finds
// each, in Keycloak's own words, and is content when it is right again.
func checkNamesTheSetting(t *testing.T, kc *keycloak, st *stack) {
	check := func(env map[string]string) string {
		cmd := exec.Command(gatewayBinary(t), "check")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		settings := maps.Clone(st.env)
		settings["ORT_STORE_URL"], settings["ORT_CLIENTS"] = "bolt:"+filepath.Join(t.TempDir(), "check.db"), "spa"
		delete(settings, "ORT_CONFIDENTIAL_CLIENTS")
		maps.Copy(settings, env)
		for name, value := range settings {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	set := func(name string, value any) func(map[string]any) { return func(c map[string]any) { c[name] = value } }
	attribute := func(name, value string) func(map[string]any) {
		return func(c map[string]any) { c["attributes"].(map[string]any)[name] = value }
	}
	var origins any
	for _, c := range []struct {
		name         string
		wrong, right func(map[string]any)
		env          map[string]string
		want         string
	}{
		{"the client is disabled", set("enabled", false), set("enabled", true), nil, "is \"spa\" there, and Enabled?"},
		{"no standard flow", set("standardFlowEnabled", false), set("standardFlowEnabled", true), nil, "Standard flow on"},
		{"DPoP is demanded", attribute("dpop.bound.access.tokens", "true"), attribute("dpop.bound.access.tokens", "false"), nil, "Require DPoP bound tokens off"},
		{"plain PKCE", attribute("pkce.code.challenge.method", "plain"), attribute("pkce.code.challenge.method", "S256"), nil, "PKCE Method (older"},
		{"a confidential client", set("publicClient", false), set("publicClient", true), nil, "ORT_CONFIDENTIAL_CLIENTS: name it there"},
		{"a public client is taken for confidential", nil, nil, map[string]string{"ORT_CONFIDENTIAL_CLIENTS": "spa"}, "take it out of ORT_CONFIDENTIAL_CLIENTS"},
		{"no web origins", func(c map[string]any) { origins, c["webOrigins"] = c["webOrigins"], []string{} }, func(c map[string]any) { c["webOrigins"] = origins }, nil, "Web origins: the app's origin"},
		{"offline tokens", nil, nil, map[string]string{"ORT_UPSTREAM_SCOPE": "offline_access"}, "leave ORT_UPSTREAM_SCOPE unset"},
		{"another cookie", nil, nil, map[string]string{"ORT_UPSTREAM_LOGIN_COOKIES": "x"}, "change: ORT_UPSTREAM_LOGIN_COOKIES=KEYCLOAK_IDENTITY"},
		{"another realm", nil, nil, map[string]string{"ORT_ISSUER": st.issuer + "x"}, "fail discovery: no discovery document"},
		{"another host name", nil, nil, map[string]string{"ORT_ISSUER": strings.Replace(st.issuer, "127.0.0.1", "localhost", 1)}, "start Keycloak with --hostname=http://localhost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.wrong != nil {
				kc.change(t, "spa", c.wrong)
				defer kc.change(t, "spa", c.right)
			}
			if out := check(c.env); !strings.Contains(out, c.want) {
				t.Errorf("check does not say %q:\n%s", c.want, out)
			}
		})
	}
	if out := check(nil); strings.Contains("\n"+out, "\nfail ") {
		t.Errorf("check finds faults where all is right:\n%s", out)
	}
}
