package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// setup says what a stack is made of; its zero value is the usual one.
type setup struct {
	provider providerConfig    // Issuer and Clients are filled in
	origins  [2]string         // of app-one and app-two; made up if empty
	more     [2][]string       // other origins of the same
	suffix   string            // after the origin in the issuer, such as "/"
	env      map[string]string // settings of the gateway beside the usual ones
	tls      bool              // the gateway serves https
	embedded bool              // the upstream is the demo's provider
	plain    bool              // the gateway is built without the race detector, for measurements
}

// stack is an upstream and the gateway before it.
type stack struct {
	t        *testing.T
	origin   string // the public one
	issuer   string
	admin    string
	upstream string
	provider *provider // nil where the upstream is the embedded one
	embedded *embedded
	clients  []clientMetadata
	env      map[string]string
	dir      string
	plain    bool
	out      *proctest.Output
	gateway  *process
	http     *http.Transport
	metadata metadata

	mu      sync.Mutex
	answers []*answer
	secrets []string // must not stand in any output of the gateway
}

// metadata are the discovery document's members that the tests need.
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Introspection string   `json:"introspection_endpoint"`
	EndSession    string   `json:"end_session_endpoint"`
	PAR           string   `json:"pushed_authorization_request_endpoint"`
	Device        string   `json:"device_authorization_endpoint"`
	Session       string   `json:"ort_session_endpoint"`
	Scopes        []string `json:"scopes_supported"`
	Grants        []string `json:"grant_types_supported"`
	DPoPAlgs      []string `json:"dpop_signing_alg_values_supported"`
}

const webSecret = "web-secret-0123456789abcdef-marker"

// usualClients are two SPAs on two origins, and a confidential client.
func usualClients(issuer string, origins [2]string) []clientMetadata {
	spa := func(id, origin string) clientMetadata {
		c := clientMetadata{
			ID: id, AuthMethod: "none",
			GrantTypes:  []string{"authorization_code", "refresh_token"},
			BackChannel: strings.TrimSuffix(issuer, "/") + "/_ort/backchannel-logout", SessionID: true,
		}
		c.add(origin)
		return c
	}
	web := spa("web", "http://web.localhost:3003")
	web.Secret, web.AuthMethod, web.Origins = webSecret, "client_secret_basic", nil
	web.GrantTypes = append(web.GrantTypes, "client_credentials", "urn:ietf:params:oauth:grant-type:device_code")
	return []clientMetadata{spa("app-one", origins[0]), spa("app-two", origins[1]), web}
}

// startStack starts an upstream and the gateway, and checks both at the end of the test.
func startStack(t *testing.T, s setup) *stack {
	t.Helper()
	if s.origins == [2]string{} {
		s.origins = [2]string{"http://one.localhost:3001", "http://two.localhost:3002"}
	}
	public, admin := proctest.FreeAddress(t), proctest.FreeAddress(t)
	scheme := "http"
	if s.tls {
		scheme = "https"
	}
	st := &stack{t: t, out: &proctest.Output{}, plain: s.plain, admin: "http://" + admin, origin: scheme + "://" + public, http: http.DefaultTransport.(*http.Transport).Clone()}
	st.http.MaxIdleConnsPerHost = 100
	st.issuer = st.origin + s.suffix
	st.clients = usualClients(st.issuer, s.origins)
	for i, origins := range s.more {
		for _, o := range origins {
			st.clients[i].add(o)
		}
	}
	st.dir = t.TempDir()
	var cert, key string
	var roots *x509.CertPool // nil: the system's
	if s.tls {
		cert, key, roots = selfSigned(t, st.dir)
	}
	if s.embedded {
		st.embedded = startEmbedded(t, st.issuer, st.clients, roots)
		st.upstream = st.embedded.url
	} else {
		s.provider.Issuer, s.provider.Clients = st.issuer, append(st.clients, s.provider.Clients...)
		if s.provider.Refresh == "" {
			s.provider.Refresh = "always"
		}
		st.provider = startProvider(t, s.provider)
		st.upstream = st.provider.url
	}
	st.env = map[string]string{
		"ORT_ISSUER": st.issuer, "ORT_UPSTREAM_URL": st.upstream, "ORT_LISTEN_ADDR": public, "ORT_ADMIN_ADDR": admin,
		"ORT_STORE_URL": "bolt:" + st.database(), "ORT_LOG_LEVEL": "debug", "ORT_CONFIDENTIAL_CLIENTS": "web",
	}
	if s.tls {
		st.env["ORT_TLS_CERT_FILE"], st.env["ORT_TLS_KEY_FILE"] = cert, key
		st.http.TLSClientConfig = &tls.Config{RootCAs: roots}
		st.http.ForceAttemptHTTP2 = true
	}
	maps.Copy(st.env, s.env)
	st.secrets = append(st.secrets, webSecret, "alice-pass", "bob-pass")
	t.Cleanup(func() { keepLog(t, "gateway", st.out) })
	st.startGateway()
	if st.env["ORT_DPOP_AUTHORITY"] == "upstream" || st.env["ORT_DPOP_NONCE"] == "off" {
		// Without nonces no proof from before the start is taken, and iat is in whole seconds.
		time.Sleep(1100 * time.Millisecond)
	}
	st.discover()
	t.Cleanup(st.check)
	return st
}

