package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// conflict is a request that the gateway refuses, so that the error has to go
// somewhere.
func (a *app) conflict(change ...string) *http.Response {
	q := a.authorize(append([]string{"scope", "online_access offline_access"}, change...)...)
	return a.do(http.MethodGet, "/authorize?"+q.Encode(), "")
}

func TestLeadsTo(t *testing.T) {
	for _, row := range []struct {
		location, uri string
		want          bool
	}{
		{"https://app/cb?code=1", "https://app/cb", true},
		{"https://app/cb#code=1", "https://app/cb", true},
		{"https://app/?code=1", "https://app", true},
		{"HTTPS://APP/cb?code=1", "https://app/cb", true},
		{"https://app/cb?a=b&code=1", "https://app/cb?a=b", true},
		{"com.example.app:/cb?code=1", "com.example.app:/cb", true},
		{"https://app/cb?a=bc&code=1", "https://app/cb?a=b", false},
		{"https://app/cb?code=1&a=b", "https://app/cb?a=b", false},
		{"https://app/cb/x?code=1", "https://app/cb", false},
		{"https://app/CB?code=1", "https://app/cb", false},
		{"https://app:8443/cb?code=1", "https://app/cb", false},
		{"http://app/cb?code=1", "https://app/cb", false},
		{"https://app.evil/cb?code=1", "https://app/cb", false},
		{"https://app@evil/cb?code=1", "https://app@evil/cb", false},
		{"https://user@app/cb?code=1", "https://app/cb", false},
		{"/cb?code=1", "/cb", false},
		{"//app/cb?code=1", "//app/cb", false},
		{"?code=1", "", false},
		{"https://app/cb?code=1", "https://app/cb#f", false},
		{"https://app/%63b?code=1", "https://app/cb", false},
		{"javascript:alert(1)?code=1", "javascript:alert(2)", false},
	} {
		if got := leadsTo(row.location, row.uri); got != row.want {
			t.Errorf("%s leads to %s: %v", row.location, row.uri, got)
		}
	}
}

// A redirect_uri is the client's for an hour after the upstream redirected there.
func TestOwnersAreRememberedForAnHour(t *testing.T) {
	var c clock
	r := newRig(t, by(&c))
	a := r.app()
	a.code()
	before := r.count()
	for range 3 {
		if resp := a.conflict(); resp.StatusCode != http.StatusFound || r.count() != before {
			t.Errorf("seen: %d, %d questions", resp.StatusCode, r.count()-before)
		}
	}
	c.pass(ownerLife)
	if resp := a.conflict(); resp.StatusCode != http.StatusFound || r.count() != before+1 {
		t.Errorf("an hour later: %d, %d questions", resp.StatusCode, r.count()-before)
	}
	if resp := a.conflict("client_id", "other"); resp.StatusCode != http.StatusFound || r.count() != before+2 {
		t.Errorf("another client: %d, %d questions", resp.StatusCode, r.count()-before)
	}
}

// What the upstream answers decides, and nothing that only looks like its consent.
func TestOwnersAreShownByTheUpstreamAlone(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, string){
		"an error page": func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(400) },
		"a login page":  func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(200) },
		"a redirect elsewhere": func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("Location", "https://id.example/error?error=x")
			w.WriteHeader(302)
		},
		"without parameters": func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("Location", redirect)
			w.WriteHeader(302)
		},
		"a Location in a 200": func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("Location", redirect+"?error=x")
			w.WriteHeader(200)
		},
		"a broken connection": func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.does(answer)
			if resp := r.app().conflict(); resp.StatusCode != 400 || resp.Header.Get("Location") != "" {
				t.Errorf("got %d %s", resp.StatusCode, resp.Header.Get("Location"))
			}
		})
	}
}

// Requests whose parameters another may read otherwise show nothing.
func TestOwnersAreNotLearnedFromAmbiguousRequests(t *testing.T) {
	r := newRig(t)
	r.says(302, "", "Location", "https://evil.example/?error=x")
	evil := "redirect_uri=" + url.QueryEscape("https://evil.example/")
	for _, query := range []string{
		"client_id=spa&client_id=evil&" + evil, "client_id=spa&client.id=evil&" + evil,
		"client_id=spa&request=eyJ&" + evil, "client_id=spa&request_uri=urn:x&" + evil, evil,
	} {
		r.do(http.MethodGet, "/authorize?"+query, "")
	}
	if n := len(r.owners.known.values); n != 0 {
		t.Errorf("%d owners were learned", n)
	}
}

