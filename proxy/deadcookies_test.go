package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// ended is a browser whose session was revoked, and its dead login cookie.
func ended(t *testing.T) (r *rig, idp *proxytest.IdP, dead string) {
	t.Helper()
	r, idp, b, a := logoutRig(t)
	r.is("revocation", r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode()), 200)
	return r, idp, b.cookies[proxytest.LoginCookie]
}

// goesUp is the Cookie field of a request as the upstream gets it.
func (r *rig) goesUp(method, target, body, cookie string) string {
	r.t.Helper()
	before := r.count()
	resp := r.do(method, target, body, "Cookie", cookie, "Origin", good, "Access-Control-Request-Method", http.MethodPost)
	if r.count() != before+1 {
		r.t.Fatalf("%s %s: %d %s; %d requests went up", method, target, resp.StatusCode, text(resp), r.count()-before)
	}
	return strings.Join(r.last().header["Cookie"], "; ")
}

// A dead login cookie goes up at no endpoint, also not at those whose answer is read
// whole, and in no spelling that an upstream may read as the same.
func TestDeadLoginCookiesGoUpNowhere(t *testing.T) {
	r, _, dead := ended(t)
	r.wellKnown = func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.asked = append(r.asked, asked{header: q.Header.Clone()})
		r.mu.Unlock()
		http.NotFound(w, q)
	}
	for _, q := range [][3]string{
		{"POST", "/token", "grant_type=client_credentials&client_id=spa"}, {"POST", "/revoke", "token=x&client_id=spa"},
		{"POST", "/introspect", "token=x&client_id=spa"}, {"POST", "/par", "client_id=spa"}, {"POST", "/device", "client_id=spa"},
		{"OPTIONS", "/token", ""}, {"GET", "/.well-known/openid-configuration", ""}, {"GET", "/userinfo", ""}, {"GET", "/page", ""},
	} {
		if got := r.goesUp(q[0], q[1], q[2], "a=1; idp="+dead+"; b=2"); got != "a=1; b=2" {
			t.Errorf("%s %s: the upstream got %q", q[0], q[1], got)
		}
	}
	for _, spelled := range []string{"idp =" + dead, "idp= " + dead, `idp="` + dead + `"`, " idp\t=\t\"" + dead + `" `} {
		if got := r.goesUp("GET", "/page", "", "a=1; "+spelled+"; b=2"); got != "a=1; b=2" {
			t.Errorf("%q: the upstream got %q", spelled, got)
		}
	}
	if got := r.goesUp("GET", "/page", "", "a=1; idp =alive; b=2"); got != "a=1; idp =alive; b=2" {
		t.Errorf("a cookie that is alive: the upstream got %q", got)
	}
}

// The answer of a token endpoint may renew a login cookie, or end it, as any other.
func TestLoginCookiesAtTheTokenEndpoint(t *testing.T) {
	r, _, b, a := logoutRig(t)
	well := r.answer
	r.says(200, `{"access_token":"AT"}`, "Set-Cookie", "idp=renewed; Path=/")
	r.goesUp("POST", "/token", "grant_type=client_credentials&client_id=spa", "idp="+b.cookies[proxytest.LoginCookie])
	r.does(well)
	r.is("revocation", r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode()), 200)
	if got := r.goesUp("GET", "/page", "", "idp=renewed"); got != "" {
		t.Errorf("the ended session's renewed cookie went up: %q", got)
	}
}
