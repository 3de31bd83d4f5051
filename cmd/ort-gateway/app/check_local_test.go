package app

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/sessions/boltstore"
)

func TestCheckStore(t *testing.T) {
	for _, row := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    []string
	}{
		{"new", func(*testing.T, string) {}, []string{"ok   store: PATH is not there yet", "ok   sealing keys: none yet"}},
		{"there", func(t *testing.T, path string) {
			heldStore(t, path)()
			if _, err := seal.LoadOrCreate(path + ".key"); err != nil {
				t.Fatal(err)
			}
		}, []string{"ok   store: PATH opens, 0 sessions", "ok   sealing keys: 1 in PATH.key"}},
		{"in use", func(t *testing.T, path string) { t.Cleanup(heldStore(t, path)) }, []string{"skip store: PATH is open in another process"}},
		{"key lost", func(t *testing.T, path string) { heldStore(t, path)() }, []string{"fail sealing keys: the store is there, but not its key PATH.key"}},
		{"key open to all", func(t *testing.T, path string) { writeFile(t, path+".key", seal.NewKey(), 0o644) }, []string{"fail sealing keys: … open to every user"}},
		{"no store", func(t *testing.T, path string) { writeFile(t, path, strings.Repeat("no store", 2000), 0o600) }, []string{"fail store: … no session store, or damaged"}},
		{"empty", func(t *testing.T, path string) { writeFile(t, path, "", 0o600) }, []string{"ok   store: PATH is empty"}},
		{"no directory", func(t *testing.T, path string) { _ = os.RemoveAll(filepath.Dir(path)) }, []string{"fail store: nothing can be written in"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sub", "store.db")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			row.prepare(t, path)
			before := files(path)
			c := newChecker(&Settings{StorePath: path, MaxTransactions: 10})
			c.checkKeys()
			c.checkStoreFile()
			var b bytes.Buffer
			_ = c.report.write(&b, false, 1)
			for _, want := range row.want {
				if !hasLine(strings.ReplaceAll(b.String(), path, "PATH"), want) {
					t.Errorf("no line %q in\n%s", want, &b)
				}
			}
			if after := files(path); after != before {
				t.Errorf("the directory had %s, has %s", before, after)
			}
		})
	}
}

func files(path string) string {
	entries, _ := os.ReadDir(filepath.Dir(path))
	return fmt.Sprint(entries)
}

func writeFile(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func heldStore(t *testing.T, path string) (closed func()) {
	t.Helper()
	s, err := boltstore.Open(boltstore.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckListener(t *testing.T) {
	pair := newTestPair(t, "localhost")
	for _, row := range []struct{ name, issuer, cert, want string }{
		{"other name", "https://login.test", pair.certFile, "fail TLS: the certificate is not for login.test but for localhost"},
		{"soon over", "https://localhost", pair.certFile, "warn TLS: the certificate ends on"},
		{"over", "https://localhost", newTestPairUntil(t, "ended", time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)).certFile, "fail TLS: the certificate ended on 2025-03-04"},
		{"http issuer", "http://localhost", pair.certFile, "fail TLS: the gateway serves TLS, but ORT_ISSUER begins with http://"},
		{"elsewhere", "https://login.test", "", "skip TLS: ORT_TLS_CERT_FILE is not set"},
	} {
		t.Run(row.name, func(t *testing.T) {
			public, _ := url.Parse(row.issuer)
			c := newChecker(&Settings{PublicOrigin: public, TLSCertFile: row.cert})
			c.checkListener()
			var b bytes.Buffer
			_ = c.report.write(&b, false, 1)
			if !hasLine(b.String(), row.want) {
				t.Errorf("no line %q in\n%s", row.want, &b)
			}
		})
	}
}

// The way to the upstream: each fault with the setting that mends it.
func TestCheckUpstreamConnection(t *testing.T) {
	plain := httptest.NewServer(newCheckUpstream())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(newCheckUpstream())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, "-----BEGIN CERTIFICATE-----\n"+base64.StdEncoding.EncodeToString(secure.Certificate().Raw)+"\n-----END CERTIFICATE-----\n", 0o600)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	for _, row := range []struct {
		name, upstream, ca, want string
		timeout                  time.Duration
	}{
		{"nobody there", "http://" + proctest.FreeAddress(t), "", "fail upstream: … does not answer: connection refused; change: ORT_UPSTREAM_URL", 0},
		{"plain HTTP", strings.Replace(plain.URL, "http", "https", 1), "", "fail upstream: … it speaks plain HTTP there; change: ORT_UPSTREAM_URL: begin it with http://", 0},
		{"unknown authority", secure.URL, "", "fail upstream: … comes from nobody who is trusted here; change: ORT_UPSTREAM_CA_FILE", 0},
		{"another name", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), ca, "fail upstream: … not for the host in ORT_UPSTREAM_URL", 0},
		{"trusted", secure.URL, ca, "ok   upstream: … TLS 1.3, certificate good until", 0},
		{"silent", silent.URL, "", "fail upstream: … no answer came in time", 50 * time.Millisecond},
		{"TLS where plain was asked", strings.Replace(secure.URL, "https", "http", 1), "", "fail discovery: … answers 400", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings, _, err := Load([]string{"ORT_ISSUER=" + checkIssuer, "ORT_UPSTREAM_URL=" + row.upstream, "ORT_UPSTREAM_CA_FILE=" + row.ca,
				"ORT_STORE_URL=bolt:" + filepath.Join(t.TempDir(), "store.db")}, checkSealingKeys)
			if err != nil {
				t.Fatal(err)
			}
			c := newChecker(settings)
			if row.timeout > 0 {
				c.timeout = row.timeout
			}
			c.public = roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no way") })
			c.run(t.Context(), nil)
			var b bytes.Buffer
			_ = c.report.write(&b, false, 1)
			if !hasLine(b.String(), row.want) {
				t.Errorf("no line %q in\n%s", row.want, &b)
			}
		})
	}
}