// startGateway starts the gateway's process and waits until it is ready.
func (st *stack) startGateway() {
	st.t.Helper()
	binary := gatewayBinary
	if st.plain {
		binary = plainBinary
	}
	cmd := exec.Command(binary(st.t))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=halt_on_error=0 exitcode=66"}
	for _, name := range slices.Sorted(maps.Keys(st.env)) {
		cmd.Env = append(cmd.Env, name+"="+st.env[name])
	}
	st.gateway = start(st.t, "gateway", st.out, cmd)
	deadline := time.Now().Add(20 * time.Second)
	for !st.ready() {
		if !st.gateway.running() {
			st.t.Fatalf("the gateway ended while starting: %v\n%s", st.gateway.err, tail(st.out.String(), 20))
		}
		if time.Now().After(deadline) {
			st.t.Fatalf("the gateway is not ready after 20 s\n%s", tail(st.out.String(), 20))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// restart ends the gateway with SIGTERM, changes settings and starts it again.
func (st *stack) restart(env map[string]string) {
	st.t.Helper()
	if err := st.gateway.terminate(20 * time.Second); err != nil {
		st.t.Fatalf("ending the gateway: %v", err)
	}
	maps.Copy(st.env, env)
	st.startGateway()
}

// database is the embedded store's file.
func (st *stack) database() string {
	return filepath.Join(st.dir, "sessions.db")
}

func (st *stack) ready() bool {
	resp, err := http.Get(st.admin + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (st *stack) discover() {
	st.t.Helper()
	c := &http.Client{Transport: st.http}
	resp, err := c.Get(strings.TrimSuffix(st.issuer, "/") + "/.well-known/openid-configuration")
	if err != nil {
		st.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		st.t.Fatalf("discovery: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&st.metadata); err != nil {
		st.t.Fatalf("discovery: %v", err)
	}
	if st.metadata.Issuer != st.issuer {
		st.t.Fatalf("discovery: issuer %q, want %q", st.metadata.Issuer, st.issuer)
	}
}

// secret remembers values that the gateway must never write out.
func (st *stack) secret(values ...string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, v := range values {
		if v != "" {
			st.secrets = append(st.secrets, v)
		}
	}
}

func (st *stack) record(a *answer) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.answers = append(st.answers, a)
}

// check is what every test ends with; the package's doc lists it.
func (st *stack) check() {
	if st.gateway.running() {
		if err := st.gateway.terminate(20 * time.Second); err != nil {
			st.t.Errorf("ending the gateway: %v", err)
		}
	}
	log := st.out.String()
	if i := strings.Index(log, "DATA RACE"); i >= 0 {
		st.t.Errorf("the gateway has a data race:\n%s", tail(log[i:min(len(log), i+4000)], 60))
	}
	for _, sign := range []string{"panic:", " panicked\""} { // not caught, and caught
		if i := strings.Index(log, sign); i >= 0 {
			st.t.Errorf("the gateway panicked:\n%s", log[i:min(len(log), i+3000)])
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	secrets := st.secrets
	var issued []string
	if st.provider != nil {
		s := st.provider.seen(st.t)
		issued = s.RefreshTokens
		for _, leak := range s.Leaks {
			st.t.Errorf("the upstream saw what is the gateway's own: %s", leak)
		}
		secrets = slices.Concat(secrets, s.RefreshTokens, s.AccessTokens, s.Codes)
	}
	if st.embedded != nil {
		issued = st.embedded.issued()
		secrets = slices.Concat(secrets, issued)
		if s := st.embedded.Stats(); s.TokenReuses > 0 || s.CodeReplays > 0 {
			st.t.Errorf("the upstream saw values twice: %+v", s)
		}
	}
	st.checkAnswers(issued)
	st.checkOutput(log, append(secrets, "alice")) // user names are hashed
	st.checkStore(secrets)
}

// checkAnswers holds every answer against the list of refresh tokens that the upstream issued.
func (st *stack) checkAnswers(refreshTokens []string) {
	for _, a := range st.answers {
		if a.RefreshToken != "" && !strings.HasPrefix(a.RefreshToken, "ORT1.") && !a.offline {
			st.t.Errorf("an answer of %s carries a refresh token that is no ORT", a.what)
		}
		for _, rt := range refreshTokens {
			if !a.offline && strings.Contains(string(a.body), rt) {
				st.t.Errorf("an answer of %s carries the upstream's refresh token: %d %s", a.what, a.status, a.body)
			}
		}
	}
}

// checkOutput searches the gateway's output for secrets, whole or cut short.
func (st *stack) checkOutput(log string, secrets []string) {
	slices.Sort(secrets)
	for _, s := range slices.Compact(secrets) {
		for _, part := range []string{s[:min(len(s), 16)], s[max(0, len(s)-16):]} {
			if strings.HasPrefix(part, "ORT1.") || strings.HasPrefix(part, "eyJ") {
				continue // these beginnings are all alike, and looked for below
			}
			if i := strings.Index(log, part); i >= 0 {
				st.t.Errorf("the gateway's output holds a secret (%q): …%s…", part, around(log, i))
				break
			}
		}
	}
	for _, mark := range []string{"ORT1.", "eyJ"} {
		if i := strings.Index(log, mark); i >= 0 {
			st.t.Errorf("the gateway's output holds a token: …%s…", around(log, i))
		}
	}
}

// checkStore looks for the same secrets in the store: credentials lie sealed in it, all else hashed or not at all.
func (st *stack) checkStore(secrets []string) {
	var data []byte
	if storeURL := st.env["ORT_STORE_URL"]; strings.HasPrefix(storeURL, "redis") {
		data = redisContent(st.t, storeURL)
	} else {
		var err error
		if data, err = os.ReadFile(st.database()); err != nil {
			st.t.Errorf("reading the store: %v", err)
		}
	}
	for _, s := range secrets {
		if len(s) >= 16 && bytes.Contains(data, []byte(s)) {
			st.t.Errorf("the store holds a secret in the clear: %.12s…", s)
		}
	}
}

func around(s string, i int) string {
	return s[max(0, i-200):min(len(s), i+200)]
}

// requestTimeout bounds every request: the gateway never lets one hang.
const requestTimeout = 40 * time.Second

// metric reads one series of the gateway's metrics, such as `ort_gateway_exchanges_total{result="ok"}`.
func (st *stack) metric(series string) (float64, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, st.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for line := range strings.Lines(readAll(resp.Body)) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			var v float64
			_, err := fmt.Sscan(rest, &v)
			return v, err
		}
	}
	return 0, fmt.Errorf("no series %s", series)
}
