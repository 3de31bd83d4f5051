package proxy

import (
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// RFC 6749 section 3.2: what is no POST gets no token.
func TestOtherMethodsAtEndpointsForPosts(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/token", "/device", "/par"} {
		before := r.count()
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"} {
			resp := r.do(method, path+"?grant_type=authorization_code&code=c&client_id=spa&scope=online_access", "")
			if resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST, OPTIONS" || r.count() != before {
				t.Errorf("%s %s: %d, Allow %q, %d went up", method, path, resp.StatusCode, resp.Header.Get("Allow"), r.count()-before)
			}
		}
		if resp := r.do("OPTIONS", path, "", "Origin", good, requestMethod, "POST"); r.count() != before+1 {
			t.Errorf("a preflight of %s: %d", path, resp.StatusCode)
		}
		before = r.count()
		r.refused(r.do("OPTIONS", path, "grant_type=x"), before, 405, "invalid_request")
		r.refused(r.do("GET", path+"?refresh_token=ORT1.x", ""), before, 400, "invalid_request")
	}
	before := r.count()
	for _, path := range []string{"/revoke", "/introspect"} {
		r.refused(r.do("GET", path, "token=ORT1.x"), before, 405, "invalid_request")
		r.refused(r.do("GET", path+"?token=ORT1.x", ""), before, 400, "invalid_request")
		if resp := r.do("GET", path, ""); resp.StatusCode != 200 {
			t.Errorf("a plain GET of %s: %d", path, resp.StatusCode)
		}
		before = r.count()
	}
}

// Behind some upstreams a header field says the method, and CGI knows no - in it.
func TestMethodOverrides(t *testing.T) {
	r := newRig(t)
	a := r.app()
	query := a.authorize().Encode()
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override", "x-http_method", "X_Method-Override"} {
		for _, target := range []string{"/authorize?" + query, "/authorize?scope=openid", "/token", "/revoke"} {
			for _, method := range []string{"GET", "OPTIONS"} {
				resp := r.do(method, target, "", name, "POST")
				if resp.StatusCode != 405 || r.count() != 0 {
					t.Errorf("%s %s, %s: %d, %d went up", method, target, name, resp.StatusCode, r.count())
				}
			}
		}
	}
	if resp := r.do("GET", "/authorize?"+query, "", "X-HTTP-Method-Override", "get"); resp.StatusCode != 302 {
		t.Errorf("a field that changes nothing: %d", resp.StatusCode)
	}
}

func TestOtherMethodsAtTheAuthorizationEndpoint(t *testing.T) {
	r := newRig(t, policy(ortengine.Policy{OnlineOnly: []string{"spa"}}))
	query := r.app().authorize().Encode()
	for _, row := range []struct{ method, query, body string }{
		{"PUT", query, ""}, {"PATCH", query, ""}, {"DELETE", query, ""}, {"PUT", "scope=openid", ""}, {"PUT", "", query},
		{"OPTIONS", query, ""}, {"OPTIONS", "client_id=spa&scope=offline_access", ""}, {"OPTIONS", "", query},
		{"GET", "", query}, {"HEAD", "", query}, {"GET", "client_id=spa", "scope=offline_access"},
		{"GET", query, "code_challenge=" + challengeOf("other")}, {"GET", "client_id=spa&scope=openid", "x=y"},
	} {
		resp := r.do(row.method, "/authorize?"+row.query, row.body)
		if resp.StatusCode != 405 && resp.StatusCode != 400 || r.count() != 0 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s %s %s: %d, %d went up", row.method, row.query, row.body, resp.StatusCode, r.count())
		}
	}
	for _, row := range []struct{ method, query, body string }{{"OPTIONS", "client_id=spa", ""}, {"GET", "client_id=other&scope=offline_access", "x=y"}, {"HEAD", "client_id=other", ""}} {
		r.do(row.method, "/authorize?"+row.query, row.body)
		if got := r.last(); got.method != row.method || got.query != row.query || got.body != row.body {
			t.Errorf("%+v: the upstream got %+v", row, got)
		}
	}
}

// A request is the query or the body: what the one has of it the other may only
// repeat, for some upstreams put both together.
func TestRequestsSplitBetweenQueryAndBody(t *testing.T) {
	const plain = "client_id=spa&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback&response_type=code&state=s"
	full := func(r *rig) string { return r.app().authorize().Encode() }
	for _, row := range []struct{ name, query, body string }{
		{"a challenge beside it", "%F", "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
		{"another client", "%F", "client_id=other"},
		{"a resource", "%F", "resource=urn:x"},
		{"a thumbprint", "%F", "dpop_jkt=" + strings.Repeat("A", 43)},
		{"a request object", "%F", "request=eyJ"},
		{"another scope", "%F", "scope=openid"},
		{"a lookalike", "%F", "Code_Challenge=x"},
		{"a challenge in the query", "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "%F"},
		{"a client in the query", "client_id=other", "%F"},
		{"a lookalike in the query", "client.id=other", "%F"},
		{"a body that cannot be read", "%F", "a=%zz"},
		{"a query that cannot be read", "a=%zz", "%F"},
		{"the scope alone", plain + "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256", "scope=openid+online_access"},
		{"the client alone", "client_id=spa", "scope=openid+online_access&response_type=code&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
		{"of an online-only client", "client_id=only&scope=openid", "response_type=code&code_challenge=x"},
		{"of an online-only client, another scope", "client_id=only&scope=openid", "client_id=only&scope=email"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, policy(ortengine.Policy{OnlineOnly: []string{"only"}}))
			query, body := strings.ReplaceAll(row.query, "%F", full(r)), strings.ReplaceAll(row.body, "%F", full(r))
			if resp := r.do("POST", "/authorize?"+query, body); resp.StatusCode != 400 || r.count() != 0 {
				t.Errorf("%d, %d went up", resp.StatusCode, r.count())
			}
			if n := r.store.Stats().Transactions; n != 0 {
				t.Errorf("%d transactions stand", n)
			}
		})
	}
}

// A login form that repeats the rewritten request asks for nothing.
func TestFormsThatRepeatTheRequest(t *testing.T) {
	for _, p := range []ortengine.Policy{{}, {OnlineOnly: []string{"spa"}}} {
		r := newRig(t, policy(p))
		query := r.app().authorize().Encode()
		r.do("GET", "/authorize?"+query, "")
		sent := r.last().query
		for _, form := range []struct{ query, body string }{
			{query, "username=alice&" + sent}, {query, "client_id=spa&state=another&username=alice"}, {query, query}, {sent, sent}, {sent, "username=alice&password=" + onlineAccess[:6]}, {"", sent},
		} {
			r.do("POST", "/authorize?"+form.query, form.body)
			got := r.last()
			if got.method != "POST" || form.query != "" && got.query != sent || strings.Contains(got.body, onlineAccess) {
				t.Errorf("%+v: the upstream got %+v", form, got)
			}
		}
	}
}

// An ORT in the body of what is no POST goes nowhere either.
func TestORTsInBodiesAtTheEndSessionEndpoint(t *testing.T) {
	r := newRig(t)
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"} {
		if resp := r.do(method, "/logout", "refresh_token=ORT1.x"); resp.StatusCode != 400 || r.count() != 0 {
			t.Errorf("%s: %d, %d went up", method, resp.StatusCode, r.count())
		}
	}
	r.do("GET", "/logout", "a=b")
	if got := r.last(); got.method != "GET" || got.body != "a=b" {
		t.Errorf("a body without one: %+v", got)
	}
}
