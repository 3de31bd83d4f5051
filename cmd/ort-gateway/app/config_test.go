package app

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"
)

// marker stands for a secret; it must not be in any message.
const marker = "geheim-4711"

var goodKey = "k1:" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// with is the smallest good environment, with more.
func with(more ...string) []string {
	return append(more, "ORT_ISSUER=https://login.example.com/realms/main", "ORT_UPSTREAM_URL=http://127.0.0.1:8081")
}

func load(t *testing.T, environ ...string) (*Settings, []Warning) {
	t.Helper()
	s, warnings, err := Load(environ, checkSealingKeys)
	if err != nil {
		t.Fatalf("Load(%q): %v", environ, err)
	}
	return s, warnings
}

// faultLines gives the lines of Load's error.
func faultLines(t *testing.T, environ ...string) []string {
	t.Helper()
	s, _, err := Load(environ, checkSealingKeys)
	if err == nil {
		t.Fatalf("Load(%q) found no fault", environ)
	}
	if s != nil {
		t.Errorf("Load gave settings beside the error")
	}
	return strings.Split(err.Error(), "\n")
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreThoseOfTheTable(t *testing.T) {
	s, warnings := load(t, with()...)
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if s.PublicOrigin.String() != "https://login.example.com" || s.UpstreamURL.String() != "http://127.0.0.1:8081" {
		t.Errorf("origin %s, upstream %s", s.PublicOrigin, s.UpstreamURL)
	}
	s.PublicOrigin, s.UpstreamURL = nil, nil
	want := &Settings{
		Issuers:    []string{"https://login.example.com/realms/main"},
		ListenAddr: ":8080", AdminAddr: ":9090",
		StorePath:          "ort-sessions.db",
		SessionIdleTimeout: 72 * time.Hour, SessionAbsoluteTimeout: 168 * time.Hour,
		LoginTimeout: 24 * time.Hour, MaxTransactions: 200000,
		UpstreamLoginCookies: []string{"KEYCLOAK_IDENTITY", "KEYCLOAK_SESSION", "_session", "ory_hydra_session", "authentik_session", "authelia_session", "dex_session"},
		UpstreamEnd:          "auto", UpstreamTimeout: 30 * time.Second,
		DPoPAuthority: "gateway", DPoPNonceRequired: true, DPoPNonceLifetime: 5 * time.Minute,
		DPoPAlgs:          []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "RS256"},
		DPoPProofLifetime: time.Minute,
		Auth0Audience:     "audience",
		LogLevel:          slog.LevelInfo, LogFormat: "json",
		ShutdownTimeout: 15 * time.Second,
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}

// valueCase says of one variable what good values become, and what is said of bad ones.
type valueCase struct {
	variable string
	good     map[string]func(*Settings) any // value: where it is found
	want     map[string]any                 // value: what is found
	bad      map[string]string              // value: a part of its line
}

func TestEachVariable(t *testing.T) {
	key := file(t, goodKey+"\n")
	cert := newTestPair(t, "one")
	ca := func(s *Settings) any { return s.UpstreamCAs != nil }
	durations := func(variable, good string, f func(*Settings) time.Duration, want time.Duration) valueCase {
		return valueCase{variable: variable,
			good: map[string]func(*Settings) any{good: func(s *Settings) any { return f(s) }}, want: map[string]any{good: want},
			bad: map[string]string{"0s": "is zero", "0": "is zero", "-1h": "is negative", "30": "has no unit", "3 days": "is not a duration", " 1h": "is not a duration", "9999999999h": "is not a duration"}}
	}
	words := func(variable string, f func(*Settings) any, want map[string]any) valueCase {
		c := valueCase{variable: variable, good: map[string]func(*Settings) any{}, want: want, bad: map[string]string{"maybe": `"maybe" is not `, "TRUE ": "is not "}}
		for value := range want {
			c.good[value] = f
		}
		return c
	}
	one := func(variable, value string, f func(*Settings) any, want any, bad map[string]string) valueCase {
		return valueCase{variable: variable, good: map[string]func(*Settings) any{value: f}, want: map[string]any{value: want}, bad: bad}
	}
	badFiles := map[string]string{"/does/not/exist": "cannot be read: no such file", "/": "is not a regular file", "/dev/null": "is not a regular file"}
	badURLs := map[string]string{
		"example.com": "not an absolute URL", "https:example.com": "not an absolute URL", "ftp://example.com": "neither http nor https", "https://": "names no host",
		"https://a b": "cannot be in a URL", `https://a\b`: "cannot be in a URL", "https://exämple.com": "cannot be in a URL",
		"https://u:" + marker + "@example.com": "has a user name", "https://example.com?": "has a query", "https://example.com/?a=b": "has a query",
		"https://example.com#": "has a fragment", "https://example.com:0": "has a port", "https://example.com:70000": "has a port",
		"https://example.com:": "has a port", "https://-": "neither an address nor a name", "https://example.com:x": "not an absolute URL", "https://%zz": "not an absolute URL",
	}
	badAddrs := map[string]string{"8080": "is not host:port", "localhost": "is not host:port", ":http": "has a port", ":65536": "has a port", "a b:80": "has a host", "http://a:80": "is not host:port"}
	listFaults := func(more map[string]string) map[string]string {
		m := map[string]string{",": "item 1 is empty; item 2 is empty", "a,,b": "item 2 is empty", "a,": "item 2 is empty", " ": "item 1 is empty"}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	merge := func(maps ...map[string]string) map[string]string {
		m := map[string]string{}
		for _, one := range maps {
			for k, v := range one {
				m[k] = v
			}
		}
		return m
	}
	cases := []valueCase{
		one("ORT_ISSUER", "https://a.example/x/, https://A.example:443/y", func(s *Settings) any { return append(s.Issuers, s.PublicOrigin.String()) },
			[]string{"https://a.example/x/", "https://A.example:443/y", "https://a.example"},
			merge(badURLs, map[string]string{"https://a.example,https://b.example": "item 2 is on another origin", "https://a.example,http://a.example": "item 2 is on another origin",
				"https://a.example/x,https://a.example/x": "item 2 is there twice", "https://a.example,": "item 2 is empty"})),
		one("ORT_UPSTREAM_URL", "https://IdP.internal:443/", func(s *Settings) any { return s.UpstreamURL.String() }, "https://idp.internal",
			merge(badURLs, map[string]string{"http://idp/realms": "has a path", "http://127.0.0.1:8080": "own public listener", "http://localhost:8080": "own public listener"})),
		one("ORT_LISTEN_ADDR", "127.0.0.1:0", func(s *Settings) any { return s.ListenAddr }, "127.0.0.1:0", badAddrs),
		one("ORT_ADMIN_ADDR", "[::1]:9091", func(s *Settings) any { return s.AdminAddr }, "[::1]:9091", merge(badAddrs, map[string]string{":8080": "is taken by ORT_LISTEN_ADDR", "127.0.0.1:8080": "is taken by ORT_LISTEN_ADDR"})),
		one("ORT_ADMIN_TOKEN", "a-token-of-24-characters", func(s *Settings) any { return s.AdminToken.Reveal() }, "a-token-of-24-characters",
			map[string]string{marker + " x": "has a character", marker + "\n": "has a character", marker + "ä": "has a character"}),
		one("ORT_ADMIN_TOKEN_FILE", file(t, "a-token-of-24-characters\r\n"), func(s *Settings) any { return s.AdminToken.Reveal() }, "a-token-of-24-characters",
			merge(badFiles, map[string]string{file(t, ""): "is empty", file(t, " \n"): "is empty", file(t, marker+"\x00"): "has a zero byte", file(t, marker+"\nb"): "has a character", file(t, strings.Repeat("x", 1<<20+1)): "longer than 1 MiB"})),
		one("ORT_STORE_URL", "bolt:/data/a.db", func(s *Settings) any { return s.StorePath }, "/data/a.db",
			map[string]string{"/data/a.db": "begins neither", "bolt:": "names no file", "bolt:///data": "has //", "redis://:" + marker + "@r:6379/x": "no database number", "rediss://r?" + marker + "=1": "unknown parameter", "redis://u:" + marker + "%@r": "is no URL", "postgres://" + marker: "begins neither"}),
		one("ORT_STORE_URL_FILE", file(t, "bolt:b.db\n"), func(s *Settings) any { return s.StorePath }, "b.db", merge(badFiles, map[string]string{file(t, "redis://r/"+marker): "no database number", file(t, marker): "begins neither"})),
		one("ORT_SEALING_KEYS", goodKey, func(s *Settings) any { return s.SealingKeys.Reveal() + s.SealingKeysFile }, goodKey,
			map[string]string{marker: "has a wrong value: sealing key 1: no colon", "k1:" + marker: "has a wrong value: sealing key 1 (k1)", goodKey + "," + goodKey: "sealing key 2"}),
		one("ORT_SEALING_KEYS_FILE", key, func(s *Settings) any { return s.SealingKeys.Reveal() + s.SealingKeysFile }, goodKey+key,
			merge(badFiles, map[string]string{file(t, marker): "has wrong content: sealing key 1", file(t, "\n"): "is empty"})),
		durations("ORT_SESSION_IDLE_TIMEOUT", "90m", func(s *Settings) time.Duration { return s.SessionIdleTimeout }, 90*time.Minute),
		durations("ORT_SESSION_ABSOLUTE_TIMEOUT", "72h", func(s *Settings) time.Duration { return s.SessionAbsoluteTimeout }, 72*time.Hour),
		durations("ORT_LOGIN_TIMEOUT", "1h", func(s *Settings) time.Duration { return s.LoginTimeout }, time.Hour),
		one("ORT_MAX_TRANSACTIONS", "1", func(s *Settings) any { return s.MaxTransactions }, 1, map[string]string{"0": "less than 1", "-5": "less than 1", "1.5": "not a whole number", "1e3": "not a whole number", "99999999999": "out of range"}),
		one("ORT_CLIENTS", "spa, mobile app", func(s *Settings) any { return s.Clients }, []string{"spa", "mobile app"}, listFaults(map[string]string{"*": "leave it unset", "a\x01b": "control character"})),
		one("ORT_AUDIENCES", "https://api.example", func(s *Settings) any { return s.Audiences }, []string{"https://api.example"}, listFaults(map[string]string{"a,*": "leave it unset"})),
		one("ORT_CONFIDENTIAL_CLIENTS", "*", func(s *Settings) any { return s.ConfidentialClients }, []string{"*"}, listFaults(nil)),
		one("ORT_ONLINE_ONLY_CLIENTS", "spa,*", func(s *Settings) any { return s.OnlineOnlyClients }, []string{"spa", "*"}, listFaults(nil)),
		one("ORT_UPSTREAM_SCOPE", " offline_access  urn:x ", func(s *Settings) any { return *s.UpstreamScope }, "offline_access urn:x", map[string]string{`a"b`: "is not a scope", "ä": "is not a scope"}),
		words("ORT_UPSTREAM_CONSENT", func(s *Settings) any { return s.UpstreamConsent }, map[string]any{"true": true, "false": false}),
		one("ORT_UPSTREAM_LOGIN_COOKIES", "a,__Host-b", func(s *Settings) any { return s.UpstreamLoginCookies }, []string{"a", "__Host-b"}, listFaults(map[string]string{"a b": "is not a cookie name", "a=b": "is not a cookie name", "__Host-ort": "own cookie"})),
		words("ORT_UPSTREAM_END", func(s *Settings) any { return s.UpstreamEnd }, map[string]any{"auto": "auto", "logout": "logout", "revoke": "revoke", "none": "none"}),
		durations("ORT_UPSTREAM_TIMEOUT", "1m30s", func(s *Settings) time.Duration { return s.UpstreamTimeout }, 90*time.Second),
		one("ORT_UPSTREAM_CA_FILE", cert.certFile, ca, true, merge(badFiles, map[string]string{file(t, "nothing"): "has no certificate", file(t, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"): "cannot be read (number 1)", cert.keyFile: "has no certificate"})),
		one("ORT_TRUSTED_PROXIES", "10.1.2.3/8, 192.0.2.7,2001:db8::1,::ffff:192.0.2.8", func(s *Settings) any { return fmt.Sprint(s.TrustedProxies) }, "[10.0.0.0/8 192.0.2.7/32 2001:db8::1/128 192.0.2.8/32]",
			listFaults(map[string]string{"10.0.0.0/33": "is not a CIDR", "proxy.internal": "is not a CIDR", "fe80::1%eth0": "is not a CIDR", "10.0.0.1:80": "is not a CIDR", "Private": "is not a CIDR"})),
		words("ORT_DPOP_AUTHORITY", func(s *Settings) any { return s.DPoPAuthority }, map[string]any{"gateway": "gateway", "upstream": "upstream"}),
		words("ORT_DPOP_NONCE", func(s *Settings) any { return s.DPoPNonceRequired }, map[string]any{"required": true, "off": false}),
		durations("ORT_DPOP_NONCE_LIFETIME", "30s", func(s *Settings) time.Duration { return s.DPoPNonceLifetime }, 30*time.Second),
		one("ORT_DPOP_ALGS", "ES256, EdDSA,ES256", func(s *Settings) any { return s.DPoPAlgs }, []string{"ES256", "EdDSA"}, map[string]string{"none": "is none of", "HS256": "is none of", "es256": "is none of", ",": "is empty"}),
		durations("ORT_DPOP_PROOF_LIFETIME", "10s", func(s *Settings) time.Duration { return s.DPoPProofLifetime }, 10*time.Second),
		one("ORT_CORS_ORIGINS", "https://App.example:443, http://localhost:5173,capacitor://localhost", func(s *Settings) any { return s.CORSOrigins }, []string{"https://app.example", "http://localhost:5173", "capacitor://localhost"},
			map[string]string{"*": "is *", "null": "not an absolute URL", "https://a/": "has a path", "a.example": "not an absolute URL", ",": "is empty"}),
		words("ORT_AUTH0_PATHS", func(s *Settings) any { return s.Auth0Paths }, map[string]any{"false": false, "true": true}),
		words("ORT_AUTH0_AUDIENCE", func(s *Settings) any { return s.Auth0Audience }, map[string]any{"audience": "audience", "resource": "resource"}),
		words("ORT_LOG_LEVEL", func(s *Settings) any { return s.LogLevel }, map[string]any{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}),
		words("ORT_LOG_FORMAT", func(s *Settings) any { return s.LogFormat }, map[string]any{"json": "json", "text": "text"}),
		one("ORT_SHUTDOWN_DELAY", "0s", func(s *Settings) any { return s.ShutdownDelay }, time.Duration(0), map[string]string{"-1s": "is negative", "5": "has no unit", "soon": "is not a duration"}),
		durations("ORT_SHUTDOWN_TIMEOUT", "1s", func(s *Settings) time.Duration { return s.ShutdownTimeout }, time.Second),
	}
	tested := []string{"ORT_TLS_CERT_FILE", "ORT_TLS_KEY_FILE"} // a pair, see TestTLSFiles
	for _, c := range cases {
		tested = append(tested, c.variable)
		t.Run(c.variable, func(t *testing.T) { c.run(t) })
	}
	for _, name := range variableNames {
		if !slices.Contains(tested, name) {
			t.Errorf("%s has no case", name)
		}
	}
}

func (c valueCase) run(t *testing.T) {
	for value, get := range c.good {
		more := []string{c.variable + "=" + value}
		if c.variable == "ORT_SESSION_ABSOLUTE_TIMEOUT" {
			more = append(more, "ORT_SESSION_IDLE_TIMEOUT=1h")
		}
		s, _ := load(t, with(more...)...)
		if got := get(s); !reflect.DeepEqual(got, c.want[value]) {
			t.Errorf("%q: got %v, want %v", value, got, c.want[value])
		}
	}
	if len(c.bad) == 0 {
		t.Error("no bad value")
	}
	for value, part := range c.bad {
		lines := faultLines(t, with(c.variable+"="+value)...)
		if len(lines) > 1 && !strings.Contains(lines[0], "Redis") || len(lines) > 2 {
			t.Errorf("%q: more than one line: %q", value, lines)
		}
		line := lines[0]
		if !strings.HasPrefix(line, c.variable+": ") || !strings.Contains(line, part) || !strings.Contains(line, "; example: "+c.variable+"=") {
			t.Errorf("%q: line %q does not have %q", value, line, part)
		}
		noLeak(t, strings.Join(lines, "\n"))
	}
}

// noLeak looks for what must not be in a message: a secret, the path of a secret's file, a Go name.
func noLeak(t *testing.T, text string) {
	t.Helper()
	for _, leak := range []string{marker, os.TempDir() + "/", "app.environment", "parse error", "env:", "strconv", "0x"} {
		if strings.Contains(text, leak) {
			t.Errorf("message has %q: %s", leak, text)
		}
	}
	for f := range reflect.TypeFor[environment]().Fields() {
		if len(f.Name) > 6 && strings.Contains(text, f.Name) {
			t.Errorf("message names the field %s: %s", f.Name, text)
		}
	}
}

func TestPrivateMeansNetworksThatAreNotRouted(t *testing.T) {
	s, _ := load(t, with("ORT_TRUSTED_PROXIES=private")...)
	for addr, want := range map[string]bool{"10.9.9.9": true, "172.31.0.1": true, "172.32.0.1": false, "192.168.1.1": true, "127.0.0.1": true, "::1": true, "fd00::1": true, "8.8.8.8": false, "2001:db8::1": false, "169.254.1.1": false} {
		got := slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(addr)) })
		if got != want {
			t.Errorf("%s trusted: %v, want %v", addr, got, want)
		}
	}
}

func TestSetButEmptyMeansTheDefault(t *testing.T) {
	var environ []string
	for _, name := range variableNames {
		if name != "ORT_ISSUER" && name != "ORT_UPSTREAM_URL" {
			environ = append(environ, name+"=")
		}
	}
	got, warnings := load(t, with(environ...)...)
	want, _ := load(t, with()...)
	if got.UpstreamScope == nil || *got.UpstreamScope != "" {
		t.Errorf("ORT_UPSTREAM_SCOPE set to nothing: %v", got.UpstreamScope)
	}
	got.UpstreamScope = nil
	if !reflect.DeepEqual(got, want) || len(warnings) > 0 {
		t.Errorf("got %+v (%v), want %+v", got, warnings, want)
	}
	if lines := faultLines(t, "ORT_ISSUER=", "ORT_UPSTREAM_URL="); len(lines) != 2 || !strings.Contains(lines[0], "is required") {
		t.Errorf("required, but empty: %q", lines)
	}
}

func TestAVariableAndItsFileAreNotSetTogether(t *testing.T) {
	for _, v := range variables {
		if !v.hasFile() {
			continue
		}
		value := map[string]string{"ORT_ADMIN_TOKEN": "a-token-of-24-characters", "ORT_STORE_URL": "bolt:a", "ORT_SEALING_KEYS": goodKey}[v.name]
		lines := faultLines(t, with(v.name+"="+value, v.name+"_FILE="+file(t, value))...)
		if len(lines) != 1 || !strings.HasPrefix(lines[0], v.name+": is set, and so is "+v.name+"_FILE") {
			t.Errorf("%s: %q", v.name, lines)
		}
		load(t, with(v.name+"=", v.name+"_FILE="+file(t, value))...)
		load(t, with(v.name+"="+value, v.name+"_FILE=")...)
	}
}

func TestIdleIsNotLongerThanAbsolute(t *testing.T) {
	load(t, with("ORT_SESSION_IDLE_TIMEOUT=24h", "ORT_SESSION_ABSOLUTE_TIMEOUT=24h")...)
	lines := faultLines(t, with("ORT_SESSION_ABSOLUTE_TIMEOUT=24h")...)
	want := "ORT_SESSION_IDLE_TIMEOUT: the idle timeout (72h0m0s, the default) is longer than ORT_SESSION_ABSOLUTE_TIMEOUT (24h)"
	if len(lines) != 1 || !strings.HasPrefix(lines[0], want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}

func TestTLSFiles(t *testing.T) {
	one, two := newTestPair(t, "one"), newTestPair(t, "two")
	s, _ := load(t, with("ORT_TLS_CERT_FILE="+one.certFile, "ORT_TLS_KEY_FILE="+one.keyFile)...)
	if s.TLSCertFile != one.certFile || s.TLSKeyFile != one.keyFile {
		t.Errorf("got %s, %s", s.TLSCertFile, s.TLSKeyFile)
	}
	for _, c := range []struct{ name, cert, key, want string }{
		{"certificate alone", one.certFile, "", "ORT_TLS_KEY_FILE: is not set"},
		{"key alone", "", one.keyFile, "ORT_TLS_CERT_FILE: is not set"},
		{"no certificate file", "/does/not/exist", one.keyFile, "ORT_TLS_CERT_FILE: the file cannot be read"},
		{"no key file", one.certFile, "/does/not/exist", "ORT_TLS_KEY_FILE: the file cannot be read"},
		{"key for a certificate", one.keyFile, one.keyFile, "ORT_TLS_CERT_FILE: the file has no certificate"},
		{"another's key", one.certFile, two.keyFile, "ORT_TLS_KEY_FILE: the file has no key for"},
		{"broken key", one.certFile, file(t, marker), "ORT_TLS_KEY_FILE: the file has no key for"},
	} {
		lines := faultLines(t, with("ORT_TLS_CERT_FILE="+c.cert, "ORT_TLS_KEY_FILE="+c.key)...)
		if len(lines) != 1 || !strings.HasPrefix(lines[0], c.want) {
			t.Errorf("%s: got %q, want %q", c.name, lines, c.want)
		}
		noLeak(t, lines[0])
	}
}

func TestASharedStoreNeedsSealingKeys(t *testing.T) {
	lines := faultLines(t, with("ORT_STORE_URL=redis://r:6379")...)
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "ORT_SEALING_KEYS: is not set") || !strings.Contains(lines[0], "ort-gateway keys") {
		t.Errorf("got %q", lines)
	}
	lines = faultLines(t, with("ORT_STORE_URL=redis://r:6379/x", "ORT_SEALING_KEYS="+goodKey)...)
	if len(lines) != 1 || !strings.HasSuffix(lines[0], "; example: ORT_STORE_URL=redis://user:PASSWORD@redis.example.com:6379/0") {
		t.Errorf("who means Redis is shown how to name one: %q", lines)
	}
	s, _, err := Load(with("ORT_STORE_URL=redis://r:6379", "ORT_SEALING_KEYS="+goodKey), checkSealingKeys)
	if err != nil || s.StoreURL.Reveal() != "redis://r:6379" || s.StorePath != "" {
		t.Errorf("with keys: %v", err)
	}
}

func TestAuth0PathsNeedOneIssuerAndTheGatewaysDPoP(t *testing.T) {
	if lines := faultLines(t, with("ORT_AUTH0_PATHS=true", "ORT_DPOP_AUTHORITY=upstream")...); len(lines) != 1 || !strings.HasPrefix(lines[0], "ORT_AUTH0_PATHS: needs ORT_DPOP_AUTHORITY=gateway") {
		t.Errorf("got %q", lines)
	}
	if lines := faultLines(t, with("ORT_AUTH0_PATHS=true", "ORT_ISSUER=https://id.example.com/a,https://id.example.com/b")...); len(lines) != 1 || !strings.HasPrefix(lines[0], "ORT_AUTH0_PATHS: needs a single issuer") {
		t.Errorf("got %q", lines)
	}
}

func TestAllFaultsAreToldAtOnceInTheOrderOfTheTable(t *testing.T) {
	var environ, want []string
	for _, name := range variableNames {
		if strings.HasSuffix(name, "_FILE") && !strings.HasPrefix(name, "ORT_TLS") && name != "ORT_UPSTREAM_CA_FILE" {
			continue
		}
		value := "!," + marker + "\x01"
		if strings.HasPrefix(name, "ORT_TLS") {
			value = "/does/not/exist"
		}
		environ = append(environ, name+"="+value)
		want = append(want, name)
	}
	lines := faultLines(t, environ...)
	var got []string
	for _, line := range lines {
		name, _, _ := strings.Cut(line, ":")
		got = append(got, name)
		if strings.Contains(line, "ORT_ADMIN_TOKEN") || strings.Contains(line, "ORT_STORE_URL") || strings.Contains(line, "ORT_SEALING_KEYS") {
			noLeak(t, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ environ, want string }{
		{"ORT_ISUER=x", "ORT_ISUER: unknown, and without effect; the nearest known name is ORT_ISSUER"},
		{"ORT_SEALING_KEY_FILE=x", "ORT_SEALING_KEY_FILE: unknown, and without effect; the nearest known name is ORT_SEALING_KEYS_FILE"},
		{"ORT_LGO_LEVEL=x", "ORT_LGO_LEVEL: unknown, and without effect; the nearest known name is ORT_LOG_LEVEL"},
		{"ORT_X\nY=" + marker, `ORT_X\nY: unknown, and without effect; the nearest known name is `},
		{"ORT_ADMIN_TOKEN=" + marker, "ORT_ADMIN_TOKEN: has less than 16 characters"},
		{"ORT_AUTH0_AUDIENCE=resource", "ORT_AUTH0_AUDIENCE: has no effect"},
		{"ORT_UPSTREAM_URL=https://login.example.com", "ORT_UPSTREAM_URL: is the public origin"},
		{"ORT_ISSUER=http://login.example.com", "ORT_ISSUER: is http"},
		{"ORT_TRUSTED_PROXIES=10.0.0.1,::/0", "ORT_TRUSTED_PROXIES: ::/0 trusts"},
		{"ORT_CLIENTS=a b", `ORT_CLIENTS: "a b" has a space`},
	} {
		_, warnings := load(t, with(c.environ)...)
		if len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), c.want) {
			t.Errorf("%q: got %q, want %q", c.environ, warnings, c.want)
		}
		noLeak(t, fmt.Sprint(warnings))
	}
	_, warnings := load(t, with("ORT_CLIENTS=a", "ORT_ONLINE_ONLY_CLIENTS=b,*,a")...)
	if len(warnings) != 1 || warnings[0].Variable != "ORT_ONLINE_ONLY_CLIENTS" {
		t.Errorf("a client outside ORT_CLIENTS: %q", warnings)
	}
}

func TestNoWarning(t *testing.T) {
	for _, environ := range []string{
		"ORT_GATEWAY_PORT=tcp://10.0.0.1:8080", "ORT_GATEWAY_PORT_8080_TCP=x", "ORT_GATEWAY_PORT_8080_TCP_ADDR=x", "ORT_GATEWAY_SERVICE_HOST=x",
		"ORT_GATEWAY_SERVICE_PORT=x", "ORT_GATEWAY_SERVICE_PORT_HTTP=x", "ORT_PORT=tcp://x", "SORT_ORDER=x", "ort_issuer=x", "ORT_ISSUER=http://localhost:8080/x",
	} {
		if _, warnings := load(t, with(environ)...); len(warnings) > 0 {
			t.Errorf("%s: %v", environ, warnings)
		}
	}
}

func TestASecretDoesNotShow(t *testing.T) {
	s, _ := load(t, with("ORT_ADMIN_TOKEN="+marker+marker)...)
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	log.Info("x", "secret", s.AdminToken, "settings", s)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "secret", s.AdminToken, "settings", *s)
	hidden := struct{ inside Secret }{s.AdminToken}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb, s.AdminToken)
		fmt.Fprintf(&b, verb, *s)
		fmt.Fprintf(&b, verb, hidden)
	}
	if strings.Contains(b.String(), marker) || strings.Contains(b.String(), fmt.Sprintf("%x", marker)) {
		t.Error("the secret is shown: " + b.String())
	}
	if !strings.Contains(b.String(), redacted) {
		t.Error("nothing says that there is one")
	}
}

