package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const adminToken = "admin-token-0123456789abcdef-marker"

// adminStack is a stack with the session API over the demo's provider.
func adminStack(t *testing.T, env map[string]string) *stack {
	all := map[string]string{"ORT_ADMIN_TOKEN": adminToken, "ORT_UPSTREAM_LOGIN_COOKIES": "demo_idp_session"}
	maps.Copy(all, env)
	st := startStack(t, setup{embedded: true, env: all})
	st.secret(adminToken)
	return st
}

// command runs ort-gateway with the gateway's own environment, changed by env.
func (st *stack) command(env map[string]string, args ...string) (stdout, stderr string, code int) {
	st.t.Helper()
	cmd := exec.CommandContext(st.t.Context(), gatewayBinary(st.t), args...)
	all := maps.Clone(st.env)
	maps.Copy(all, env)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		cmd.Env = append(cmd.Env, name+"="+all[name])
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		st.t.Fatal(err)
	}
	for _, secret := range []string{adminToken, "ORT1.", "DATA RACE"} {
		if strings.Contains(out.String()+errs.String(), secret) {
			st.t.Errorf("%v prints %s", args, secret)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// sessions runs `ort-gateway sessions …`, which has to succeed.
func (st *stack) sessions(args ...string) string {
	st.t.Helper()
	out, errs, code := st.command(nil, append([]string{"sessions"}, args...)...)
	if code != 0 {
		st.t.Fatalf("sessions %v: exit code %d: %s%s", args, code, out, errs)
	}
	return out
}

// listedSession is a session as `list --json` prints it.
type listedSession struct {
	ID       string
	Subjects []struct{ Issuer, Client, Sub string }
	Clients  []string
	Grants   []struct {
		Client string
		Bound  bool
		Uses   int
	}
	Ended *struct{ Reason string }
}

func (st *stack) listed(args ...string) (list []listedSession) {
	st.t.Helper()
	for line := range strings.Lines(st.sessions(append([]string{"list", "--json"}, args...)...)) {
		var s listedSession
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			st.t.Fatalf("%v: %s", err, line)
		}
		list = append(list, s)
	}
	return list
}

// living is the one session that lives and has these clients.
func (st *stack) living(clients ...string) listedSession {
	st.t.Helper()
	var found []listedSession
	for _, s := range st.listed() {
		if slices.Sort(s.Clients); s.Ended == nil && slices.Equal(s.Clients, clients) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		st.t.Fatalf("%d living sessions of %v, want 1", len(found), clients)
	}
	return found[0]
}

// api asks the session API itself.
func (st *stack) api(method, path, token string) (status int, header http.Header, body string) {
	st.t.Helper()
	req, err := http.NewRequestWithContext(st.t.Context(), method, st.admin+path, nil)
	if err != nil {
		st.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		st.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header, readAll(resp.Body)
}

// An operator lists, looks at and ends sessions: pages are told at once, and the user has to show the password again.
func TestAdminEndsSessions(t *testing.T) {
	st := adminStack(t, nil)
	a, b := twoIn(t, st, "app-one", "app-two")
	elsewhere := st.app("app-one", nil)
	elsewhere.login(t)
	bob := st.app("app-one", nil)
	bob.user = "bob"
	bob.login(t)
	a.works(t)

	here := st.living("app-one", "app-two")
	if len(here.Grants) != 2 || !here.Grants[0].Bound || here.Grants[0].Uses+here.Grants[1].Uses != 1 {
		t.Errorf("the session of two apps is shown as %+v", here)
	}
	sub := here.Subjects[0].Sub
	if n := len(st.listed("--sub", sub)); n != 2 {
		t.Errorf("%d sessions of one user, want 2", n)
	}
	if n := len(st.listed("--client", "app-two")); n != 1 {
		t.Errorf("%d sessions of app-two, want 1", n)
	}
	table := st.sessions("list")
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 4 || !regexp.MustCompile(`(?m)^`+here.ID+` +\S+ +app-\w+,app-\w+ +\d+s ago +\d+s ago +in (2d23h|3d) +active$`).MatchString(table) {
		t.Errorf("list:\n%s", table)
	}
	show := st.sessions("show", here.ID)
	if !strings.Contains(show, "active") || !strings.Contains(show, "bound") || !strings.Contains(show, sub) {
		t.Errorf("show:\n%s", show)
	}

	stream := b.sessionRequest(t, "/_ort/session/events")
	next := bufio.NewReader(stream.Body)
	if line, err := next.ReadString('\n'); err != nil || line != "event: session\n" {
		t.Fatalf("events: %q %v", line, err)
	}
	began := time.Now()
	if out := st.sessions("end", here.ID); out != "ended 1 session\n" {
		t.Errorf("end: %q", out)
	}
	rest := readAll(next)
	if !strings.Contains(rest, "event: ended") || !strings.Contains(rest, `"reason":"admin"`) || time.Since(began) > 5*time.Second {
		t.Errorf("the open page was told after %v: %q", time.Since(began), rest)
	}
	loggedOut(t, a, b)
	elsewhere.works(t)
	bob.works(t)
	if out := st.sessions("end", here.ID); !strings.HasPrefix(out, "nothing to end") {
		t.Errorf("end again: %q", out)
	}
	if show := st.sessions("show", here.ID); !regexp.MustCompile(`ended: admin\s+ended +2\S+Z +\(\d+`).MatchString(show) {
		t.Errorf("show an ended one:\n%s", show)
	}
	waitUntil(t, 20*time.Second, "the credentials to be given back", func() bool { return st.embedded.Stats().Revocations == 2 })

	// All of a user; others are left alone.
	if out := st.sessions("end", "--sub", sub); out != "ended 2 sessions\n" {
		t.Errorf("end --sub: %q", out)
	}
	for _, app := range []*app{a, b, elsewhere} {
		app.dead(t)
		silent(t, app, "login_required")
	}
	bob.works(t)
	for _, action := range []string{"list", "show", "end"} {
		waitUntil(t, 20*time.Second, "the audit log to name "+action, func() bool {
			return strings.Contains(st.out.String(), `"msg":"admin_action","action":"`+action+`","result":"ok","remote":"127.0.0.1"`)
		})
	}
}

// Without the token nothing is told; the file with it is read again when it changes.
func TestAdminToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(adminToken)
	st := adminStack(t, map[string]string{"ORT_ADMIN_TOKEN": "", "ORT_ADMIN_TOKEN_FILE": file})
	st.app("app-one", nil).login(t)
	for _, path := range []string{"/sessions", "/backup"} {
		for _, token := range []string{"", "wrong", adminToken[:20]} {
			status, header, body := st.api(http.MethodGet, path, token)
			if status != http.StatusUnauthorized || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer ") || strings.Contains(body, "app-one") {
				t.Errorf("%s with %q: %d %s", path, token, status, body)
			}
		}
	}
	if status, _, body := st.api(http.MethodGet, "/sessions", adminToken); status != http.StatusOK || !strings.Contains(body, "app-one") {
		t.Errorf("with the token: %d %s", status, body)
	}
	other := "another-token-0123456789abcdef-marker"
	st.secret(other)
	write(other)
	waitUntil(t, 20*time.Second, "the new token to be taken", func() bool {
		status, _, _ := st.api(http.MethodGet, "/sessions", other)
		return status == http.StatusOK
	})
	if status, _, _ := st.api(http.MethodGet, "/sessions", adminToken); status != http.StatusUnauthorized {
		t.Errorf("the former token: %d, want 401", status)
	}
	if len(st.listed()) != 1 { // the commands read the same file
		t.Error("the command does not list the session")
	}
}

