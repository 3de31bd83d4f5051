package promtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// Config says what a Server scrapes and how.
type Config struct {
	Job     string   // of the targets
	Targets []string // host:port, scraped at /metrics
	Rules   string   // text of a rules file; empty: none
	Native  bool     // scrape native histograms, in place of classic ones
}

// Interval is the time between two scrapes, and between two evaluations.
const Interval = 500 * time.Millisecond

// patience bounds every wait.
const patience = 60 * time.Second

// Server is a running Prometheus.
type Server struct{ url string }

// Start runs Prometheus until the test ends, and comes back when it has scraped
// every target.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		proctest.Missing(t, "Prometheus is not installed: apt-get install prometheus")
	}
	dir := t.TempDir()
	address := proctest.FreeAddress(t)
	features := "exemplar-storage"
	if c.Native {
		features += ",native-histograms"
	}
	var out proctest.Output
	cmd := exec.Command(path, "--config.file="+configure(t, dir, c), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--enable-feature="+features, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting Prometheus: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("Prometheus says:\n%s", out.String())
		}
	})
	s := &Server{"http://" + address}
	s.Until(t, "every target is scraped", func() bool {
		select {
		case <-done:
			t.Fatalf("Prometheus has ended:\n%s", out.String())
		default:
		}
		samples, err := s.Query(fmt.Sprintf("sum(up{job=%q})", c.Job))
		return err == nil && len(samples) == 1 && samples[0].Value == float64(len(c.Targets))
	})
	return s
}

// configure writes the configuration; JSON is YAML.
func configure(t testing.TB, dir string, c Config) string {
	t.Helper()
	interval := fmt.Sprintf("%dms", Interval.Milliseconds())
	config := map[string]any{
		"global": map[string]any{"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
		"scrape_configs": []any{map[string]any{
			"job_name": c.Job, "static_configs": []any{map[string]any{"targets": c.Targets}},
		}},
	}
	if c.Rules != "" {
		config["rule_files"] = []string{"rules.yaml"}
		write(t, filepath.Join(dir, "rules.yaml"), []byte(c.Rules))
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "prometheus.yaml")
	write(t, path, text)
	return path
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Until waits until something is so, and fails the test where it does not come.
func (s *Server) Until(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %v it is not so that %s", patience, what)
		}
	}
}

// get asks Prometheus' API, and reads the data of its answer.
func (s *Server) get(path string, query url.Values, data any) error {
	res, err := http.Get(s.url + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(answer.Error))
	}
	return nil
}
