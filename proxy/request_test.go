package proxy

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// Each endpoint whose bodies are read, and what is not passed there.
func TestBodiesThatAreRefusedEverywhere(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, path := range []string{"/token", "/revoke", "/introspect", "/par", "/device", ownRevocation} {
		for _, row := range []struct {
			name, target, body string
			header             []string
			status             int
		}{
			{"JSON", "", `{}`, []string{"Content-Type", "", "Content-Type", "application/json"}, 400},
			{"no type", "", `a=b`, []string{"Content-Type", ""}, 400},
			{"two types", "", `a=b`, []string{"Content-Type", "application/json"}, 400},
			{"another charset", "", `a=b`, []string{"Content-Type", "", "Content-Type", form + "; charset=iso-8859-1"}, 400},
			{"compressed", "", `a=b`, []string{"Content-Encoding", "gzip"}, 400},
			{"compressed, said second", "", `a=b`, []string{"Content-Encoding", "identity", "Content-Encoding", "br"}, 400},
			{"a repeated parameter", "", "client_id=a&client_id=a", nil, 400},
			{"a bad escape", "", "a=%zz", nil, 400},
			{"too many parameters", "", strings.Repeat("a=b&", 1001), nil, 400},
			{"parameters in the query", "?client_id=a", "a=b", nil, 400},
			{"parameters in the query, lookalike", "?Client.Id=a", "a=b", nil, 400},
			{"an ORT in the query", "?x=ORT1%2Ex", "a=b", nil, 400},
			{"more than 1 MiB", "", "a=" + strings.Repeat("x", 1<<20), nil, 413},
			{"named twice", "", "client_id=a", []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("b:s"))}, 400},
		} {
			t.Run(path+" "+row.name, func(t *testing.T) {
				r := newRig(t)
				resp := r.do(http.MethodPost, path+row.target, row.body, row.header...)
				r.refused(resp, 0, row.status, "invalid_request")
			})
		}
	}
}

func TestBodiesThatPass(t *testing.T) {
	r := newRig(t)
	for name, row := range map[string]struct {
		body   string
		header []string
	}{
		"charset UTF-8":             {"grant_type=x", []string{"Content-Type", "", "Content-Type", `application/x-www-form-urlencoded; charset="utf-8"`}},
		"another case":              {"grant_type=x", []string{"Content-Type", "", "Content-Type", `Application/X-WWW-Form-Urlencoded;charset=UTF-8`}},
		"identity":                  {"grant_type=x", []string{"Content-Encoding", "identity"}},
		"repeated resources":        {"grant_type=x&resource=a&audience=b&resource=c&audience=d", nil},
		"odd bytes":                 {"&&grant_type=x&=&b=%7e+%20&&c", nil},
		"exactly 1 MiB":             {"grant_type=" + strings.Repeat("x", 1<<20-len("grant_type=")), nil},
		"a thousand parameters":     {strings.TrimSuffix(strings.Repeat("=&", 1000), "&"), nil},
		"a query that says nothing": {"grant_type=x", []string{"X-Target", "/token?api-version=1&%zz"}},
	} {
		t.Run(name, func(t *testing.T) {
			target := "/token"
			if len(row.header) == 2 && row.header[0] == "X-Target" {
				target = row.header[1]
			}
			resp := r.do(http.MethodPost, target, row.body, row.header...)
			if resp.StatusCode != 200 || r.last().body != row.body || !strings.HasSuffix(target, r.last().query) {
				t.Errorf("%d, the upstream got %.80q %q", resp.StatusCode, r.last().body, r.last().query)
			}
		})
	}
}

// With the upstream gone or silent: 503 where clients come back, 502 elsewhere.
func TestUpstreamDownByEndpoint(t *testing.T) {
	r := newRig(t)
	login := r.app().login()
	r.impatient()
	hold := make(chan struct{})
	defer close(hold)
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, string){
		"gone": func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) }, "silent": func(http.ResponseWriter, *http.Request, string) { <-hold },
	} {
		t.Run(name, func(t *testing.T) {
			r.does(answer)
			for path, body := range map[string]string{"/token": "grant_type=x", "/revoke": "token=x", "/par": "client_id=x"} {
				r.unavailable(path, r.do(http.MethodPost, path, body))
			}
			r.unavailable("an ORT exchange", login.exchange())
			for _, q := range [][3]string{
				{"POST", "/introspect", "token=x"}, {"POST", "/device", "client_id=x"}, {"GET", "/userinfo", ""}, {"GET", "/jwks", ""},
				{"GET", "/authorize?scope=openid", ""}, {"GET", "/authorize?" + r.app().authorize().Encode(), ""}, {"OPTIONS", "/token", ""},
			} {
				if resp := r.do(q[0], q[1], q[2]); resp.StatusCode != 502 {
					t.Errorf("%s %s: %d, want 502", q[0], q[1], resp.StatusCode)
				}
			}
		})
	}
}

// Answers that are no JSON object pass where no token could be in them.
func TestAnswersThatAreNoObject(t *testing.T) {
	r := newRig(t)
	r.says(200, "<html>")
	r.is("token", r.do(http.MethodPost, "/token", "grant_type=x"), 502, "server_error")
	for path, body := range map[string]string{"/revoke": "token=x", "/introspect": "token=x", "/device": "client_id=x", "/par": "client_id=x"} {
		r.is(path, r.do(http.MethodPost, path, body), 200, "<html>")
	}
	r.says(400, "<html>")
	r.is("an error", r.do(http.MethodPost, "/token", "grant_type=x"), 400, "<html>")
}