func TestTableAndEnvironmentAreTheSame(t *testing.T) {
	params, err := env.GetFieldParams(&environment{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range params {
		names = append(names, p.Key)
		v := variables[slices.IndexFunc(variables, func(v variable) bool { return p.Key == v.name || p.Key == v.name+"_FILE" && v.hasFile() })]
		if v.meaning == "" || v.example == "" {
			t.Errorf("%s has no meaning or no example", p.Key)
		}
		if required := v.unset == "required"; required != p.Required {
			t.Errorf("%s: required %v in the struct, %v in the table", p.Key, p.Required, required)
		}
	}
	if !slices.Equal(names, variableNames) {
		t.Errorf("struct %q\ntable %q", names, variableNames)
	}
}

// An example that is refused would be a bad joke.
func TestExamplesAreGood(t *testing.T) {
	for _, v := range variables {
		if v.name == "ORT_SEALING_KEYS" || strings.HasSuffix(v.name, "_FILE") {
			continue
		}
		if _, _, err := Load(append([]string{v.name + "=" + v.example}, with()...), checkSealingKeys); err != nil {
			t.Error(err)
		}
	}
}

func TestTheFirstOfTwoEqualNamesCounts(t *testing.T) {
	s, _ := load(t, with("ORT_LOG_LEVEL=debug", "ORT_LOG_LEVEL=error")...)
	if s.LogLevel != slog.LevelDebug {
		t.Errorf("got %v", s.LogLevel)
	}
}

// FuzzLoad: whatever is set, Load does not panic, gives settings or faults and not both, and every fault is one line that
// names a variable and an example, and does not repeat a secret.
func FuzzLoad(f *testing.F) {
	for i := range variableNames {
		f.Add(uint(i), "x", uint(i+1), "1h,,2")
	}
	f.Add(uint(0), "https://a/,https://a:443/x", uint(1), "http://[::1]:80")
	f.Add(uint(0), "https://login.example.com/%zz?#", uint(1), "http://u:p@[fe80::1%25eth0]:99999")
	f.Fuzz(func(t *testing.T, i uint, one string, j uint, two string) {
		name := func(n uint) string { return variableNames[n%uint(len(variableNames))] }
		environ := append([]string{name(i) + "=" + one, name(j) + "=" + two}, with("ORT_ADMIN_TOKEN="+marker+" ")...)
		s, _, err := Load(environ, func(string) error { return nil })
		if (s == nil) != (err != nil) {
			t.Fatalf("settings %v beside error %v", s, err)
		}
		if err == nil {
			if s.PublicOrigin == nil || s.UpstreamURL == nil || len(s.Issuers) == 0 || s.SessionIdleTimeout > s.SessionAbsoluteTimeout || s.SessionIdleTimeout <= 0 || s.MaxTransactions < 1 {
				t.Fatalf("half settings: %+v", s)
			}
			return
		}
		if !errors.As(err, new(settingsError)) {
			t.Fatalf("error of type %T", err)
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			variable, _, _ := strings.Cut(line, ": ")
			if orderOf(variable) < 0 || !strings.Contains(line, "; example: "+variable+"=") {
				t.Errorf("line %q", line)
			}
		}
		if !strings.Contains(one+two, marker) && strings.Contains(err.Error(), marker) {
			t.Errorf("secret in %q", err)
		}
	})
}
