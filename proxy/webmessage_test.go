package proxy

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
)

// posted is what a page posts, and to which origin; empty where it is no such page.
func posted(t *testing.T, resp *http.Response) (message, origin string) {
	t.Helper()
	m := regexp.MustCompile(`\.postMessage\((\{.*\}), "([^"]*)"\);`).FindStringSubmatch(text(resp))
	if resp.StatusCode != http.StatusOK || m == nil {
		return "", ""
	}
	for name, want := range map[string]string{"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Location": "", "Cross-Origin-Opener-Policy": ""} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	return m[1], m[2]
}

// The code comes with the answer to a later request, after the login form.
func TestWebMessageAfterALoginForm(t *testing.T) {
	r := newRig(t, withAuth0(false))
	a := r.app()
	query := a.authorize("response_mode", "web_message", "state", "s'1")
	r.answer = func(w http.ResponseWriter, q *http.Request, _ string) {
		if q.URL.Path == "/login" {
			w.Header().Set("Location", redirect+"?code=c1&state=s%271&iss=https%3A%2F%2Fid.example")
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
			w.WriteHeader(http.StatusSeeOther)
			return
		}
		io.WriteString(w, "<form>")
	}
	resp := r.do(http.MethodGet, "/realms/r/auth?"+query.Encode(), "")
	for _, c := range resp.Cookies() {
		a.cookie = c.Name + "=" + c.Value
	}
	if body := text(resp); body != "<form>" || a.cookie == "" {
		t.Fatalf("the login form: %s %q", body, a.cookie)
	}
	message, origin := posted(t, r.do(http.MethodPost, "/login", "password=p", "Cookie", a.cookie))
	if message != `{"response":{"code":"c1","iss":"https://id.example","state":"s'1"},"type":"authorization_response"}` || origin != "https://app.example" {
		t.Errorf("%s to %s", message, origin)
	}
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ string) { io.WriteString(w, tokenAnswer("spa")) }
	proof := a.proof("/oauth/token")
	resp = r.do(http.MethodPost, "/oauth/token", a.codeForm("c1").Encode(), "DPoP", proof)
	if body := text(resp); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"ORT1.`) {
		t.Errorf("the code gave %d %s", resp.StatusCode, body)
	}
}

// Errors are posted too, those of the upstream and those of the gateway.
func TestWebMessageErrors(t *testing.T) {
	r := newRig(t, withAuth0(false))
	r.answer = func(w http.ResponseWriter, q *http.Request, _ string) {
		w.Header().Set("Location", redirect+"?error=login_required&state="+url.QueryEscape(q.URL.Query().Get("state")))
		w.WriteHeader(http.StatusFound)
	}
	for scope, want := range map[string]string{
		"openid":                              `{"response":{"error":"login_required","state":"s"},"type":"authorization_response"}`,
		"openid online_access offline_access": `{"response":{"error":"invalid_request","error_description":"Cannot request both online_access and offline_access scopes","iss":"https://id.example","state":"s"},"type":"authorization_response"}`,
	} {
		query := r.app().authorize("response_mode", "web_message", "scope", scope, "prompt", "none", "state", "s")
		message, origin := posted(t, r.do(http.MethodGet, "/realms/r/auth?"+query.Encode(), ""))
		if message != want || origin != "https://app.example" {
			t.Errorf("%s: %s to %s", scope, message, origin)
		}
	}
}

