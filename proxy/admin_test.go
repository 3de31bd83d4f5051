package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

func TestAdminListsByUserAndClient(t *testing.T) {
	o := newOffice(t, nil)
	alice := []string{string(o.meet("alice", "spa")), string(o.meet("alice", "spa", "mail")), string(o.meet("alice", "mail"))}
	var bobs []string
	for range 7 {
		bobs = append(bobs, string(o.meet("bob", "spa")))
	}
	all := slices.Concat(alice, bobs)
	spa := slices.Concat(alice[:2], bobs)
	for query, want := range map[string][]string{
		"": all, "limit=1": all, "limit=3": all, "limit=10": all, "limit=500": all,
		"sub=alice": alice, "sub=alice&limit=1": alice, "sub=alice&limit=3": alice, "sub=nobody": nil,
		"client=spa": spa, "client=spa&limit=2": spa, "client=mail": alice[1:], "client=none": nil,
		"sub=alice&client=spa": alice[:2], "sub=bob&client=mail": nil,
		"issuer=" + public: all, "issuer=https://other.example": nil, "sub=alice&issuer=https://other.example": nil,
		"sub=alice&issuer=" + public + "&client=mail&limit=1": alice[1:],
	} {
		want = slices.Clone(want)
		slices.Sort(want)
		if got := o.list(query); !slices.Equal(got, want) {
			t.Errorf("%q: got %d sessions %q, want %d %q", query, len(got), got, len(want), want)
		}
	}
}

