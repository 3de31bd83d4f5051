package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// TestKeycloak runs the gateway before a real Keycloak, installed by .ci/keycloak. There is one server for all subtests,
// whose hostname is one public origin: the gateways listen there one after another.
func TestKeycloak(t *testing.T) {
	kc := startKeycloak(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *keycloak)
	}{
		{"discovery", keycloakDiscovery},
		{"login, exchanges and revocation", keycloakLogin},
		{"ways to ask", keycloakWays},
		{"confidential client", keycloakConfidential},
		{"silent login", keycloakSilent},
		{"without an ORT", keycloakWithoutORT},
		{"policy", keycloakPolicy},
		{"device", keycloakDevice},
		{"the smaller limit is told", keycloakLimits},
		{"disabled user", keycloakDisabledUser},
		{"another user", keycloakAnotherUser},
		{"CORS", keycloakCORS},
		{"spellings", keycloakSpellings},
		{"DPoP at Keycloak", keycloakDPoP},
		{"DPoP demanded but ended at the gateway", keycloakDPoPEnded},
		{"lost transactions", keycloakLostTransactions},
		{"pushed-out and expired transactions", keycloakPushedOut},
		{"foreign codes", keycloakForeignCodes},
		{"one challenge, several codes", keycloakSameChallenge},
		{"restarted login", keycloakRestartedLogin},
		{"code sent twice", keycloakCodeTwice},
		{"lost answers", keycloakLostAnswers},
		{"rotation", keycloakRotation},
		{"rotation and lost answers", keycloakRotationLost},
		{"client left", keycloakClientLeft},
		{"back-channel calls reach the public origin", keycloakBackChannel},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, kc) })
	}
}

// keycloak is a running server.
type keycloak struct {
	scheme string // of the origin that it takes for its own
	public string // and its host and port
	url    string // where it listens
	out    *proctest.Output
	done   chan struct{}

	cert, key string // files of its origin's certificate, with https
	roots     *x509.CertPool
}

