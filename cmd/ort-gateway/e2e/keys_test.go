package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// README's line puts a new sealing key in front: the running gateway takes it, and tokens of the old one go on.
func TestSealingKeyIsChangedAsREADMESays(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^    (new=\$\(ort-gateway keys\).*)$`).FindSubmatch(readme)
	if line == nil {
		t.Fatal("README has no line that changes the sealing keys")
	}
	file := filepath.Join(t.TempDir(), "keys")
	writeFile(t, file, []byte(keyA+"\n"))
	st := adminStack(t, map[string]string{"ORT_SEALING_KEYS_FILE": file})
	a := st.app("app-one", nil)
	a.login(t)

	cmd := exec.Command("sh", "-c", strings.ReplaceAll(string(line[1]), "/run/secrets/ort-sealing-keys", file))
	bin := t.TempDir()
	if err := os.Symlink(gatewayBinary(t), filepath.Join(bin, "ort-gateway")); err != nil {
		t.Fatal(err)
	}
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	first, _, _ := strings.Cut(string(readFile(t, file)), ",")
	newID, _, _ := strings.Cut(first, ":")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 || newID == "a" {
		t.Errorf("the file begins with key %s, its mode is %v", newID, info.Mode())
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if n, err := st.metric(`ort_gateway_sealing_key_info{id="` + newID + `"}`); err == nil && n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the gateway has not taken the new key after 20 s\n%s", tail(st.out.String(), 10))
		}
	}
	a.works(t)
	st.app("app-two", a.browser).login(t)
	writeFile(t, file, []byte(first)) // the old one is out
	st.restart(nil)
	a.dead(t)
}
