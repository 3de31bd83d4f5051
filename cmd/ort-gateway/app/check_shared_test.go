package app

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// startRedis starts a redis-server of its own and returns its address.
func startRedis(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		proctest.Missing(t, "no redis-server: apt-get install redis-server")
	}
	address := proctest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(path, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatal("redis-server does not answer")
		}
	}
}

// TestCheckSharedStore: what a Redis forgets, keeps and refuses is told with what
// to change.
func TestCheckSharedStore(t *testing.T) {
	good := startRedis(t, "--appendonly", "yes")
	forgets := startRedis(t, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
	locked := startRedis(t, "--requirepass", "geheim-4711")
	for _, c := range []struct {
		name, url string
		result    level
		want      []string
	}{
		{"as it should be", "redis://" + good, levelOK, []string{"answers and runs scripts; servers with data: 1; sessions: 0", "maxmemory-policy noeviction", "appendonly yes"}},
		{"too few replicas", "redis://" + good + "?wait_replicas=2", levelFail, []string{"wait_replicas is 2, and 0 replicas"}},
		{"it forgets", "redis://" + forgets, levelFail, []string{"maxmemory-policy is allkeys-lru: Redis forgets logouts", "appendonly is off"}},
		{"no password", "redis://" + locked, levelFail, []string{"asks for a password"}},
		{"a wrong password", "redis://:geheim-4712@" + locked, levelFail, []string{"refuses the user or the password"}},
		{"nobody there", "redis://127.0.0.1:1", levelFail, []string{"asking Redis"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := newChecker(&Settings{StoreURL: NewSecret(c.url)})
			check.checkStore(t.Context())
			text := fmt.Sprintf("%+v", check.report)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not said in %s", want, text)
				}
			}
			if check.report.Result != c.result || strings.Contains(text, "geheim") {
				t.Errorf("result %v, want %v: %s", check.report.Result, c.result, text)
			}
		})
	}
}
