package proxy

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

var onlySPA = policy(ortengine.Policy{OnlineOnly: []string{"spa"}})

// However a client in ORT_ONLINE_ONLY_CLIENTS spells it, no upstream reads
// offline_access in its request: it is taken out, or the request is refused.
func TestOfflineAccessOfOnlineOnlyClients(t *testing.T) {
	const rest = "&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback&response_type=code&state=s"
	const client = "client_id=spa"
	many := strings.Repeat("&a=b", 1001)
	for _, row := range []struct {
		name, query, body string
		want              string // "": 400, and nothing reaches the upstream
	}{
		{"plain", client + rest + "&scope=openid+offline_access", "", client + rest + "&scope=openid"},
		{"escaped", client + rest + "&scope=openid+%6Fffline%5faccess", "", client + rest + "&scope=openid"},
		{"behind a tab", client + rest + "&scope=openid%09offline_access", "", client + rest + "&scope=openid"},
		{"two scopes", client + rest + "&scope=offline_access&scope=offline_access", "", client + rest + "&scope="},
		{"a scope whose name goes on stays", client + rest + "&scope=urn:offline_access+offline_accessible", "", client + rest + "&scope=urn:offline_access+offline_accessible"},
		{"a state that says it stays", client + rest + "&nonce=offline_access&scope=openid", "", client + rest + "&nonce=offline_access&scope=openid"},
		{"a bad escape", client + rest + "&scope=openid+offline_access&x=%zz", "", ""},
		{"a bad escape in it", client + rest + "&scope=openid+offline_access+%zz", "", ""},
		{"too many parameters", client + rest + "&scope=openid+offline_access" + many, "", ""},
		{"commas", client + rest + "&scope=openid,offline_access", "", ""},
		{"escaped twice", client + rest + "&scope=openid+offline%255Faccess", "", ""},
		{"another case", client + rest + "&scope=openid+Offline_Access", "", ""},
		{"a NUL behind it", client + rest + "&scope=openid+offline_access%00", "", ""},
		{"the name in another case", client + rest + "&Scope=offline_access", "", ""},
		{"the name with brackets", client + rest + "&scope[]=offline_access", "", ""},
		{"the name with a NUL", client + rest + "&scope%00=offline_access", "", ""},
		{"the name behind a semicolon", client + rest + "&x=y;scope=offline_access", "", ""},
		{"a client named twice", "client_id=other&" + client + rest + "&scope=offline_access", "", "client_id=other&" + client + rest},
		{"a client's name in another case", "client_id=other&Client_ID=spa" + rest + "&scope=offline_access", "", "client_id=other&Client_ID=spa" + rest},
		{"a client's name escaped twice", "client_id=sp%2561" + rest + "&scope=offline_access", "", "client_id=sp%2561" + rest},
		{"no client", "x=y" + rest + "&scope=offline_access", "", "x=y" + rest},
		{"client in the query, scope in the body", client, "scope=openid+offline_access" + rest, ""},
		{"scope in the query, client in the body", "scope=openid+offline_access", client + rest, ""},
		{"a body that cannot be read", client, "scope=offline_access&x=%zz", ""},
		{"a body of too many parameters", client, "scope=offline_access" + many, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, onlySPA)
			method := http.MethodGet
			if row.body != "" {
				method = http.MethodPost
			}
			resp := r.do(method, "/authorize?"+row.query, row.body)
			if row.want == "" {
				if resp.StatusCode != 400 || r.count() != 0 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
					t.Errorf("%d, %d went up", resp.StatusCode, r.count())
				}
				return
			}
			if got := r.last(); got.query+got.body != row.want {
				t.Errorf("the upstream got %s %s, want %s", got.query, got.body, row.want)
			}
		})
	}
}

// Another client's requests keep every byte, and so do all where the list is empty.
func TestOfflineAccessOfOtherClientsStays(t *testing.T) {
	r := newRig(t, onlySPA)
	for _, query := range []string{
		"client_id=other&scope=offline_access&x=%zz", "client_id=other&scope=a,offline_access", "client_id=other&Scope=offline_access&scope=openid",
	} {
		r.do("GET", "/authorize?"+query, "")
		if got := r.last().query; got != query {
			t.Errorf("%s: the upstream got %s", query, got)
		}
		r.do("POST", "/authorize?client_id=other&theme=dark", query)
		if got := r.last(); got.body != query {
			t.Errorf("%s: the upstream got %s", query, got.body)
		}
	}
	r = newRig(t)
	r.do("GET", "/authorize?client_id=spa&scope=offline_access&x=%zz", "")
	if got := r.last().query; got != "client_id=spa&scope=offline_access&x=%zz" {
		t.Errorf("without a list: %s", got)
	}
}