// Only the redirect_uri that the request named gets a message, and only once asked for.
func TestWebMessageGoesNowhereElse(t *testing.T) {
	r := newRig(t, withAuth0(false))
	to := redirect + "?code=c&state=s"
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
	a := r.app()
	ask := func(change ...string) *http.Response {
		return r.do(http.MethodGet, "/realms/r/auth?"+a.authorize(append([]string{"state", "s"}, change...)...).Encode(), "")
	}
	if resp := ask("response_mode", "web_message", "state", ""); resp.StatusCode != http.StatusBadRequest || r.count() != 0 {
		t.Errorf("without state: %d", resp.StatusCode)
	}
	if resp := ask("response_mode", "web_message", "redirect_uri", ""); resp.StatusCode != http.StatusBadRequest || r.count() != 0 {
		t.Errorf("without redirect_uri: %d", resp.StatusCode)
	}
	if message, _ := posted(t, ask("response_mode", "web_message")); message == "" {
		t.Error("no message")
	}
	if resp := ask("response_mode", "web_message", "redirect_uri", "https://evil.example/cb"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("another redirect_uri with that state: %d", resp.StatusCode)
	}
	for _, elsewhere := range []string{"https://other.example/callback?code=c&state=s", redirect + "/x?code=c&state=s", redirect + "?code=c&state=t", redirect + "?code=c"} {
		to = elsewhere
		if resp := r.do(http.MethodGet, "/somewhere", ""); resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != to {
			t.Errorf("a redirect to %s: %d", to, resp.StatusCode)
		}
	}
	to = redirect + "?code=c&state=s"
	plain := newRig(t)
	plain.answer = r.answer
	if resp := plain.do(http.MethodGet, "/authorize?"+plain.app().authorize("response_mode", "web_message", "state", "s").Encode(), ""); resp.StatusCode != http.StatusFound || !strings.Contains(plain.last().query, "response_mode=web_message") {
		t.Errorf("without the setting: %d, the upstream got %s", resp.StatusCode, plain.last().query)
	}
}

func TestWebMessagePushed(t *testing.T) {
	r := newRig(t, withAuth0(false))
	a := r.app()
	if resp := r.do(http.MethodPost, "/oauth/par", a.authorize("response_mode", "web_message", "state", "p").Encode()); resp.StatusCode != http.StatusCreated || !strings.Contains(r.last().body, "response_mode=query") {
		t.Fatalf("%d, the upstream got %s", resp.StatusCode, r.last().body)
	}
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Location", redirect+"?code=c&state=p")
		w.WriteHeader(http.StatusFound)
	}
	if message, _ := posted(t, r.do(http.MethodGet, "/realms/r/auth?client_id=spa&request_uri=urn%3Apar%3A1", "")); !strings.Contains(message, `"code":"c"`) {
		t.Errorf("posted %s", message)
	}
}

func FuzzMessagePage(f *testing.F) {
	f.Add("https://app.example/cb", "c</script><script>alert(1)</script>", "s'\"\\\u2028")
	f.Add("https://app.example;script-src *", "<!--", "")
	f.Add("http://[::1]:80/", "", "\x00\xff")
	f.Fuzz(func(t *testing.T, uri, code, state string) {
		params := &rewrite.Form{}
		params.Add("code", code)
		params.Add("state", state)
		page, header, ok := messagePage(uri, params)
		if !ok {
			return
		}
		body := strings.ToLower(string(page))
		if strings.Count(body, "<script") != 1 || strings.Count(body, "</script") != 1 || strings.Contains(body, "<!--") || strings.ContainsAny(body, "\u2028\u2029") {
			t.Errorf("%q", page)
		}
		if csp := header.Get("Content-Security-Policy"); strings.Count(csp, ";") != 4 || strings.ContainsAny(csp, ",\r\n") {
			t.Errorf("%q", csp)
		}
	})
}

// A store that is down holds up no login that asks for neither a message nor an ORT.
func TestWebMessageWithoutTheStore(t *testing.T) {
	r := newRig(t, withAuth0(false))
	r.answer = func(w http.ResponseWriter, q *http.Request, _ string) {
		w.Header().Set("Location", redirect+"?code=c&state=s")
		w.WriteHeader(http.StatusFound)
	}
	r.store.Close()
	if resp := r.do(http.MethodGet, "/realms/r/auth?"+r.app().authorize("scope", "openid", "state", "s").Encode(), ""); resp.StatusCode != http.StatusFound {
		t.Errorf("an ordinary login: %d %s", resp.StatusCode, text(resp))
	}
	if resp := r.do(http.MethodGet, "/realms/r/auth?"+r.app().authorize("scope", "openid", "state", "s", "response_mode", "web_message").Encode(), ""); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a message: %d %s", resp.StatusCode, text(resp))
	}
}
