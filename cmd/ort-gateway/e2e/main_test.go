package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	// The binary is built of it: go test must not show a former result where it has changed.
	_ "github.com/ort-gateway/ort-gateway/cmd/ort-gateway/app"
	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// workDir holds the binary and everything the processes write. It is removed when the tests are through.
var workDir string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ort-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	workDir = dir
	// Tests that run side by side wait for browsers and deadlines more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "7"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// gatewayBinary builds the gateway once.
func gatewayBinary(t *testing.T) string { return built(t, buildGateway) }

// plainBinary is the gateway without the race detector, also where the tests run with it.
func plainBinary(t *testing.T) string {
	if raceFlag == "" {
		return gatewayBinary(t)
	}
	return built(t, buildPlain)
}

func built(t *testing.T, build func() (string, error)) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	buildGateway = sync.OnceValues(func() (string, error) { return build("ort-gateway", raceFlag) })
	buildPlain   = sync.OnceValues(func() (string, error) { return build("ort-gateway-plain", "") })
)

func build(name, flag string) (string, error) {
	if path := os.Getenv("E2E_GATEWAY"); path != "" {
		return path, nil
	}
	path := filepath.Join(workDir, name)
	args := []string{"build", "-o", path}
	if flag != "" {
		args = append(args, flag)
	}
	out, err := exec.Command("go", append(args, "github.com/ort-gateway/ort-gateway/cmd/ort-gateway")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the gateway: %w\n%s", err, out)
	}
	return path, nil
}

// nodeProgram finds node and the installed modules.
func nodeProgram(t *testing.T) string {
	t.Helper()
	name := os.Getenv("E2E_NODE")
	if name == "" {
		name = "node"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		proctest.Missing(t, "node is not installed: %v", err)
	}
	for _, dir := range []string{"node", "node/spa"} { // read, so that go test notices their changes
		if _, err := os.ReadDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat("node/node_modules/oidc-provider/package.json"); errors.Is(err, os.ErrNotExist) {
		proctest.Missing(t, "node modules are not installed: npm ci --ignore-scripts --prefix cmd/ort-gateway/e2e/node")
	}
	return path
}

// chromiumProgram finds the browser.
func chromiumProgram(t *testing.T) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	if name := os.Getenv("E2E_CHROMIUM"); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	proctest.Missing(t, "no browser is installed (looked for %v)", names)
	return ""
}
