package proxy

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

var testTable = map[string]target{
	"/realms/x/token":     {endpointToken, 1},
	"/realms/x/authorize": {endpointAuthorization, 2},
	"/realms/x/logout":    {endpointEndSession, 3},
	"/realms/caf%C3%A9":   {endpointUserinfo, 4},
	"/Token/":             {endpointToken, 5},
}

// spelled parses a target as the server does.
func spelled(t testing.TB, target string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")))
	if err != nil {
		t.Fatalf("%.80s: %.200v", target, err)
	}
	return r
}

func TestClassify(t *testing.T) {
	c := newClassifier(testTable)
	for _, row := range []struct {
		want     endpoint
		location int
		targets  []string
	}{
		{endpointToken, 1, []string{
			"/realms/x/token", "/realms/x/token?a=b", "/realms/x/token/", "/realms/x/token//", "//realms/x/token", "/realms//x///token",
			"/realms/x/./token", "/./realms/x/token/.", "/a/../realms/x/token", "/realms/x/a/../token", "/realms/x/token/a/..", "/../realms/x/token",
			"/realms/x/%74oken", "/realms/x/%2574oken", "/realms/x/%252574oken", "/realms/x/%25%37%34oken", "/realms%2Fx%2ftoken", "/realms%252Fx/token", "/%72ealms/x/token",
			`/realms\x\token`, "/realms%5Cx%5ctoken", `\realms/x/token`[0:0] + `/\realms/x/token`,
			"/realms/x/token;a=b", "/realms;v=1/x;/token;a;b", "/realms/x/token%3Ba=b", "/realms/x/token;/", "/realms/x/a;b/..;c/token", "/realms/x/a/..;/token",
			"/REALMS/X/TOKEN", "/Realms/x/%54oken", "/realms/x/%54%4f%4B%45%4E",
			"/realms/x/%2e/token", "/realms/x/a/%2e%2e/token", "/realms/x/a/%252e%252e/token", "/realms/x/a%2F..%2Ftoken", "/realms/x/a/.%2e/token", "/realms/x/a%2f%2e%2e%2ftoken",
			"/realms/x//../token", "/realms/x/a/b/../../token", "/realms/x/a%2Fb/../token", `/realms/x/a\b/../token`, "/realms/x/a%5Cb/../token",
			"/realms/x/token%00", "/realms/x/token%3Fa", "/realms/x/token#a", "/realms/x/token%23",
			// ";…" cut before anything is decoded, and with all that follows.
			"/realms/x/token;%2f..%2fpage", "/realms/x/token%3b%252f..%252fpage", "/realms/x/token;/page", "/realms/x/token;%5c..%5c..",
			// "?" that stays in its segment, so that ".." takes it away.
			"/realms/x/page%3F/../token", "/realms/x/page%00/../token", "/realms/x/page%23%2f..%2ftoken", "/realms/x/page%253F/%2e%2e/token",
			// Decoded once only before ";…" is cut.
			"/realms/x/a%3B%252Fb/%2e%2e/token",
			"http://h/realms/x/token", "http://h//realms/x/%74oken",
		}},
		// One endpoint to this upstream, another to that one.
		{endpointAmbiguous, 0, []string{
			"/realms/x/token;%2f..%2flogout", "/realms/x/token;%2f..%2fauthorize", "/realms/x/authorize%3b%252f..%252flogout", "/realms/caf%C3%A9%3F/../x/token",
			"/realms/x/logout%3F/../authorize", "/realms/x/logout%23%2f..%2ftoken", "/realms/x/logout/%00/../../token", `/realms/x/logout/a\..\..\token`,
			"/_ort/session%3F/../../realms/x/token", "/realms/x/token;/../authorize",
		}},
		{endpointDoubtfulEndSession, 3, []string{
			"/realms/x/logout%3F/../page", "/realms/x/logout/a%2f..%2f..%2fpage;/..", "/realms/x/logout;%2f..%2fpage", "/realms/x/logout//../page", `/realms/x/logout/a\..\..\page`,
		}},
		{endpointAuthorization, 2, []string{"/realms/x/authorize", "/realms/x/authorize/?response_type=code"}},
		{endpointEndSession, 3, []string{"/realms/x/logout", "/realms/x/logout/", "/realms/x/logout/logout-confirm", "/realms/x/LOGOUT/%61"}},
		{endpointUserinfo, 4, []string{"/realms/caf%C3%A9", "/realms/caf\xc3\xa9", "/realms/caf%c3%a9/"}},
		{endpointToken, 5, []string{"/token", "/Token", "//token", "//evil/../token", "/token/."}},
		{endpointOwn, 0, []string{"/_ort", "/_ort/session", "/_ort/x/y", "/_ORT/session", "/%5fort/session", "/a/../_ort/"}},
		{endpointNone, 0, []string{
			"/", "//", "/.", "/..", "/realms/x", "/realms/x/tokens", "/realms/x/token/a", "/realms/x/toke", "/realms/x/token.", "/realms/x/logouts", "/_orts", "/_or",
			"/realms/x/%74oke", "/realms/x/..token", "/realms/x/token/..", "/realms/y/token", "*", "/resources/AbC/Login.js", "/?/realms/x/token", "//evil/token", "/x/token",
			"/" + strings.Repeat("a", 300), "/" + strings.Repeat("a/", 3000),
		}},
	} {
		for _, target := range row.targets {
			if got, n := c.classify(spelled(t, target)); got != row.want || n != row.location {
				t.Errorf("%.80s: endpoint %d at %d, want %d at %d", target, got, n, row.want, row.location)
			}
		}
	}
}