func TestAdminShowsNoSecret(t *testing.T) {
	o := newOffice(t, nil)
	id := o.meet("alice", "spa", "mail")
	for _, target := range []string{"/sessions", "/sessions/" + string(id)} {
		w := o.ask("GET", target)
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if strings.Contains(o.log.String(), "secret") || strings.Contains(o.log.String(), "alice") {
		t.Errorf("the log tells: %s", o.log)
	}
	var s sessionView
	o.read(http.StatusOK, "GET", "/sessions/"+string(id), &s)
	if s.ID != string(id) || !slices.Equal(s.Clients, []string{"spa", "mail"}) || !slices.Equal(s.Issuers, []string{public}) ||
		len(s.Grants) != 1 || !s.Grants[0].Bound || s.Grants[0].Scope != "openid" || s.Ended != nil || s.Idle == nil || s.Absolute == nil {
		t.Errorf("got %+v", s)
	}
}

func TestAdminEndsOnce(t *testing.T) {
	o := newOffice(t, nil)
	id := o.meet("alice", "spa")
	changed, stop := o.store.Watch(id)
	defer stop()
	for _, want := range []int{1, 0} {
		var e endedJSON
		o.read(http.StatusOK, "DELETE", "/sessions/"+string(id), &e)
		if e.Ended != want {
			t.Errorf("ended %d, want %d", e.Ended, want)
		}
	}
	<-changed
	var s sessionView
	o.read(http.StatusOK, "GET", "/sessions/"+string(id), &s)
	if s.Ended == nil || s.Ended.Reason != "admin" || len(s.Grants) != 0 || s.Owed != 1 {
		t.Errorf("got %+v: it ended by an admin, and its credential is to be given back", s)
	}
	kept, err := o.store.Session(t.Context(), id)
	if err != nil || !kept.End.SingleSignOn {
		t.Errorf("single sign-on did not end: %+v, %v", kept.End, err)
	}
	if _, err := o.store.Note(t.Context(), sessions.NoteDeadCookie, "secret-cookie"); err != nil {
		t.Error("the login cookie lives:", err)
	}
	var e endedJSON
	o.read(http.StatusOK, "DELETE", "/sessions/unknown", &e)
}

func TestAdminEndsAUser(t *testing.T) {
	o := newOffice(t, nil)
	for range 100 {
		o.meet("alice", "spa")
	}
	mail := o.meet("alice", "mail")
	bob := o.meet("bob", "spa")
	for _, row := range []struct {
		query string
		want  int
	}{{"sub=alice&client=spa", 100}, {"sub=alice&client=spa", 0}, {"sub=alice&issuer=https://other.example", 0}, {"sub=nobody", 0}, {"sub=alice", 1}, {"sub=alice", 0}} {
		var e endedJSON
		o.read(http.StatusOK, "DELETE", "/sessions?"+row.query, &e)
		if e.Ended != row.want {
			t.Errorf("%s: ended %d, want %d", row.query, e.Ended, row.want)
		}
	}
	for id, want := range map[sessions.ID]bool{mail: true, bob: false} {
		var s sessionView
		o.read(http.StatusOK, "GET", "/sessions/"+string(id), &s)
		if ended := s.Ended != nil; ended != want {
			t.Errorf("%v ended: %t, want %t", s.Clients, ended, want)
		}
	}
}

func TestAdminRefusesWhatItDoesNotUnderstand(t *testing.T) {
	o := newOffice(t, nil)
	id := o.meet("alice", "spa")
	for _, row := range []struct {
		method, target string
		status         int
		names          string
	}{
		{"GET", "/sessions?subject=alice", 400, "subject"}, {"GET", "/sessions?Sub=alice", 400, "Sub"},
		{"GET", "/sessions?limit=0", 400, "limit"}, {"GET", "/sessions?limit=501", 400, "limit"}, {"GET", "/sessions?limit=x", 400, "limit"},
		{"GET", "/sessions?limit=-1", 400, "limit"}, {"GET", "/sessions?limit=99999999999999999999", 400, "limit"},
		{"GET", "/sessions?sub=", 400, "sub"}, {"GET", "/sessions?sub=a&sub=b", 400, "sub"}, {"GET", "/sessions?client=" + strings.Repeat("a", 1025), 400, "client"},
		{"GET", "/sessions?cursor=x", 400, "cursor"}, {"GET", "/sessions?cursor=%21", 400, "cursor"}, {"GET", "/sessions?%zz", 400, "query"},
		{"GET", "/sessions/" + string(id) + "?sub=alice", 400, "sub"}, {"GET", "/sessions/unknown", 404, "session"},
		{"DELETE", "/sessions", 400, "sub"}, {"DELETE", "/sessions?client=spa", 400, "sub"}, {"DELETE", "/sessions?sub=", 400, "sub"},
		{"DELETE", "/sessions?sub=alice&limit=1", 400, "limit"}, {"DELETE", "/sessions/" + string(id) + "?force=1", 400, "force"},
		{"POST", "/sessions", 405, "GET"}, {"PUT", "/sessions/" + string(id), 405, "DELETE"}, {"DELETE", "/backup", 405, "GET"},
		{"HEAD", "/backup", 405, ""}, {"GET", "/backup?x=1", 400, "x"},
	} {
		var e struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		o.read(row.status, row.method, row.target, &e)
		if e.Error == "" || !strings.Contains(e.Description, row.names) {
			t.Errorf("%s %s: %+v does not name %q", row.method, row.target, e, row.names)
		}
	}
	var s sessionView
	if o.read(http.StatusOK, "GET", "/sessions/"+string(id), &s); s.Ended != nil {
		t.Error("a refused request ended it")
	}
}

func TestAdminAsksForItsToken(t *testing.T) {
	o := newOffice(t, nil)
	id := o.meet("alice", "spa")
	for name, field := range map[string]string{
		"none": "", "wrong": "Bearer wrong", "part": "Bearer " + adminBearer[:10], "longer": "Bearer " + adminBearer + "x",
		"another scheme": "Basic " + adminBearer, "bare": adminBearer, "empty": "Bearer ",
	} {
		for _, at := range [][2]string{{"GET", "/sessions"}, {"GET", "/sessions/" + string(id)}, {"DELETE", "/sessions/" + string(id)},
			{"DELETE", "/sessions?sub=alice"}, {"GET", "/backup"}, {"POST", "/sessions"}} {
			w := o.ask(at[0], at[1], "Authorization", field)
			if w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s: %v: got %d %q", name, at, w.Code, w.Header().Get("WWW-Authenticate"))
			}
		}
	}
	if n := strings.Count(o.log.String(), "result=invalid_token"); n == 0 || n > 5 {
		t.Errorf("%d audit lines of 42 refusals within a second, want one a second", n)
	}
	next := "another-token-of-30-characters"
	o.token.Store(&next)
	if w := o.ask("GET", "/sessions"); w.Code != http.StatusUnauthorized {
		t.Errorf("the former token: got %d, want 401", w.Code)
	}
	if w := o.ask("GET", "/sessions", "Authorization", "bearer "+next); w.Code != http.StatusOK {
		t.Errorf("the new token: got %d, want 200", w.Code)
	}
	off := ""
	o.token.Store(&off)
	for _, field := range []string{"", "Bearer ", "Bearer " + adminBearer} {
		if w := o.ask("GET", "/sessions", "Authorization", field); w.Code != http.StatusNotFound || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("switched off, with %q: got %d, want 404", field, w.Code)
		}
	}
}