// keycloakDir finds the installation that .ci/keycloak made of the present realm files.
func keycloakDir(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile("../../../.ci/keycloak")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^version=(\S+)$`).FindSubmatch(script)
	if version == nil {
		t.Fatal(".ci/keycloak names no version")
	}
	dir := os.Getenv("E2E_KEYCLOAK")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			proctest.Missing(t, "Keycloak is not installed: no E2E_KEYCLOAK and %v", err)
		}
		dir = filepath.Join(cache, "ort-gateway", "keycloak-"+string(version[1]))
	}
	realms, err := filepath.Glob("testdata/keycloak/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range realms {
		realm, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		script = append(script, realm...)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "clean.sum"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		proctest.Missing(t, "Keycloak is not installed in %s: .ci/keycloak installs it", dir)
	case err != nil:
		t.Fatal(err)
	case !strings.HasPrefix(string(sum), fmt.Sprintf("%x ", sha256.Sum256(script))):
		proctest.Missing(t, "Keycloak in %s has other realms: .ci/keycloak imports them", dir)
	}
	return dir
}

// keycloakRun starts a server that never outlives the tests: it is told to end when the pipe at descriptor 3 closes,
// however they end. It is a process group, since kc.sh starts java as a child.
const keycloakRun = `{ cat >/dev/null; kill -TERM 0; } <&3 >/dev/null 2>&1 & exec "$@" </dev/null 3<&-`

// startKeycloak starts a server with the realms as they were imported, and ends it with the test.
func startKeycloak(t *testing.T) *keycloak {
	t.Helper()
	return startKeycloakBehind(t, "http")
}

// startKeycloakBehind starts one whose public origin has that scheme.
func startKeycloakBehind(t *testing.T, scheme string) *keycloak {
	t.Helper()
	dir, data := keycloakDir(t), t.TempDir()
	database, err := os.ReadFile(filepath.Join(dir, "clean.mv.db"))
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "keycloakdb.mv.db"), database, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	private, management := proctest.FreeAddress(t), proctest.FreeAddress(t)
	kc := &keycloak{scheme: scheme, public: proctest.FreeAddress(t), url: "http://" + private, out: &proctest.Output{}, done: make(chan struct{})}
	_, httpPort, _ := strings.Cut(private, ":")
	_, managementPort, _ := strings.Cut(management, ":")
	cmd := exec.Command("sh", "-c", keycloakRun, "sh", filepath.Join(dir, "bin", "kc.sh"), "start", "--optimized", "--cache=local",
		"--http-enabled=true", "--http-host=127.0.0.1", "--http-port="+httpPort, "--http-management-port="+managementPort,
		"--hostname="+scheme+"://"+kc.public, "--proxy-headers=xforwarded",
		"--db-url=jdbc:h2:file:"+filepath.Join(data, "keycloakdb")+";NON_KEYWORDS=VALUE;DB_CLOSE_ON_EXIT=FALSE")
	if scheme == "https" { // back-channel calls verify it
		kc.cert, kc.key, kc.roots = selfSigned(t, data)
		cmd.Args = append(cmd.Args, "--truststore-paths="+kc.cert)
	}
	cmd.Env = append(os.Environ(), "JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = kc.out, kc.out
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{r}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting Keycloak: %v", err)
	}
	r.Close()
	go func() {
		_ = cmd.Wait()
		close(kc.done)
	}()
	t.Cleanup(func() {
		w.Close()
		select {
		case <-kc.done:
		case <-time.After(20 * time.Second):
			t.Error("Keycloak still runs 20 s after SIGTERM")
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-kc.done
		}
		keepLog(t, "keycloak", kc.out)
	})
	for deadline := began.Add(3 * time.Minute); !kc.ready(); time.Sleep(100 * time.Millisecond) {
		select {
		case <-kc.done:
			t.Fatalf("Keycloak ended while starting:\n%s", tail(kc.out.String(), 30))
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("Keycloak is not ready after 3 min:\n%s", tail(kc.out.String(), 30))
		}
	}
	t.Logf("Keycloak was ready after %v", time.Since(began).Round(100*time.Millisecond))
	return kc
}

func (kc *keycloak) ready() bool {
	resp, err := http.Get(kc.url + "/realms/ort/.well-known/openid-configuration")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// admin calls the server's admin API, past the gateway; in and out are JSON and may be nil.
func (kc *keycloak) admin(t *testing.T, method, path string, in, out any) {
	t.Helper()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	form := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {"admin"}}
	kc.do(t, http.MethodPost, "/realms/master/protocol/openid-connect/token", "application/x-www-form-urlencoded", "", []byte(form.Encode()), &token)
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			t.Fatal(err)
		}
	}
	kc.do(t, method, "/admin/realms/"+path, "application/json", token.AccessToken, body, out)
}

func (kc *keycloak) do(t *testing.T, method, path, kind, token string, body []byte, out any) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, kc.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text := readAll(resp.Body)
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s", method, path, resp.Status, text)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

// user returns the id of a user.
func (kc *keycloak) user(t *testing.T, realm, name string) string {
	t.Helper()
	var users []struct {
		ID string `json:"id"`
	}
	kc.admin(t, http.MethodGet, realm+"/users?exact=true&username="+name, nil, &users)
	if len(users) != 1 {
		t.Fatalf("%d users are called %s", len(users), name)
	}
	return users[0].ID
}

// keycloakStack is a gateway before the server, with a recorder between both.
type keycloakStack struct {
	*stack
	kc  *keycloak
	rec *recorder
}

// stack starts a gateway before the realm "ort", and checks at the end of the test what every stack is checked for.
func (kc *keycloak) stack(t *testing.T, env map[string]string) *keycloakStack {
	t.Helper()
	return kc.realmStack(t, "ort", env)
}

func (kc *keycloak) realmStack(t *testing.T, realm string, env map[string]string) *keycloakStack {
	t.Helper()
	admin := proctest.FreeAddress(t)
	st := &keycloakStack{kc: kc, stack: &stack{
		t: t, out: &proctest.Output{}, origin: kc.scheme + "://" + kc.public, admin: "http://" + admin, dir: t.TempDir(),
		http: http.DefaultTransport.(*http.Transport).Clone(),
	}}
	st.http.MaxIdleConnsPerHost = 100
	st.rec = startRecorder(t, kc.url, st.stack)
	st.issuer, st.upstream = st.origin+"/realms/"+realm, st.rec.URL
	for _, id := range []string{"spa", "spa-dpop", "consent"} {
		st.clients = append(st.clients, clientMetadata{ID: id, RedirectURIs: []string{"http://one.localhost:3001/callback"}})
	}
	st.clients = append(st.clients, clientMetadata{ID: "spa2", RedirectURIs: []string{"http://two.localhost:3002/callback"}},
		clientMetadata{ID: "web", Secret: webSecret, RedirectURIs: []string{"http://web.localhost:3003/callback"}})
	st.env = map[string]string{
		"ORT_ISSUER": st.issuer, "ORT_UPSTREAM_URL": st.upstream, "ORT_LISTEN_ADDR": kc.public, "ORT_ADMIN_ADDR": admin,
		"ORT_STORE_URL": "bolt:" + st.database(), "ORT_LOG_LEVEL": "debug", "ORT_CONFIDENTIAL_CLIENTS": "web",
	}
	if kc.scheme == "https" {
		st.env["ORT_TLS_CERT_FILE"], st.env["ORT_TLS_KEY_FILE"] = kc.cert, kc.key
		st.http.TLSClientConfig = &tls.Config{RootCAs: kc.roots}
		st.http.ForceAttemptHTTP2 = true
	}
	maps.Copy(st.env, env)
	st.secret(webSecret, "alice-pass", "bob-pass")
	t.Cleanup(func() { keepLog(t, "gateway", st.out) })
	st.startGateway()
	if st.env["ORT_DPOP_AUTHORITY"] == "upstream" || st.env["ORT_DPOP_NONCE"] == "off" {
		time.Sleep(1100 * time.Millisecond) // without nonces no proof from before the start is taken, and iat is in whole seconds
	}
	st.discover()
	t.Cleanup(func() {
		st.http.CloseIdleConnections()
		st.check()
		st.mu.Lock()
		defer st.mu.Unlock()
		st.checkAnswers(st.rec.issued())
	})
	return st
}