func TestClassifyTwoSpellingsOfOnePath(t *testing.T) {
	for range 20 { // the order of a map must not matter
		c := newClassifier(map[string]target{"/a": {endpointRevocation, 1}, "/A": {endpointToken, 2}, "/%61/": {endpointDevice, 3}})
		if got, n := c.classify(spelled(t, "/a")); got != endpointToken || n != 2 {
			t.Fatalf("endpoint %d at %d", got, n)
		}
	}
}

func TestClassifyReplace(t *testing.T) {
	c := newClassifier(testTable)
	c.replace(map[string]target{"/new": {endpointToken, 7}})
	if got, _ := c.classify(spelled(t, "/realms/x/token")); got != endpointNone {
		t.Error("the old table is still there")
	}
	if got, n := c.classify(spelled(t, "/new")); got != endpointToken || n != 7 {
		t.Error("the new table is not there")
	}
}

func TestClassifyPlainPathsWithoutMemory(t *testing.T) {
	c := newClassifier(testTable)
	for _, target := range []string{"/realms/x/token", "/resources/AbC/Login.js?x=1", "/realms/x/protocol/openid-connect/certs"} {
		r := spelled(t, target)
		if n := testing.AllocsPerRun(100, func() { c.classify(r) }); n != 0 {
			t.Errorf("%s: %v allocations", target, n)
		}
	}
}

// A path of 64 KiB must not cost more than its length.
func TestClassifyHostilePathsInLinearTime(t *testing.T) {
	c := newClassifier(testTable)
	for name, path := range map[string]string{
		"nested escapes": "/%" + strings.Repeat("25", 32<<10), "slashes": strings.Repeat("/", 64<<10), "dots": strings.Repeat("/..", 20<<10),
		"deep and up": strings.Repeat("/a", 10<<10) + strings.Repeat("/%2e.", 10<<10), "parameters": strings.Repeat("/;", 32<<10),
	} {
		r := spelled(t, path)
		start := worked(t)
		c.classify(r)
		if d := worked(t) - start; d > 3*time.Second { // 5 ms; quadratic is minutes
			t.Errorf("%s: %v", name, d)
		}
	}
}

// worked is the time that this process has worked, whatever else the machine does.
func worked(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/a//b/../%2e%2e/c;d/", "/%2525%32%35", `\..\a`, "/;/..;x/%3b", "/%00", "/%5%63", "..", "/%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := canonicalPath(s)
		if once == "" || once[0] != '/' {
			t.Fatalf("%q: %q is no path", s, once)
		}
		if twice := canonicalPath(once); twice != once {
			t.Errorf("%q: %q, then %q", s, once, twice)
		}
		for _, bad := range []string{"//", "/../", "/./", ";", "\\", "?", "#", "\x00"} {
			if strings.Contains(once+"/", bad) && once != "/" {
				t.Errorf("%q: %q contains %q", s, once, bad)
			}
		}
		var folded [256]byte
		if n, plain := foldPlain(folded[:], s); plain && string(folded[:n]) != once {
			t.Errorf("%q: fast %q, slow %q", s, folded[:n], once)
		}
	})
}

// FuzzSpellings: no way of spelling the token endpoint slips past.
func FuzzSpellings(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add([]byte{255, 254, 253, 7, 7, 7, 6, 6, 6, 1, 200, 100, 50})
	c := newClassifier(testTable)
	f.Fuzz(func(t *testing.T, dice []byte) {
		next := func(n int) int {
			if len(dice) == 0 {
				return 0
			}
			d := int(dice[0]) % n
			dice = dice[1:]
			return d
		}
		escape := func(c byte) string {
			s := string(c)
			for range next(4) {
				s = strings.ReplaceAll(s, "%", "%25")
				if len(s) == 1 {
					s = fmt.Sprintf([]string{"%%%02x", "%%%02X"}[next(2)], c)
				}
			}
			return s
		}
		path := ""
		for _, segment := range []string{"realms", "x", "token"} {
			path += []string{"/", "//", "/./", "/a/../", "/%2e/", "/b;c/..;d/", "/%2F", "/%5c", `/\`}[next(9)]
			for i := range len(segment) {
				b := segment[i]
				if next(4) == 1 {
					b -= 'a' - 'A'
				}
				path += escape(b)
			}
			path += []string{"", ";", ";a=b", "%3bx", "%253B"}[next(5)]
		}
		path += []string{"", "/", "//", "/.", "/a/..", "%2f", "%00"}[next(7)]
		if got, _ := c.classify(spelled(t, path)); got != endpointToken {
			t.Errorf("%s: endpoint %d", path, got)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	c := newClassifier(testTable)
	for _, target := range []string{"/realms/x/token", "/resources/abc/login/theme/css/login.css", "/realms/x/%74oken"} {
		r := spelled(b, target)
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.classify(r)
			}
		})
	}
}
