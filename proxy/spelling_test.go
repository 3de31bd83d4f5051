package proxy

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// Paths that are the token endpoint for some upstreams, and another endpoint, or
// none, for others.
func TestTokenEndpointBehindAnotherPath(t *testing.T) {
	r := newRig(t, policy(ortengine.Policy{OnlineOnly: []string{"spa"}}))
	a := r.app().login()
	r.does(func(w http.ResponseWriter, _ *http.Request, _ string) { // the token endpoint, wherever it is looked for
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"AT","refresh_token":"R-of-the-upstream"}`)
	})
	before := r.count()
	for _, path := range []string{
		"/token;%2f..%2fpage", "/token;%2f..%2fuserinfo", "/token%3b%252f..%252fjwks", "/token;/page", "/token;/../userinfo",
		"/userinfo%3F/../token", "/jwks%00/../token", "/.well-known/openid-configuration%23/../../token", "/page%3F/../token", "/logout%3F/../token", "/logout/%23/../../token",
	} {
		if got := text(r.do(http.MethodPost, path, "grant_type=password&client_id=spa")); strings.Contains(got, "R-of-the-upstream") {
			t.Errorf("%s: the upstream's refresh token is in the answer", path)
		}
		asked := r.count()
		r.do(http.MethodPost, path, "grant_type=x&client_id=spa&subject_token="+a.ort)
		if r.count() != asked {
			t.Errorf("%s: an ORT reached the upstream: %+v", path, r.last())
		}
	}
	if r.count() == before {
		t.Error("nothing reached the upstream")
	}
}

// The end-session endpoint lets dead login cookies pass. No other path does by
// looking like one below it.
func TestDeadLoginCookiesBehindTheEndSessionEndpoint(t *testing.T) {
	r, _, b, a := logoutRig(t)
	r.do(http.MethodPost, "/revoke", url.Values{"token": {a.ort}, "client_id": {"spa"}}.Encode())
	dead := "idp=" + b.cookies[proxytest.LoginCookie]
	for _, path := range []string{
		"/logout//../page", "/logout%3F/../page", "/logout%00/../page", "/logout;%2f..%2fpage", `/logout/a\..\..\page`, "/logout%3F/../authorize?scope=openid", "/logout/a%23/../../authorize?scope=openid",
	} {
		before := r.count()
		r.do(http.MethodGet, path, "", "Cookie", dead)
		if r.count() != before && r.last().header.Get("Cookie") != "" {
			t.Errorf("%s: the upstream got %q", path, r.last().header.Get("Cookie"))
		}
	}
}
