package chart

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The pod of the README that carries sessions from bolt to Redis is restricted, and its steps do what they say, with a store that
// the gateway made and a real Redis.
func TestMoveOfTheREADME(t *testing.T) {
	_, text, _ := strings.Cut(readme(t), "<!-- move -->\n```yaml\n")
	text, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("README.md has no move")
	}
	var pod core.Pod
	decodeAs(t, "move", text, &pod)
	judge(t, "move", &core.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec})
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	files, data := secretFiles(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "store-url", "store-url"), []byte(realRedis(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	export := pod.Spec.InitContainers[0]
	local := strings.NewReplacer("/run/ort/sealing-keys", files+"/sealing-keys/sealing-keys", "/run/ort/store-url", files+"/store-url/store-url", "/data", data, "/moved", data)
	for i := range export.Env {
		export.Env[i].Value = local.Replace(export.Env[i].Value)
	}
	serving := export
	serving.StartupProbe = &core.Probe{ProbeHandler: core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Path: "/livez"}}}
	serving.Env = append(slices.Clone(export.Env), core.EnvVar{Name: "ORT_LISTEN_ADDR"}, core.EnvVar{Name: "ORT_ADMIN_ADDR"})
	startWith(t, path, files, serving)
	for _, c := range []core.Container{export, pod.Spec.Containers[0]} {
		cmd := exec.Command(path)
		for _, argument := range c.Args {
			cmd.Args = append(cmd.Args, local.Replace(argument))
		}
		for _, variable := range c.Env {
			cmd.Env = append(cmd.Env, variable.Name+"="+local.Replace(variable.Value))
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c.Name, err, out)
		}
	}
}

// realRedis starts an empty Redis and gives its URL.
func realRedis(t *testing.T) string {
	t.Helper()
	server, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("redis-server is not installed: apt-get install redis-server")
	}
	address := freeAddress(t)
	host, port, _ := strings.Cut(address, ":")
	cmd := exec.Command(server, "--bind", host, "--port", port, "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return "redis://" + address + "/0"
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// What the README leads to is there.
func TestREADMELinks(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(readme(t), -1)
	for _, link := range links {
		if strings.Contains(link[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(chartDir, link[1])); err != nil {
			t.Error(err)
		}
	}
	if len(links) < 8 {
		t.Errorf("%d links", len(links))
	}
}
