package e2e

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// guide is a section of README: the settings of the gateway that it names, and its text.
func guide(t *testing.T, title string) (env map[string]string, text string) {
	t.Helper()
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "\n### "+title+"\n")
	if !ok {
		t.Fatalf("README has no guide for %s", title)
	}
	text, _, _ = strings.Cut(rest, "\n### ")
	env = map[string]string{}
	for _, m := range regexp.MustCompile("(?m)[ `](ORT_[A-Z0-9_]+)=([^ `\n]+)").FindAllStringSubmatch(text, -1) {
		env[m[1]] = m[2]
	}
	return env, text
}

// follow starts the gateway with the settings of a guide and no others but where it listens, and the names in the guide
// replaced by those of here. One login is then an ORT, a logout reaches both apps, and check finds nothing to change.
func follow(t *testing.T, st *stack, env map[string]string, one, two string) {
	t.Helper()
	here := strings.NewReplacer("https://id.example.com/realms/myrealm", st.issuer, "https://id.example.com", st.issuer,
		"http://127.0.0.1:8081", st.upstream, "/var/lib/ort/sessions.db", st.database(),
		"its_session", "demo_idp_session")
	settings := map[string]string{"ORT_LISTEN_ADDR": st.env["ORT_LISTEN_ADDR"], "ORT_ADMIN_ADDR": st.env["ORT_ADMIN_ADDR"]}
	for name, value := range env {
		settings[name] = here.Replace(value)
	}
	if err := st.gateway.terminate(requestTimeout); err != nil {
		t.Fatal(err)
	}
	st.env = settings
	st.startGateway()
	a := st.app(one, nil)
	hint := a.login(t).IDToken
	b := st.app(two, a.browser)
	b.login(t)
	a.logout(t, url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {a.bye()}}, true)
	loggedOut(t, a, b)

	cmd := exec.Command(gatewayBinary(t), "check")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range settings {
		if name == "ORT_STORE_URL" { // the gateway has it open
			value = "bolt:" + filepath.Join(t.TempDir(), "check.db")
		}
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	t.Logf("ort-gateway check says\n%s", out)
	if err != nil || strings.Contains(string(out), "\nfail ") || strings.HasPrefix(string(out), "fail ") {
		t.Errorf("check finds faults: %v", err)
	}
}

func TestGuideForOIDCProvider(t *testing.T) {
	env, _ := guide(t, "oidc-provider")
	st := startStack(t, setup{provider: providerConfig{Refresh: "offline_access"}, env: map[string]string{"ORT_UPSTREAM_CONSENT": "true"}})
	for _, name := range []string{"ORT_ISSUER", "ORT_UPSTREAM_URL", "ORT_STORE_URL"} { // "Run it beside a provider"
		env[name] = st.env[name]
	}
	follow(t, st, env, "app-one", "app-two")
}

// Any other provider, here the demo's.
func TestGuideForAnyOther(t *testing.T) {
	env, text := guide(t, "Any other")
	if !strings.Contains(text, "/_ort/backchannel-logout") || env["ORT_UPSTREAM_LOGIN_COOKIES"] == "" {
		t.Fatalf("the guide has %v", env)
	}
	follow(t, startStack(t, setup{embedded: true}), env, "app-one", "app-two")
}

func keycloakGuide(t *testing.T, kc *keycloak) {
	env, text := guide(t, "Keycloak")
	for _, flag := range []string{"--optimized", "--hostname=", "--proxy-headers=xforwarded", "--http-enabled=true", "--http-host=127.0.0.1", "--http-port="} {
		if !strings.Contains(text, flag) { // it is started with these here
			t.Errorf("the guide does not say %s", flag)
		}
	}
	st := kc.stack(t, nil)
	st.makeClientBy(t, text)
	follow(t, st.stack, env, "my-app", "spa2")
}

// makeClientBy makes the client "my-app" by the guide's commands.
func (st *keycloakStack) makeClientBy(t *testing.T, guide string) {
	t.Helper()
	const origin = "http://one.localhost:3001"
	here := strings.NewReplacer("http://127.0.0.1:8081", st.kc.url, "myrealm", "ort", "https://app.example.com", origin, "https://id.example.com", st.origin)
	commands := regexp.MustCompile(`(?m)^    (kcadm\.sh (?:.*\\\n)*.*)$`).FindAllStringSubmatch(guide, -1)
	if len(commands) != 2 {
		t.Fatalf("the guide has %d commands of kcadm.sh", len(commands))
	}
	home := t.TempDir() // where kcadm.sh keeps its login
	for _, c := range commands {
		cmd := exec.Command("sh", "-c", here.Replace(c[1]))
		cmd.Env = append(os.Environ(), "HOME="+home, "KC_OPTS=-Duser.home="+home+" -XX:TieredStopAtLevel=1", "KC_CLI_PASSWORD=admin",
			"PATH="+filepath.Join(keycloakDir(t), "bin")+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c[1], err, out)
		}
	}
	st.clients = append(st.clients, clientMetadata{ID: "my-app", RedirectURIs: []string{origin + "/callback"}})
}
