package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const adminBearer = "an-admin-token-of-30-characters"

// office is the admin listener of a rig.
type office struct {
	*rig
	api   http.Handler
	token atomic.Pointer[string]
}

func newOffice(t *testing.T, change func(*AdminSessions), options ...rigOption) *office {
	o := &office{rig: newRig(t, options...)}
	token := adminBearer
	o.token.Store(&token)
	nothing := func(http.ResponseWriter, *http.Request) {}
	c := AdminSessions{Engine: o.Engine, Token: func() string { return *o.token.Load() }, Backup: o.store.Backup}
	if change != nil {
		change(&c)
	}
	o.api = Admin(AdminConfig{Live: nothing, Ready: nothing, Metrics: http.HandlerFunc(nothing), Sessions: c})
	return o
}

// ask sends one request; header fields come in pairs.
func (o *office) ask(method, target string, fields ...string) *httptest.ResponseRecorder {
	o.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Authorization", "Bearer "+adminBearer)
	for i := 0; i < len(fields); i += 2 {
		if r.Header.Del(fields[i]); fields[i+1] != "" {
			r.Header.Set(fields[i], fields[i+1])
		}
	}
	w := httptest.NewRecorder()
	o.api.ServeHTTP(w, r)
	return w
}

// read asks and reads JSON of a status.
func (o *office) read(status int, method, target string, into any) {
	o.t.Helper()
	w := o.ask(method, target)
	if w.Code != status || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		o.t.Fatalf("%s %s: got %d %v %s, want %d", method, target, w.Code, w.Header(), w.Body, status)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		o.t.Fatal(err)
	}
}

// meet keeps a session of a user at clients.
func (o *office) meet(sub string, clients ...string) sessions.ID {
	o.t.Helper()
	now := time.Now()
	s := sessions.Session{
		ID: sessions.NewID(), Place: public + "/authorize", Browsers: []sessions.BrowserID{"secret-browser"},
		Cookies: []sessions.CookieHash{"secret-cookie"}, Created: now, Start: now, LastUsed: now,
		Idle: now.Add(time.Hour), Absolute: now.Add(8 * time.Hour),
	}
	for _, c := range clients {
		s.Subjects = append(s.Subjects, sessions.Subject{Issuer: public, Client: c, Sub: sub})
	}
	g := sessions.Grant{ID: "secret-grant", Client: clients[0], Issuer: public, Scope: "openid", Thumbprint: "secret-jkt",
		Credential: []byte("secret-credential"), Created: now, LastUsed: now}
	if err := o.store.Create(o.t.Context(), s, g, time.Time{}); err != nil {
		o.t.Fatal(err)
	}
	return s.ID
}

func (o *office) list(query string) (ids []string) {
	o.t.Helper()
	cursor := ""
	for range 1000 {
		var page pageView
		target := "/sessions?" + query
		if cursor != "" {
			target += "&cursor=" + url.QueryEscape(cursor)
		}
		o.read(http.StatusOK, "GET", strings.Replace(target, "?&", "?", 1), &page)
		for _, s := range page.Sessions {
			ids = append(ids, s.ID)
		}
		if cursor = page.Next; cursor == "" {
			return ids
		}
	}
	o.t.Fatal("the list does not end")
	return nil
}