func TestRequestIDs(t *testing.T) {
	for id, want := range map[string]string{
		"abc-1.2:3/4+5=6_Z": "abc-1.2:3/4+5=6_Z", "a b": "", "a\nb": "", "é": "", strings.Repeat("a", 128): strings.Repeat("a", 128), strings.Repeat("a", 129): "", "": "",
	} {
		if got := safeID(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

// Nothing of a request's secrets is in the log, whatever becomes of it.
func TestLogHoldsNoSecrets(t *testing.T) {
	r, _ := idpRig(t, nil, confidential("web"))
	a := r.app().login()
	r.do(http.MethodPost, "/token", url.Values{"grant_type": {"authorization_code"}, "code": {"SECRET-code"}, "code_verifier": {"SECRET-verifier"}, "client_id": {"spa"}}.Encode(), "DPoP", "SECRET-proof")
	r.do(http.MethodPost, "/token", "grant_type=refresh_token&refresh_token=ORT1.SECRET-ort&client_id=spa&client_secret=SECRET-secret", "DPoP", "SECRET-proof", "Cookie", "idp=SECRET-cookie")
	r.do(http.MethodPost, "/token", "SECRET=%zz")
	r.do(http.MethodGet, "/authorize?scope=online_access&state=SECRET-state&%zz", "")
	r.do(http.MethodGet, "/authorize?request_uri=urn:SECRET-uri&client_id=spa", "")
	r.do(http.MethodGet, "/_ort/session", "", "Authorization", "DPoP ORT1.SECRET-ort", "DPoP", "SECRET-proof")
	r.says(400, `{"error":"invalid_grant","error_description":"SECRET-description"}`)
	a.exchange()
	r.says(200, `SECRET-body`)
	r.app().login2()
	r.does(func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) })
	r.do(http.MethodGet, "/page;jsessionid=SECRET-session/a%3BSECRET?x=SECRET-query", "")
	if log := r.log.String(); !strings.Contains(log, "/page/a") {
		t.Errorf("the log has not whose answer was lost\n%s", log)
	}
	if log := r.log.String(); strings.Contains(log, "SECRET") || strings.Contains(log, "ORT1.") || !strings.Contains(log, "request refused") {
		t.Errorf("the log has\n%s", log)
	}
}

// login2 is a code exchange whatever comes of it.
func (a *app) login2() { a.redeem(a.visitedCode()) }

func (a *app) visitedCode() string { code, _ := a.visit(""); return code }

// A client is who the form, Basic and an assertion agree on.
func FuzzParseForm(f *testing.F) {
	f.Add("grant_type=x&client_id=a", "", "")
	f.Add("client_id=a", "Basic YTpi", "api=1")
	f.Add("client_assertion=e30.e30.&client_id=a", "Basic OjpiOg==", "ORT1%2e")
	r := &Gateway{}
	f.Fuzz(func(t *testing.T, body, authorization, query string) {
		req, _ := http.NewRequest(http.MethodPost, public+"/token", nil)
		req.URL.RawQuery = query
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		got, e := r.parseForm(req, &location{}, []byte(body))
		if e != nil {
			if e.Status != 400 && e.Code != ortengine.InvalidClient || strings.ContainsAny(e.Description, "\"\\") || body != "" && len(body) > 20 && strings.Contains(e.Description, body) {
				t.Errorf("refused with %+v", e)
			}
			return
		}
		if got.form.String() != body {
			t.Errorf("%q became %q", body, got.form.String())
		}
		if carriesORT(query) {
			t.Errorf("an ORT in the query %q", query)
		}
		want, err := url.ParseQuery(body)
		if err != nil {
			return // ; is ours, and not net/url's
		}
		for name, values := range want {
			if len(values) > 1 && name != "" && name != "resource" && name != "audience" {
				t.Errorf("%q is repeated in %q", name, body)
			}
		}
		if id := want.Get("client_id"); id != "" && got.client != id {
			t.Errorf("%q is of %q", body, got.client)
		}
	})
}

// What a stranger asks for waits for its code: its size is bounded.
func TestLongAuthorizationRequestsAreNotKept(t *testing.T) {
	r := newRig(t)
	a := r.app()
	if resp := r.do(http.MethodPost, "/authorize", a.authorize("resource", "urn:"+strings.Repeat("x", 5000)).Encode()); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a long resource: %d", resp.StatusCode)
	}
	if n := r.store.Stats().Transactions; n != 0 {
		t.Errorf("%d transactions wait", n)
	}
}

// An empty request object is none: the upstream reads on.
func TestEmptyRequestObjectHidesNothing(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"request", "request_uri"} {
		a := r.app()
		r.do(http.MethodGet, "/authorize?"+a.authorize().Encode()+"&"+name+"=", "")
		if q := r.last().query; strings.Contains(q, "online_access") || strings.Contains(q, challengeOf(a.verifier)) {
			t.Errorf("%s=: the upstream got %s", name, q)
		}
	}
}

func TestBodyNamesThatALenientUpstreamReadsAsOurs(t *testing.T) {
	r := newRig(t)
	a := r.app().login()
	for _, more := range []string{"&resource%5B%5D=urn:x", "&Resource=urn:x", "&Client_Id=other", "&client.id=other"} {
		r.refused(r.do(http.MethodPost, "/token", a.refreshForm().Encode()+more, "DPoP", a.proof("/token")), r.count(), 400, "invalid_request")
	}
}