func TestAdminAudits(t *testing.T) {
	o := newOffice(t, nil)
	id := string(o.meet("alice", "spa"))
	o.ask("GET", "/sessions?sub=alice")
	o.ask("GET", "/sessions/"+id)
	o.ask("DELETE", "/sessions/"+id)
	o.ask("DELETE", "/sessions?sub=alice&client=spa")
	o.ask("GET", "/backup")
	o.ask("GET", "/sessions?limit=0")
	o.ask("GET", "/sessions", "Authorization", "")
	var lines []string
	subjects := map[string]bool{}
	for line := range strings.Lines(o.log.String()) {
		if !strings.Contains(line, "msg=admin_action ") {
			continue
		}
		_, rest, _ := strings.Cut(line, "action=")
		fields := strings.Fields(rest)
		lines = append(lines, fields[0]+" "+fields[1]+" "+fields[2])
		if _, subject, ok := strings.Cut(line, "subject="); ok {
			subjects[strings.Fields(subject)[0]] = true
		}
	}
	want := []string{"list result=ok remote=192.0.2.1", "show result=ok remote=192.0.2.1", "end result=ok remote=192.0.2.1", "end result=ok remote=192.0.2.1",
		"backup result=ok remote=192.0.2.1", "list result=invalid_request remote=192.0.2.1", "list result=invalid_token remote=192.0.2.1"}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q\nwant %q", lines, want)
	}
	if len(subjects) != 1 {
		t.Errorf("one user has the hashes %v", subjects)
	}
	if strings.Contains(o.log.String(), "alice") {
		t.Errorf("the log names the user: %s", o.log)
	}
}

// A token that is taken away while a request is looked at lets nobody in without one.
func TestAdminTokenThatVanishes(t *testing.T) {
	asked := 0
	o := newOffice(t, func(c *AdminSessions) {
		c.Token = func() string {
			if asked++; asked == 1 {
				return adminBearer
			}
			return ""
		}
	})
	if resp := o.ask(http.MethodGet, "/sessions", "Authorization", "Bearer "); resp.Code != http.StatusUnauthorized {
		t.Errorf("got %d", resp.Code)
	}
}

// An end by an operator can be followed: its lines have the id of the request that caused it.
func TestAdminLinesHaveTheirRequestsID(t *testing.T) {
	o := newOffice(t, nil, func(_ *rig, c *Config, e *ortengine.Config) {
		c.Logger = slog.New(withTrace{c.Logger.Handler()})
		e.Logger = c.Logger
	})
	id := string(o.meet("alice", "spa"))
	o.ask("DELETE", "/sessions/"+id, "X-Request-ID", "chosen-by-the-client")
	o.ask("GET", "/sessions")
	ids := map[string][]string{}
	for line := range strings.Lines(o.log.String()) {
		if _, after, ok := strings.Cut(line, "request_id="); ok {
			_, event, _ := strings.Cut(line, "msg=")
			requestID := strings.Fields(after)[0]
			ids[requestID] = append(ids[requestID], strings.Fields(event)[0])
		}
	}
	var got []string
	for requestID, events := range ids {
		if len(requestID) != 16 {
			t.Errorf("request id %q", requestID)
		}
		got = append(got, strings.Join(events, " "))
	}
	slices.Sort(got)
	if want := []string{"admin_action", "session_ended admin_action"}; !slices.Equal(got, want) {
		t.Errorf("events by request: %q, want %q\n%s", got, want, o.log)
	}
}

