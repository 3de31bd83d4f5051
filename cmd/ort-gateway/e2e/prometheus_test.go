package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
	"github.com/ort-gateway/ort-gateway/metrics/promtest"
)

// startRedis starts a Redis that keeps nothing on disk.
func startRedis(t *testing.T, address string) *process {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		proctest.Missing(t, "redis-server is not installed: apt-get install redis-server")
	}
	_, port, _ := net.SplitHostPort(address)
	redis := start(t, "redis", &proctest.Output{}, exec.Command(path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir()))
	waitUntil(t, 20*time.Second, "redis answers", func() bool {
		if !redis.running() {
			t.Fatalf("redis-server ended: %s", tail(redis.out.String(), 5))
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return redis
}

// When Redis stops, the operator is paged by the alert whose runbook says so, and by no other cause.
func TestRedisStopsAndTheRightAlertFires(t *testing.T) {
	address := proctest.FreeAddress(t)
	redis := startRedis(t, address)
	key := make([]byte, 32)
	rand.Read(key)
	st := startStack(t, setup{embedded: true, env: map[string]string{
		"ORT_STORE_URL": "redis://" + address, "ORT_SEALING_KEYS": "k1:" + base64.StdEncoding.EncodeToString(key),
	}})
	rules, err := os.ReadFile("../../../charts/ort-gateway/files/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := promtest.Start(t, promtest.Config{
		Job: "gw", Targets: []string{strings.TrimPrefix(st.admin, "http://")},
		Rules: regexp.MustCompile(`(?m)^( +for:) .*$`).ReplaceAllString(string(rules), "$1 1s"),
	})
	a := st.app("app-one", nil)
	a.login(t)
	a.works(t)
	const series = `ort_gateway_exchanges_total{result="ok"} == 1 and on () ort_gateway_sessions_active == 1 and on () ort_gateway_config_info{store="redis"}`
	p.Until(t, "the exchange was scraped", func() bool {
		samples, err := p.Query(series)
		return err == nil && len(samples) == 1
	})
	if names := firing(t, p); len(names) > 0 {
		t.Errorf("%v fire although nothing is wrong", names)
	}

	redis.kill()
	for range 12 {
		got, err := a.exchange()
		if err != nil || got.status != http.StatusServiceUnavailable {
			t.Fatalf("an exchange without Redis: %v, %v, want 503", got, err)
		}
	}
	p.UntilFiring(t, "OrtGatewayStoreFailing")
	for _, name := range firing(t, p) {
		if !slices.Contains([]string{"OrtGatewayStoreFailing", "OrtGatewayExchangeBudgetFast", "OrtGatewayExchangeBudgetSlow"}, name) {
			t.Errorf("%s fires: the store is away, nothing else", name)
		}
	}
}

// firing are the names of the alerts that fire now.
func firing(t *testing.T, p *promtest.Server) (names []string) {
	t.Helper()
	rules, err := p.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.State == "firing" {
			names = append(names, r.Name)
		}
	}
	return names
}