// A second challenge makes no repeated request of the gateway's own of it.
func TestRepeatedRequestsOfOnlineOnlyClients(t *testing.T) {
	r := newRig(t, onlySPA)
	r.do("GET", "/authorize?"+r.app().authorize().Encode(), "")
	sent := r.last().query
	for _, more := range []string{"&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "&Code_Challenge=x", "&code_challenge%5B%5D=x"} {
		r.do("GET", "/authorize?"+sent+more, "")
		if got := r.last().query; strings.Contains(got, offlineAccess) {
			t.Errorf("%s: the upstream got %s", more, got)
		}
	}
}

func TestPushesAndDeviceRequestsOfOnlineOnlyClients(t *testing.T) {
	for _, path := range []string{"/par", "/device", "/token"} {
		r := newRig(t, onlySPA)
		basic := func(user string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":s")) }
		for _, header := range []string{"", basic("spa"), basic("sp%61")} {
			body := "grant_type=password&scope=openid+offline_access&client_id=spa"
			if header != "" {
				body = strings.TrimSuffix(body, "&client_id=spa")
			}
			r.do("POST", path, body, "Authorization", header)
			if got := r.last().body; strings.Contains(got, offlineAccess) {
				t.Errorf("%s %s: the upstream got %s", path, header, got)
			}
		}
		before := r.count()
		for _, scope := range []string{"openid,offline_access", "Offline_Access", "offline%255faccess"} {
			r.refused(r.do("POST", path, "client_id=spa&grant_type=password&scope="+scope), before, 400, "invalid_request")
		}
	}
}

// What names a client in a form that the gateway cannot read, the upstream might.
func TestClientAuthenticationThatCannotBeRead(t *testing.T) {
	encode := base64.StdEncoding.EncodeToString
	for _, authorization := range []string{
		"Basic " + base64.RawStdEncoding.EncodeToString([]byte("spa:x")), "Basic  " + encode([]byte("spa:x")), "Basic", "Basic\t" + encode([]byte("spa:x")),
		"basic " + base64.RawStdEncoding.EncodeToString([]byte("spa:x")), "BASIC " + encode([]byte("spa")), "Basic " + encode([]byte(":x")), "Basic " + encode([]byte("spa:x")) + "=",
	} {
		for _, path := range []string{"/token", "/par", "/device", "/revoke", "/introspect"} {
			r := newRig(t, onlySPA)
			resp := r.do("POST", path, "grant_type=password&token=t", "Authorization", authorization)
			r.refused(resp, 0, 401, "invalid_client")
			if resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: a 401 without WWW-Authenticate", authorization)
			}
		}
	}
	r := newRig(t, onlySPA)
	for _, assertion := range []string{"x", "e30.e30.x", "a.b", "e30.eyJzdWIiOjF9.x"} {
		r.refused(r.do("POST", "/token", "grant_type=password&client_assertion="+assertion), 0, 401, "invalid_client")
		r.refused(r.do("POST", "/token", "grant_type=password&client_id=spa&client_assertion_type="+jwtAssertion+"&client_assertion="+assertion), 0, 401, "invalid_client")
	}
	r.do("POST", "/token", "grant_type=password&client_assertion=PHNhbWw&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:saml2-bearer")
	if r.count() != 1 {
		t.Error("an assertion of another type does not pass")
	}
	for _, authorization := range []string{"Bearer x", "Negotiate abc", "DPoP x", "basic " + encode([]byte("other:x"))} {
		if resp := r.do("POST", "/token", "grant_type=password", "Authorization", authorization); resp.StatusCode != 200 {
			t.Errorf("%s: %d", authorization, resp.StatusCode)
		}
	}
}

// No answer of the token endpoint brings such a client the upstream's own refresh
// token, whoever it says it is.
func TestTokenAnswersOfOnlineOnlyClients(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("a+b:s"))
	for _, row := range []struct {
		name, body string
		header     []string
		stays      bool
	}{
		{"named", "client_id=spa&grant_type=%G", nil, false},
		{"not named", "grant_type=%G", nil, false},
		{"not named, with another scheme", "grant_type=%G", []string{"Authorization", "Bearer x"}, false},
		{"a name that the upstream does not decode", "grant_type=%G", []string{"Authorization", basic}, false},
		{"in another case, for a database that knows none", "client_id=SPA+&grant_type=%G", nil, false},
		{"another client", "client_id=other&grant_type=%G", nil, true},
	} {
		for _, grant := range []string{"authorization_code", "refresh_token", "password", "urn:ietf:params:oauth:grant-type:token-exchange"} {
			r := newRig(t, policy(ortengine.Policy{OnlineOnly: []string{"spa", "a+b"}}))
			resp := r.do("POST", "/token", strings.ReplaceAll(row.body, "%G", grant)+"&code=c&refresh_token=R", row.header...)
			if body := text(resp); resp.StatusCode != 200 || strings.Contains(body, "R-of-the-upstream") != row.stays {
				t.Errorf("%s, %s: %d %s", row.name, grant, resp.StatusCode, body)
			}
		}
	}
}
