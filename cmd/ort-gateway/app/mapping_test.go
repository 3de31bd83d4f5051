package app

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

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

// An upstream without a port has that of its scheme.
func TestTheUpstreamIsNotTheGatewayItself(t *testing.T) {
	for _, c := range [][2]string{{":443", "https://127.0.0.1"}, {"127.0.0.1:80", "http://localhost"}, {"[::]:8080", "http://[::1]:8080"}} {
		lines := faultLines(t, "ORT_ISSUER=https://login.example.com", "ORT_LISTEN_ADDR="+c[0], "ORT_UPSTREAM_URL="+c[1])
		if len(lines) != 1 || !strings.HasPrefix(lines[0], "ORT_UPSTREAM_URL: is the gateway's own public listener ("+c[0]+")") {
			t.Errorf("%s behind %s: %q", c[1], c[0], lines)
		}
	}
	load(t, "ORT_ISSUER=https://login.example.com", "ORT_LISTEN_ADDR=192.0.2.1:8080", "ORT_UPSTREAM_URL=http://127.0.0.1:8080")
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
	lines = faultLines(t, with("ORT_STORE_URL=redis://r:6379", "ORT_SEALING_KEYS_FILE=/does/not/exist")...)
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "ORT_SEALING_KEYS_FILE: the file cannot be read") {
		t.Errorf("what is set, and cannot be read, is not said to be missing: %q", lines)
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
		{"ORT_LOG_LEVEL_FILE=/does/not/exist", "ORT_LOG_LEVEL_FILE: unknown, and without effect"},
	} {
		_, warnings := load(t, with(c.environ)...)
		if len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), c.want) {
			t.Errorf("%q: got %q, want %q", c.environ, warnings, c.want)
		}
		noLeak(t, fmt.Sprint(warnings))
	}
	ended := newTestPairUntil(t, "ended", time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC))
	_, warnings := load(t, with("ORT_TLS_CERT_FILE="+ended.certFile, "ORT_TLS_KEY_FILE="+ended.keyFile)...)
	if len(warnings) != 1 || warnings[0].String() != "ORT_TLS_CERT_FILE: the certificate ended on 2025-03-04" {
		t.Errorf("a certificate that ended: %q", warnings)
	}
	_, warnings = load(t, with("ORT_CLIENTS=a", "ORT_ONLINE_ONLY_CLIENTS=b,*,a")...)
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

// Letters that changed places are one slip, not two.
func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"ABC", "ABC", 0}, {"ABC", "ACB", 1}, {"ABC", "AB", 1}, {"AC", "ABC", 1}, {"ABC", "ADC", 1}, {"ABC", "CAB", 2}, {"", "ABC", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