// Pages hold every session once, while others come and go.
func TestAdminReadsLargeListsInPages(t *testing.T) {
	st := adminStack(t, nil)
	want := map[string]bool{}
	for range 12 {
		st.app("app-one", nil).login(t)
	}
	for _, s := range st.listed() {
		want[s.ID] = true
	}
	if len(want) != 12 {
		t.Fatalf("%d sessions, want 12", len(want))
	}
	cursor := ""
	for range 12 {
		_, _, body := st.api(http.MethodGet, "/sessions?limit=5"+cursor, adminToken)
		var page struct {
			Sessions []struct{ ID string }
			Next     string
		}
		if err := json.NewDecoder(io.LimitReader(strings.NewReader(body), 1<<20)).Decode(&page); err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Sessions {
			if !want[s.ID] {
				t.Errorf("%s is listed twice, or was not there", s.ID)
			}
			delete(want, s.ID)
		}
		if page.Next == "" {
			break
		}
		cursor = "&cursor=" + url.QueryEscape(page.Next)
		st.app("app-two", nil).login(t) // comes and does not disturb
		for _, s := range st.listed("--client", "app-two") {
			st.sessions("end", s.ID)
			want[s.ID] = true // may or may not be in a later page
		}
	}
	for id := range want {
		if show := st.sessions("show", id, "--json"); strings.Contains(show, "app-one") {
			t.Errorf("%s is in no page", id)
		}
	}
	if n := len(st.listed("--limit", "3")); n != 3 {
		t.Errorf("--limit 3 gives %d", n)
	}
}
