package dpop

import (
	"net/url"
	"strings"
	"testing"
)

// RFC 3986 §6.2.2 and §6.2.3, a row for each rule.
func TestNormalizeURI(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"canonical", "https://as.example/token", "https://as.example/token"},
		{"query and fragment", "https://as.example/token?x=/../y#z", "https://as.example/token"},
		{"question mark in fragment", "https://as.example/token#a?b", "https://as.example/token"},
		{"case of scheme and host", "HTTPS://As.Example/Token", "https://as.example/Token"},
		{"default port", "https://as.example:443/", "https://as.example/"},
		{"default port, leading zeros", "https://as.example:00443/", "https://as.example/"},
		{"default port of http", "http://as.example:80/", "http://as.example/"},
		{"default port of the other scheme", "http://as.example:443/", "http://as.example:443/"},
		{"empty port", "https://as.example:/", "https://as.example/"},
		{"other port", "https://as.example:8443/", "https://as.example:8443/"},
		{"other port, other case", "https://AS.example:08443/", "https://as.example:8443/"},
		{"empty path", "https://as.example", "https://as.example/"},
		{"empty path, query", "https://as.example?a", "https://as.example/"},
		{"escaped unreserved", "https://as.example/%74%6F%6b%65n%7e%2d", "https://as.example/token~-"},
		{"case of escapes", "https://as.example/a%2fb%c3%a9", "https://as.example/a%2Fb%C3%A9"},
		{"escaped percent", "https://as.example/%2574oken", "https://as.example/%2574oken"},
		{"dot segments", "https://as.example/a/./b/../c", "https://as.example/a/c"},
		{"dot segments at the end", "https://as.example/a/b/..", "https://as.example/a/"},
		{"dot at the end", "https://as.example/a/.", "https://as.example/a/"},
		{"above the root", "https://as.example/../../a", "https://as.example/a"},
		{"escaped dot segments", "https://as.example/a/%2E%2e/b", "https://as.example/b"},
		{"dots in names", "https://as.example/.well-known/a..b/...", "https://as.example/.well-known/a..b/..."},
		{"doubled slashes stay", "https://as.example//a//b/", "https://as.example//a//b/"},
		{"trailing slash stays", "https://as.example/token/", "https://as.example/token/"},
		{"sub-delims stay", "https://as.example/a;b=c,d(e)!$&'*+@:", "https://as.example/a;b=c,d(e)!$&'*+@:"},
		{"IPv6", "https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"},
		{"IPv6 with port", "http://[::1]:8080/a", "http://[::1]:8080/a"},
		{"IPv4", "http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"},
		{"escaped host", "https://%41s.example/", "https://as.example/"},
		{"escaped host that stays", "https://a%c3%a9.example/", "https://a%C3%A9.example/"},
	} {
		if got, ok := normalizeURI(tt.in); !ok || got != tt.want {
			t.Errorf("%s: normalizeURI(%q) = %q, %v; want %q", tt.name, tt.in, got, ok, tt.want)
		}
	}
}

func TestNormalizeURIRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "relative": "/token", "no scheme": "as.example/token", "other scheme": "ftp://as.example/",
		"no host": "https:///token", "port alone": "https://:443/", "user": "https://a@b/", "user and password": "https://a:b@c/",
		"port no number": "https://a:x/", "port too large": "https://a:65536/", "port far too large": "https://a:4430000000/",
		"bad escape": "https://a/%zz", "cut escape": "https://a/%4", "bad escape in host": "https://a%/",
		"space": "https://a/b c", "line break": "https://a/b\r\nc", "not ASCII": "https://a/é", "not ASCII host": "https://é/",
		"backslash": `https://a\@b/`, "backslash in path": `https://a/\b`, "IPv6 open": "https://[::1/", "IPv6 empty": "https://[]/",
		"IPv6 zone": "https://[fe80::1%25eth0]/", "after IPv6": "https://[::1]x/", "NUL": "https://a/\x00", "space before": " https://a/",
	} {
		if got, ok := normalizeURI(in); ok {
			t.Errorf("%s: normalizeURI(%q) = %q, want a refusal", name, in, got)
		}
	}
}

// What is normalised stays as it is, is still a URL with the same origin, and
// needs no query to be ignored.
func FuzzURI(f *testing.F) {
	for _, s := range []string{
		"https://as.example/token", "HTTP://A:080/%2e%2E/%41?b#c", "https://[::1]:443//./..", "https://a%41/%25%2f",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, ok := normalizeURI(s)
		if !ok {
			return
		}
		if twice, ok := normalizeURI(once); !ok || twice != once {
			t.Fatalf("%q becomes %q, and that %q, %v", s, once, twice, ok)
		}
		if again, ok := normalizeURI(s + "?q#f"); !ok || again != once {
			t.Fatalf("%q becomes %q, with a query %q, %v", s, once, again, ok)
		}
		u, err := url.Parse(once)
		if err != nil {
			// net/url knows fewer hosts than RFC 3986 allows.
			if strings.ContainsAny(once, "%[") {
				return
			}
			t.Fatalf("%q becomes %q: %v", s, once, err)
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host == "" {
			t.Fatalf("%q becomes %q, which is %#v", s, once, u)
		}
	})
}