func TestAdminBackup(t *testing.T) {
	o := newOffice(t, nil)
	o.meet("alice", "spa")
	w := o.ask("GET", "/backup")
	if w.Code != http.StatusOK || w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) || w.Body.Len() == 0 ||
		!strings.HasPrefix(w.Header().Get("Content-Disposition"), `attachment; filename="ort-sessions-`) {
		t.Errorf("got %d %v, %d bytes", w.Code, w.Header(), w.Body.Len())
	}
	none := newOffice(t, func(c *AdminSessions) { c.Backup = nil })
	if w := none.ask("GET", "/backup"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "embedded store") {
		t.Errorf("another store: got %d %s", w.Code, w.Body)
	}
	busy := errors.New("busy")
	other := newOffice(t, func(c *AdminSessions) {
		c.Backup = func(context.Context) (io.ReadCloser, int64, error) { return nil, 0, busy }
		c.Busy = func(err error) bool { return errors.Is(err, busy) }
	})
	if w := other.ask("GET", "/backup"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("two at once: got %d %s", w.Code, w.Body)
	}
}

func TestAdminWhileTheStoreIsDown(t *testing.T) {
	o := newOffice(t, nil)
	id := string(o.meet("alice", "spa"))
	o.store.Close()
	for _, at := range [][2]string{{"GET", "/sessions"}, {"GET", "/sessions?sub=alice"}, {"GET", "/sessions/" + id}, {"DELETE", "/sessions/" + id},
		{"DELETE", "/sessions?sub=alice"}, {"GET", "/backup"}} {
		var e struct{ Error string }
		o.read(http.StatusServiceUnavailable, at[0], at[1], &e)
		if e.Error != ortengine.TemporarilyUnavailable {
			t.Errorf("%v: got %q", at, e.Error)
		}
	}
}

func TestAdminBoundsRequestsAtWork(t *testing.T) {
	enough, release := make(chan struct{}, adminAtOnce), make(chan struct{})
	o := newOffice(t, func(c *AdminSessions) {
		c.Backup = func(context.Context) (io.ReadCloser, int64, error) {
			enough <- struct{}{}
			<-release
			return nil, 0, errors.New("no")
		}
	})
	done := make(chan int)
	for range adminAtOnce {
		go func() { done <- o.ask("GET", "/backup").Code }()
	}
	for range adminAtOnce {
		<-enough
	}
	if w := o.ask("GET", "/sessions"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("one more: got %d", w.Code)
	}
	close(release)
	for range adminAtOnce {
		<-done
	}
	if w := o.ask("GET", "/sessions"); w.Code != http.StatusOK {
		t.Errorf("afterwards: got %d", w.Code)
	}
}

// FuzzSessionQuery: what is taken is bounded and means what it says.
func FuzzSessionQuery(f *testing.F) {
	for _, q := range []string{"", "sub=a&client=b&issuer=c&limit=5", "cursor=MTph", "sub=%zz", "limit=1;sub=a", "sub=a&sub=b", "cursor=MTo"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}}
		q, err := sessionQuery(r, "sub", "client", "issuer", "limit", "cursor")
		if err != nil {
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil || q.Limit < 1 || q.Limit > maxPage || q.Subject != values.Get("sub") || q.Client != values.Get("client") || q.Issuer != values.Get("issuer") ||
			len(q.Subject) > maxValue || len(q.After) > maxValue {
			t.Errorf("%q was taken as %+v", query, q)
		}
		if values.Has("cursor") {
			if next := pageJSON(ortengine.SessionPage{Next: q.After}).Next; q.After != "" && next != values.Get("cursor") {
				t.Errorf("the cursor of %q is written as %q", query, next)
			}
		}
	})
}

// A filter that fits little reads a bounded part of the store for each page.
func TestAdminFilterReadsABoundedPart(t *testing.T) {
	o := newOffice(t, nil)
	now := time.Now()
	var rare string
	err := o.store.Import(t.Context(), func(yield func(sessions.Moved, error) bool) {
		for i := range 4100 {
			s := sessions.Session{ID: sessions.ID(fmt.Sprintf("s%05d", i)), Created: now, Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour),
				Subjects: []sessions.Subject{{Issuer: public, Client: "spa", Sub: "user"}}}
			if i == 4050 {
				s.Subjects[0].Client, rare = "rare", string(s.ID)
			}
			if !yield(sessions.Moved{Session: &s}, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var page pageView
	o.read(http.StatusOK, "GET", "/sessions?client=rare", &page)
	if len(page.Sessions) != 0 || page.Next == "" {
		t.Errorf("the first page: %d sessions, next %q, want none and more to read", len(page.Sessions), page.Next)
	}
	if got := o.list("client=rare"); !slices.Equal(got, []string{rare}) {
		t.Errorf("got %q, want %q", got, rare)
	}
}
