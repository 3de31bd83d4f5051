package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ort-gateway": func() { os.Exit(Run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the program as people do.
func TestScripts(t *testing.T) {
	pair := newTestPair(t, "localhost")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("CERT", pair.certFile)
			e.Setenv("KEY", pair.keyFile)
			for _, name := range []string{"PUBLIC", "ADMIN", "UPSTREAM"} {
				e.Setenv(name, proctest.FreeAddress(t))
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// alive ADDR waits until the gateway answers at its admin address.
			"alive": func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(waitAlive(args[0])) },
			// exits CODE PROGRAM ARGS runs a program that must end with that code.
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				var exit *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
					ts.Fatalf("%q: %v, want exit code %s", args[1:], err, args[0])
				}
			},
			// terminate sends SIGTERM to what runs in the background (kill knows INT and KILL alone).
			"terminate": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, cmd := range ts.BackgroundCmds() {
					ts.Check(cmd.Process.Signal(syscall.SIGTERM))
				}
			},
			// occupy ADDR keeps a port taken until the script ends.
			"occupy": func(ts *testscript.TestScript, _ bool, args []string) {
				l, err := net.Listen("tcp", args[0])
				ts.Check(err)
				ts.Defer(func() { l.Close() })
			},
		},
	})
}

func waitAlive(addr string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := http.Get("http://" + addr + "/livez")
		if err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// testPair is a certificate with its key, in files.
type testPair struct {
	certFile, keyFile string
	cert, key         []byte // PEM
}

func newTestPair(t testing.TB, name string) testPair {
	t.Helper()
	return newTestPairUntil(t, name, time.Now().Add(time.Hour))
}

func newTestPairUntil(t testing.TB, name string, until time.Time) testPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: until.Add(-2 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := testPair{
		certFile: filepath.Join(dir, "tls.crt"), keyFile: filepath.Join(dir, "tls.key"),
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	p.write(t, p)
	return p
}

// write puts another pair into the files of this one.
func (p testPair) write(t testing.TB, other testPair) {
	t.Helper()
	for path, content := range map[string][]byte{p.certFile: other.cert, p.keyFile: other.key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