func TestErrorsInTheClientsForm(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config, _ *ortengine.Config) {
		delete(r.meta, "authorization_response_iss_parameter_supported")
	})
	a := r.app()
	const want = "error=invalid_request&error_description=Cannot+request+both+online_access+and+offline_access+scopes"
	for name, row := range map[string]struct {
		change []string
		want   string
	}{
		"without iss where it is not advertised": {[]string{"state", "s"}, redirect + "?" + want + "&state=s"},
		"without a state":                        {[]string{"state", ""}, redirect + "?" + want},
		"fragment of a hybrid flow":              {[]string{"state", "", "response_type", "code id_token"}, redirect + "#" + want},
		"query where it is asked for":            {[]string{"state", "", "response_type", "code id_token", "response_mode", "query"}, redirect + "?" + want},
		"a query of its own":                     {[]string{"state", "", "redirect_uri", redirect + "?a=%7e"}, redirect + "?a=%7e&" + want},
		"a state that would break out":           {[]string{"state", "a\r\nX: y&error=z#"}, redirect + "?" + want + "&state=a%0D%0AX%3A+y%26error%3Dz%23"},
	} {
		t.Run(name, func(t *testing.T) {
			r.does(func(w http.ResponseWriter, q *http.Request, _ string) {
				to := q.URL.Query().Get("redirect_uri")
				w.Header().Set("Location", to+map[bool]string{true: "&", false: "?"}[strings.Contains(to, "?")]+"error=login_required")
				w.WriteHeader(302)
			})
			resp := a.conflict(row.change...)
			if got := resp.Header.Get("Location"); got != row.want || resp.StatusCode != 302 {
				t.Errorf("got %d %s\nwant %s", resp.StatusCode, got, row.want)
			}
		})
	}
	q := a.authorize("scope", "online_access offline_access")
	if resp := r.do(http.MethodPost, "/authorize", q.Encode()); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("a POST: %d, want 303", resp.StatusCode)
	}
	for _, mode := range []string{"form_post", "jwt", "query.jwt", "web_message", "x"} {
		if resp := a.conflict("response_mode", mode); resp.StatusCode != 400 || resp.Header.Get("Location") != "" {
			t.Errorf("response_mode %s: %d", mode, resp.StatusCode)
		}
	}
	if resp := a.conflict("client_id", ""); resp.StatusCode != 400 {
		t.Errorf("no client: %d", resp.StatusCode)
	}
}

func TestOwnersAreBounded(t *testing.T) {
	r := newRig(t)
	r.owners.known.limit = 10
	r.does(func(w http.ResponseWriter, q *http.Request, _ string) {
		w.Header().Set("Location", q.URL.Query().Get("redirect_uri")+"?code=x")
		w.WriteHeader(302)
	})
	for i := range 50 {
		r.app().conflict("redirect_uri", "https://app.example/"+strconv.Itoa(i))
	}
	if n := len(r.owners.known.values); n != 10 {
		t.Errorf("%d owners are kept, want 10", n)
	}
}

func TestASilentUpstreamShowsNobodysRedirect(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.does(func(_ http.ResponseWriter, q *http.Request, _ string) { <-q.Context().Done() })
		if resp := r.app().conflict(); resp.StatusCode != 400 || r.count() != 1 {
			t.Errorf("got %d, the upstream was asked %d times", resp.StatusCode, r.count())
		}
	})
}

func TestRecent(t *testing.T) {
	c := clock{at: time.Unix(0, 0)}
	m := newRecent[string, int](2, c.now)
	m.add("a", 1, time.Hour)
	m.add("b", 2, time.Hour)
	m.add("a", 3, 2*time.Hour)
	m.add("c", 4, time.Hour)
	if _, ok := m.get("a"); ok || len(m.values) != 2 || len(m.order) != 2 {
		t.Errorf("the oldest stays: %v %v", m.values, m.order)
	}
	c.pass(time.Hour)
	if _, ok := m.get("b"); ok {
		t.Error("past its time")
	}
	if v, ok := m.stale("b"); !ok || v != 2 {
		t.Error("not kept for an outage")
	}
}

// A page that leads a browser to a redirect of the upstream's own claims no code: it
// only repeats what its request brought.
func TestRedirectThatRepeatsItsRequestIsNoAnswerWithACode(t *testing.T) {
	r := newRig(t)
	victim := r.app().login()
	thief := r.app()
	code := thief.code("response_mode", "form_post")
	r.mu.Lock()
	r.answer = func(w http.ResponseWriter, q *http.Request, _ string) {
		w.Header().Set("Location", "/x?"+q.URL.RawQuery)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
	r.mu.Unlock()
	r.do(http.MethodGet, "//x?code="+code+"2", "", "Cookie", victim.cookie)
	r.mu.Lock()
	r.answer = nil
	r.mu.Unlock()
	if _, err := r.store.Code(t.Context(), sessions.HashCode(code+"2")); !errors.Is(err, sessions.ErrNotFound) {
		t.Errorf("the code was taken for one that left the upstream: %v", err)
	}
}
