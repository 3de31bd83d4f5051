package app

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
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
