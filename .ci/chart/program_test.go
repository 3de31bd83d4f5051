package chart

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

// program builds the gateway once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ort-chart-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "ort-gateway")
	out, err := exec.Command("go", "build", "-C", "../..", "-o", path, "./cmd/ort-gateway").CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return path, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// secretFiles writes what the Secrets of a cluster would hold, as the chart mounts it.
func secretFiles(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "id.example.com"}, DNSNames: []string{"id.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"store-url/store-url":       "redis://127.0.0.1:1/0",
		"sealing-keys/sealing-keys": "k1:" + base64.StdEncoding.EncodeToString(sealing),
		"admin-token/admin-token":   "0123456789abcdef0123456789abcdef",
		"tls/tls.crt":               string(certificate),
		"tls/tls.key":               string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"upstream-ca/ca.crt":        string(certificate),
		"store-ca/ca.crt":           string(certificate),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// gatewaysOf gives the containers that serve, of what is installed and of the recipes.
func gatewaysOf(t *testing.T, s scenario) []core.Container {
	t.Helper()
	var all []core.Container
	for _, object := range objects(t, s) {
		if pod := podOf(object); pod != nil && pod.Spec.Containers[0].Name == "ort-gateway" {
			all = append(all, pod.Spec.Containers[0])
		}
	}
	if recipes[s.name] != "" {
		for _, kube := range kubeVersions {
			gateway, _ := sidecarIn(podWith(t, s, kube))
			all = append(all, *gateway)
		}
	}
	return all
}

// TestProgramTakesWhatIsRendered: the program itself starts with the environment and the files of each container, without a
// warning, is alive, and ends with 0. The IdP and Redis are not there: neither is needed for that.
func TestProgramTakesWhatIsRendered(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	files, tried := secretFiles(t), 0
	for _, s := range scenarios(t) {
		for _, container := range gatewaysOf(t, s) {
			tried++
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				startWith(t, path, files, container)
			})
		}
	}
	if tried < 15 {
		t.Errorf("%d containers", tried)
	}
}

func startWith(t *testing.T, path, files string, container core.Container) {
	t.Helper()
	serve(t, path, files, container).stop(t)
}

// served is the program at work with the environment of a container.
type served struct {
	cmd         *exec.Cmd
	ended       chan error
	out         *bytes.Buffer // to be read once it ended
	admin, data string
}

// local gives an environment of a container on this machine: data stands for /data.
func local(variables []core.EnvVar, files, data string, own map[string]string) (env []string) {
	for _, variable := range variables {
		value := strings.NewReplacer("/run/ort", files, "bolt:/data", "bolt:"+data).Replace(variable.Value)
		if instead, ok := own[variable.Name]; ok {
			value = instead
		}
		env = append(env, variable.Name+"="+value)
	}
	return env
}

func serve(t *testing.T, path, files string, container core.Container) *served {
	t.Helper()
	s := &served{cmd: exec.Command(path), ended: make(chan error, 1), out: &bytes.Buffer{}, admin: freeAddress(t), data: t.TempDir()}
	s.cmd.Env = local(container.Env, files, s.data, map[string]string{
		"ORT_LISTEN_ADDR": freeAddress(t), "ORT_ADMIN_ADDR": s.admin, "ORT_SHUTDOWN_DELAY": "1ms", // how long it is, other tests look at
	})
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		s.ended <- s.cmd.Wait()
		close(over)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-over
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		select {
		case err := <-s.ended:
			t.Fatalf("ended at its start: %v\n%s", err, s.out.String())
		case <-time.After(10 * time.Millisecond):
		}
		resp, err := http.Get("http://" + s.admin + container.StartupProbe.HTTPGet.Path)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not alive: %v", err)
		}
	}
}

// stop ends it as the kubelet does: with 0, and without a warning before.
func (s *served) stop(t *testing.T) {
	t.Helper()
	_ = s.cmd.Process.Signal(os.Interrupt)
	if err := <-s.ended; err != nil {
		t.Errorf("ending: %v\n%s", err, s.out.String())
	}
	if strings.Contains(s.out.String(), `"warning"`) {
		t.Errorf("warned:\n%s", s.out.String())
	}
}

// freeAddress gives a port below those that the system takes for outgoing connections: who asks such a one again and again before
// anybody listens may end up connected to himself, and then the port is taken.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+mathrand.IntN(20000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}
