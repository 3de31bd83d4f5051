package app

import (
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// valueCase says of one variable what good values become, and what is said of bad ones.
type valueCase struct {
	variable string
	good     map[string]func(*Settings) any // value: where it is found
	want     map[string]any                 // value: what is found
	bad      map[string]string              // value: a part of its line
}

func one(variable, value string, f func(*Settings) any, want any, bad map[string]string) valueCase {
	return valueCase{variable: variable, good: map[string]func(*Settings) any{value: f}, want: map[string]any{value: want}, bad: bad}
}

func durations(variable, good string, f func(*Settings) time.Duration, want time.Duration) valueCase {
	return one(variable, good, func(s *Settings) any { return f(s) }, want,
		map[string]string{"0s": "is zero", "0": "is zero", "-1h": "is negative", "30": "has no unit", "3 days": "is not a duration", " 1h": "is not a duration", "9999999999h": "is not a duration"})
}

func oneOf(variable string, f func(*Settings) any, want map[string]any) valueCase {
	c := valueCase{variable: variable, good: map[string]func(*Settings) any{}, want: want, bad: map[string]string{"maybe": `"maybe" is not `, "TRUE ": "is not "}}
	for value := range want {
		c.good[value] = f
	}
	return c
}

func merge(all ...map[string]string) map[string]string {
	m := map[string]string{}
	for _, one := range all {
		maps.Copy(m, one)
	}
	return m
}

func listFaults(more map[string]string) map[string]string {
	return merge(map[string]string{",": "item 1 is empty; item 2 is empty", "a,,b": "item 2 is empty", "a,": "item 2 is empty", " ": "item 1 is empty"}, more)
}

var (
	badFiles = map[string]string{"/does/not/exist": "cannot be read: no such file", "/": "is not a regular file", "/dev/null": "is not a regular file"}
	badURLs  = map[string]string{
		"example.com": "not an absolute URL", "https:example.com": "not an absolute URL", "ftp://example.com": "neither http nor https", "https://": "names no host",
		"https://a b": "cannot be in a URL", `https://a\b`: "cannot be in a URL", "https://exämple.com": "cannot be in a URL",
		"https://u:" + marker + "@example.com": "has a user name", "https://example.com?": "has a query", "https://example.com/?a=b": "has a query",
		"https://example.com#": "has a fragment", "https://example.com:0": "has a port", "https://example.com:70000": "has a port",
		"https://example.com:": "has a port", "https://-": "neither an address nor a name", "https://example.com:x": "not an absolute URL", "https://%zz": "not an absolute URL",
	}
	badAddrs = map[string]string{"8080": "is not host:port", "localhost": "is not host:port", ":http": "has a port", ":65536": "has a port", "a b:80": "has a host", "http://a:80": "is not host:port"}
)

func TestEachVariable(t *testing.T) {
	tested := []string{"ORT_TLS_CERT_FILE", "ORT_TLS_KEY_FILE"} // a pair, see TestTLSFiles
	for _, c := range slices.Concat(listenerCases(t), sessionCases(), upstreamCases(t), otherCases()) {
		tested = append(tested, c.variable)
		t.Run(c.variable, func(t *testing.T) { c.run(t) })
	}
	for _, name := range variableNames {
		if !slices.Contains(tested, name) {
			t.Errorf("%s has no case", name)
		}
	}
}

func listenerCases(t *testing.T) []valueCase {
	key := file(t, goodKey+"\n")
	return []valueCase{
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
	}
}

func sessionCases() []valueCase {
	return []valueCase{
		durations("ORT_SESSION_IDLE_TIMEOUT", "90m", func(s *Settings) time.Duration { return s.SessionIdleTimeout }, 90*time.Minute),
		durations("ORT_SESSION_ABSOLUTE_TIMEOUT", "72h", func(s *Settings) time.Duration { return s.SessionAbsoluteTimeout }, 72*time.Hour),
		durations("ORT_LOGIN_TIMEOUT", "1h", func(s *Settings) time.Duration { return s.LoginTimeout }, time.Hour),
		one("ORT_MAX_TRANSACTIONS", "1", func(s *Settings) any { return s.MaxTransactions }, 1, map[string]string{"0": "less than 1", "-5": "less than 1", "1.5": "not a whole number", "1e3": "not a whole number", "99999999999": "out of range", strings.Repeat("7", 99): `"7777777777777777777777777777777777777777"… is out of range`}),
		one("ORT_CLIENTS", "spa, mobile app", func(s *Settings) any { return s.Clients }, []string{"spa", "mobile app"}, listFaults(map[string]string{"*": "leave it unset", "a\x01b": "control character"})),
		one("ORT_AUDIENCES", "https://api.example", func(s *Settings) any { return s.Audiences }, []string{"https://api.example"}, listFaults(map[string]string{"a,*": "leave it unset"})),
		one("ORT_CONFIDENTIAL_CLIENTS", "*", func(s *Settings) any { return s.ConfidentialClients }, []string{"*"}, listFaults(nil)),
		one("ORT_ONLINE_ONLY_CLIENTS", "spa,*", func(s *Settings) any { return s.OnlineOnlyClients }, []string{"spa", "*"}, listFaults(nil)),
	}
}

func upstreamCases(t *testing.T) []valueCase {
	cert := newTestPair(t, "one")
	ca := func(s *Settings) any { return s.UpstreamCAs != nil }
	return []valueCase{
		one("ORT_UPSTREAM_SCOPE", " offline_access  urn:x ", func(s *Settings) any { return *s.UpstreamScope }, "offline_access urn:x", map[string]string{`a"b`: "is not a scope", "ä": "is not a scope"}),
		oneOf("ORT_UPSTREAM_CONSENT", func(s *Settings) any { return s.UpstreamConsent }, map[string]any{"true": true, "false": false}),
		one("ORT_UPSTREAM_LOGIN_COOKIES", "a,__Host-b", func(s *Settings) any { return s.UpstreamLoginCookies }, []string{"a", "__Host-b"}, listFaults(map[string]string{"a b": "is not a cookie name", "a=b": "is not a cookie name", "__Host-ort": "own cookie"})),
		oneOf("ORT_UPSTREAM_END", func(s *Settings) any { return s.UpstreamEnd }, map[string]any{"auto": "auto", "logout": "logout", "revoke": "revoke", "none": "none"}),
		durations("ORT_UPSTREAM_TIMEOUT", "1m30s", func(s *Settings) time.Duration { return s.UpstreamTimeout }, 90*time.Second),
		one("ORT_UPSTREAM_CA_FILE", cert.certFile, ca, true, merge(badFiles, map[string]string{file(t, "nothing"): "has no certificate", file(t, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"): "cannot be read (number 1)", cert.keyFile: "has no certificate"})),
		one("ORT_TRUSTED_PROXIES", "10.1.2.3/8, 192.0.2.7,2001:db8::1,::ffff:192.0.2.8", func(s *Settings) any { return fmt.Sprint(s.TrustedProxies) }, "[10.0.0.0/8 192.0.2.7/32 2001:db8::1/128 192.0.2.8/32]",
			listFaults(map[string]string{"10.0.0.0/33": "is not a CIDR", "proxy.internal": "is not a CIDR", "fe80::1%eth0": "is not a CIDR", "10.0.0.1:80": "is not a CIDR", "::ffff:0.0.0.0/90": "is not a CIDR", "Private": "is not a CIDR"})),
	}
}

func otherCases() []valueCase {
	return []valueCase{
		oneOf("ORT_DPOP_AUTHORITY", func(s *Settings) any { return s.DPoPAuthority }, map[string]any{"gateway": "gateway", "upstream": "upstream"}),
		oneOf("ORT_DPOP_NONCE", func(s *Settings) any { return s.DPoPNonceRequired }, map[string]any{"required": true, "off": false}),
		durations("ORT_DPOP_NONCE_LIFETIME", "30s", func(s *Settings) time.Duration { return s.DPoPNonceLifetime }, 30*time.Second),
		one("ORT_DPOP_ALGS", "ES256, EdDSA,ES256", func(s *Settings) any { return s.DPoPAlgs }, []string{"ES256", "EdDSA"}, map[string]string{"none": "is none of", "HS256": "is none of", "es256": "is none of", ",": "is empty"}),
		durations("ORT_DPOP_PROOF_LIFETIME", "10s", func(s *Settings) time.Duration { return s.DPoPProofLifetime }, 10*time.Second),
		one("ORT_CORS_ORIGINS", "https://App.example:443, http://localhost:5173,capacitor://localhost", func(s *Settings) any { return s.CORSOrigins }, []string{"https://app.example", "http://localhost:5173", "capacitor://localhost"},
			map[string]string{"*": "is *", "null": "not an absolute URL", "https://a/": "has a path", "a.example": "not an absolute URL", ",": "is empty"}),
		oneOf("ORT_AUTH0_PATHS", func(s *Settings) any { return s.Auth0Paths }, map[string]any{"false": false, "true": true}),
		oneOf("ORT_AUTH0_AUDIENCE", func(s *Settings) any { return s.Auth0Audience }, map[string]any{"audience": "audience", "resource": "resource"}),
		oneOf("ORT_LOG_LEVEL", func(s *Settings) any { return s.LogLevel }, map[string]any{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}),
		oneOf("ORT_LOG_FORMAT", func(s *Settings) any { return s.LogFormat }, map[string]any{"json": "json", "text": "text"}),
		one("ORT_SHUTDOWN_DELAY", "0s", func(s *Settings) any { return s.ShutdownDelay }, time.Duration(0), map[string]string{"-1s": "is negative", "5": "has no unit", "soon": "is not a duration"}),
		durations("ORT_SHUTDOWN_TIMEOUT", "1s", func(s *Settings) time.Duration { return s.ShutdownTimeout }, time.Second),
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
