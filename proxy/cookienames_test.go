package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// A dead login cookie does not come up in another spelling that some upstream takes for the same (Keycloak does each of
// the first four), at no endpoint, and other cookies stay as they are.
func TestDeadLoginCookiesInEverySpelling(t *testing.T) {
	r, _, b, a := logoutRig(t)
	value := b.cookies[proxytest.LoginCookie]
	r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode())
	for _, dead := range []string{
		`idp="` + value + `"`, "idp =" + value, "idp= " + value, "x=1, idp=" + value,
		"idp=" + percent(value), `idp="\` + value + `"`, `idp="` + octal(value) + `"`, "IDP=" + value, "%69dp=" + value,
		"idp\xa0=" + value, "$Version=1; idp=" + value + "; $Path=/",
	} {
		r.do(http.MethodGet, "/page", "", "Cookie", "a=1; "+dead+`; b="2, 3"`)
		got := r.last().header.Get("Cookie")
		if strings.Contains(got, value[1:]) || strings.Contains(strings.ToLower(got), "dp") || !strings.HasPrefix(got, "a=1;") || !strings.HasSuffix(got, `; b="2, 3"`) {
			t.Errorf("%q: the upstream got %q", dead, got)
		}
	}
	for _, alive := range []string{"idp=" + value + "x", "idp=" + value[1:], `idp="x, ` + value + `"`, "sidp=" + value, "idpx=" + value, "idp.x=" + value} {
		r.do(http.MethodGet, "/page", "", "Cookie", "a=1; "+alive)
		if got := r.last().header.Get("Cookie"); got != "a=1; "+alive {
			t.Errorf("%q: the upstream got %q", alive, got)
		}
	}
}

// What some upstreams only would read as a login cookie may be dead, but is nobody's login.
func TestLoginCookiesBehindACommaAreNobodysLogin(t *testing.T) {
	l := loginCookies{names: []string{"idp"}}
	for cookie, want := range map[string]int{"idp=v": 1, `idp="v"`: 1, "a=1,idp=v": 0, "a=1; b=2, idp=v": 0} {
		found := l.in(http.Header{"Cookie": {cookie}})
		if got := hashes(found); len(found) != 1 || len(got) != want {
			t.Errorf("%q: %d found, %d of a login, want 1 and %d", cookie, len(found), len(got), want)
		}
	}
}

// percent and octal escape the first byte, as Node's and Python's readers undo it.
func percent(s string) string { return fmt.Sprintf("%%%02x%s", s[0], s[1:]) }
func octal(s string) string   { return fmt.Sprintf(`\%03o%s`, s[0], s[1:]) }

// Scripts of the identity provider's own pages send cookies to these endpoints too.
func TestDeadLoginCookiesAtEndpointsForPosts(t *testing.T) {
	r, _, b, a := logoutRig(t)
	dead := "idp=" + b.cookies[proxytest.LoginCookie]
	r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode())
	for _, path := range []string{"/token", "/revoke", "/introspect", "/par", "/device"} {
		r.do(http.MethodPost, path, "grant_type=client_credentials&client_id=web&token=x", "Cookie", "a=1; "+dead)
		if got := r.last(); got.path != path || got.header.Get("Cookie") != "a=1" {
			t.Errorf("%s: the upstream got %q at %s", path, got.header.Get("Cookie"), got.path)
		}
	}
}

func TestLoginCookiesThatAreSetAtEndpointsForPosts(t *testing.T) {
	r, _, b, a := logoutRig(t)
	well := r.answer
	r.says(200, "{}", "Set-Cookie", "idp=renewed; Path=/")
	r.do(http.MethodPost, "/introspect", "client_id=web&token=x", "Cookie", "idp="+b.cookies[proxytest.LoginCookie])
	r.does(well)
	r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode())
	r.do(http.MethodGet, "/page", "", "Cookie", "idp=renewed")
	if got := r.last().header.Get("Cookie"); got != "" {
		t.Errorf("a renewal of the ended session's went up: %q", got)
	}
}

// What is too long for a browser comes in pieces, and the cookie that counts them is the same for every user.
func TestLoginCookiesInPieces(t *testing.T) {
	for name, pieces := range map[string]func(string) []string{
		"ASP.NET":    func(v string) []string { return []string{"idp=chunks-2", "idpC1=" + v, "idpC2=end"} },
		"JavaScript": func(v string) []string { return []string{"idp.0=" + v, "idp.1=end"} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			a := r.app()
			var lines []string
			for _, p := range pieces("alices") {
				lines = append(lines, "Set-Cookie", p+"; Path=/")
			}
			state := a.authorize().Get("state")
			r.says(302, "", append(lines, "Location", redirect+"?code=c1&state="+state)...)
			a.code()
			r.does(nil)
			a.with("c1")
			alice, bob := strings.Join(pieces("alices"), "; "), strings.Join(pieces("bobs"), "; ")

			r.says(200, "bye", "Set-Cookie", strings.Split(pieces("")[0], "=")[0]+"=; Max-Age=0")
			r.do(http.MethodGet, "/logout", "", "Cookie", bob)
			r.does(nil)
			r.is("alice's ORT after bob's logout", a.exchange(), 200)

			r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode())
			for cookie, want := range map[string]string{alice + "; a=1": "a=1", bob + "; a=1": bob + "; a=1"} {
				r.do(http.MethodGet, "/page", "", "Cookie", cookie)
				if got := r.last().header.Get("Cookie"); got != want {
					t.Errorf("of %q the upstream got %q", cookie, got)
				}
			}
		})
	}
}

// How upstreams write that a cookie is over.
func TestCookiesThatAreOver(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	l := &loginCookies{names: []string{"idp", "idp2"}, now: func() time.Time { return now }}
	for line, over := range map[string]bool{
		"idp=": true, `idp=""`: true, "idp=x; Max-Age=0": true, "idp=x; max-age=-1; Expires=Thu, 01 Jan 2099 00:00:00 GMT": true,
		"idp=deleted; Expires=Thu, 01 Jan 1970 00:00:00 GMT":    true,
		"idp=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT":    true,
		"idp=deleted; Expires=Thursday, 01-Jan-70 00:00:00 GMT": true,
		"idp=x": false, "idp=x; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT": false,
		"idp=x; Expires=Wed, 25-Nov-2026 00:00:00 GMT": false, "idp=x; Expires=soon": false,
	} {
		set, expired := l.setBy(http.Header{"Set-Cookie": {line}})
		if expired != over || (len(set) == 1) == over {
			t.Errorf("%s: set %v, over %v", line, set, expired)
		}
	}
	set, _ := l.setBy(http.Header{"Set-Cookie": {"idp=a; Path=/", "idp2=b", "other=c", "idpC2=rest", "idp=chunks-3"}})
	if want := []sessions.CookieHash{sessions.HashLoginCookie("idp", "a"), sessions.HashLoginCookie("idp2", "b")}; len(set) != 2 || set[0] != want[0] || set[1] != want[1] {
		t.Errorf("several cookies: %v", set)
	}
}
