package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// matrixStack is one identity provider, a gateway before it, and apps on each SDK.
type matrixStack struct {
	*stack
	one, two       string // the apps' clients
	apps           map[string][2]*spa
	browserContext context.Context

	// revokeCredential revokes, at the provider itself, the credential that brought this access token.
	revokeCredential func(t *testing.T, accessToken string)
	// backChannel ends the login that has this sid, or all of alice's, at the provider, which calls the back channel.
	backChannel func(t *testing.T, sid string)
	calls       bool // it calls it at a user's logout too, while the logout's answer is still under way
}

const matrixAdmin = "admin-token-of-the-matrix-0123456789"

// matrixSDKs are the SDKs with their letters in the table.
var matrixSDKs = []struct{ name, letter string }{{"auth0", "A"}, {"oidc", "O"}, {"web", "W"}}

var matrixUpstreams = []struct {
	name  string
	start func(t *testing.T, apps map[string][2]*spa) *matrixStack
}{{"Keycloak", matrixKeycloak}, {"oidc-provider", matrixProvider}, {"embedded", matrixEmbedded}}

// TestMatrix ends sessions in every way that the contract knows, before every identity provider, with apps on every SDK in
// a real browser, and holds README's table to what ran. UPDATE=1 writes it.
func TestMatrix(t *testing.T) {
	proctest.Time(t, 8*time.Minute)
	chromiumProgram(t)
	nodeProgram(t)
	table := &matrixTable{cells: map[string]string{}}
	t.Run("before", func(t *testing.T) { table.upstreams(t) })
	text, whole := table.text()
	t.Logf("\n%s", text)
	if whole && !t.Failed() {
		readmeHolds(t, "matrix", text)
	}
}

// upstreams runs the providers: while one waits for its limits, the next one is busy.
func (m *matrixTable) upstreams(t *testing.T) {
	for _, up := range matrixUpstreams {
		if testing.Short() && up.name != "embedded" {
			continue
		}
		t.Run(up.name, func(t *testing.T) {
			t.Parallel()
			m.busy.Lock()
			free := sync.OnceFunc(m.busy.Unlock)
			defer free()
			apps := map[string][2]*spa{}
			for _, sdk := range matrixSDKs {
				apps[sdk.name] = [2]*spa{startSPA(t, "one", sdk.name), startSPA(t, "two", sdk.name)}
			}
			st := up.start(t, apps)
			st.apps, st.browserContext = apps, chromium(t)
			m.run(t, up.name, st, free)
		})
	}
}

// run ends sessions before one provider: side by side what ends one browser's alone, then, each for all browsers at once,
// what ends all of a user's, then, with short limits, what ends by itself. It calls waiting before that.
func (m *matrixTable) run(t *testing.T, upstream string, st *matrixStack, waiting func()) {
	m.group(t, "one browser", upstream, st, func(r *matrixRow) bool { return !r.whole && r.limits[0] == 0 })
	for i := range matrixRows {
		if row := &matrixRows[i]; row.whole {
			m.group(t, row.name, upstream, st, func(r *matrixRow) bool { return r == row })
		}
	}
	waiting()
	for i := range matrixRows {
		if row := &matrixRows[i]; row.limits[0] > 0 {
			st.restart(map[string]string{"ORT_SESSION_IDLE_TIMEOUT": row.limits[0].String(), "ORT_SESSION_ABSOLUTE_TIMEOUT": row.limits[1].String()})
			m.group(t, row.name, upstream, st, func(r *matrixRow) bool { return r == row })
		}
	}
}

// group runs some of the rows.
func (m *matrixTable) group(t *testing.T, name, upstream string, st *matrixStack, which func(*matrixRow) bool) {
	t.Run(name, func(t *testing.T) {
		together := &meeting{absent: len(matrixSDKs), all: make(chan struct{})}
		for i := range matrixRows {
			row := &matrixRows[i]
			if !which(row) {
				continue
			}
			if row.script != nil {
				t.Run("S "+row.name, func(t *testing.T) {
					row.script(t, st.stack, st.one, st.two)
					m.note(t, row, upstream, "S")
				})
				continue
			}
			for _, sdk := range matrixSDKs {
				if row.reason(sdk.name, upstream) == "" {
					t.Run(sdk.name+" "+row.name, func(t *testing.T) { m.cell(t, row, upstream, st, sdk.name, sdk.letter, together) })
				}
			}
		}
	})
}

func (m *matrixTable) cell(t *testing.T, row *matrixRow, upstream string, st *matrixStack, sdk, letter string, together *meeting) {
	t.Parallel()
	began := time.Now()
	come := sync.OnceFunc(together.come)
	defer come() // the others do not wait for one that failed
	c := newCell(t, st, sdk)
	if row.whole {
		come()
		<-together.all
		together.end.Do(func() { row.end(c) })
	} else {
		row.end(c)
	}
	want := row.want
	if want.told == "logout" && st.calls {
		want.told = "backchannel_logout"
	}
	if got := c.observe(want, row.patience); got != want {
		t.Errorf("the user notices %+v, want %+v", got, want)
	}
	m.note(t, row, upstream, letter)
	t.Logf("took %v", time.Since(began).Round(10*time.Millisecond))
}

// meeting is where the cells of a row wait for one another.
type meeting struct {
	mu     sync.Mutex
	absent int
	all    chan struct{} // closed when nobody is absent
	end    sync.Once
}

func (m *meeting) come() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.absent--; m.absent == 0 {
		close(m.all)
	}
}

// reason is why a cell is left out, empty where it is not.
func (r *matrixRow) reason(sdk, upstream string) string {
	for _, key := range []string{sdk, upstream, sdk + " " + upstream} {
		if why := r.without[key]; why != "" {
			return why
		}
	}
	return ""
}

// matrixTable is what ran.
type matrixTable struct {
	busy sync.Mutex // held by the provider whose cells run at full speed

	mu    sync.Mutex
	cells map[string]string // letter by row, provider and letter
}

func matrixKey(row *matrixRow, upstream, letter string) string {
	return row.name + "|" + upstream + "|" + letter
}

func (m *matrixTable) note(t *testing.T, row *matrixRow, upstream, letter string) {
	if t.Failed() {
		letter = "**failed**"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cells[matrixKey(row, upstream, letter)] = letter
}

// text is README's table, and whether no cell is missing.
func (m *matrixTable) text() (text string, whole bool) {
	var out, notes strings.Builder
	var reasons []string
	whole = true
	out.WriteString("| how it ends | other apps | their pages are told | single sign-on | next login | Keycloak | oidc-provider | embedded |\n|---|---|---|---|---|---|---|---|\n")
	for i := range matrixRows {
		row := &matrixRows[i]
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s |", row.name, row.want.other, told(row), row.want.signOn, map[bool]string{true: "asks", false: "asks nothing"}[row.want.asked])
		for _, up := range matrixUpstreams {
			var ran []string
			add := func(letter, why string) {
				if why == "" {
					got := m.cells[matrixKey(row, up.name, letter)]
					whole = whole && got == letter
					ran = append(ran, got)
					return
				}
				at := slices.Index(reasons, why)
				if at < 0 {
					at = len(reasons)
					reasons = append(reasons, why)
					fmt.Fprintf(&notes, "\n%d. %s", at+1, why)
				}
				if mark := fmt.Sprintf("(%d)", at+1); !slices.Contains(ran, mark) {
					ran = append(ran, mark)
				}
			}
			if row.script != nil {
				add("S", "")
			} else {
				for _, sdk := range matrixSDKs {
					add(sdk.letter, row.reason(sdk.name, up.name))
				}
			}
			fmt.Fprintf(&out, " %s |", strings.Join(slices.DeleteFunc(ran, func(s string) bool { return s == "" }), " "))
		}
		out.WriteString("\n")
	}
	out.WriteString("\nLeft out, in brackets:\n" + notes.String() + "\n")
	return out.String(), whole
}

func told(row *matrixRow) string {
	switch row.want.told {
	case "":
		return "nothing"
	case "logout":
		return "`logout`, or `backchannel_logout`"
	}
	return "`" + row.want.told + "`"
}

// readmeHolds holds README's text between two marks to what is true; UPDATE=1 writes it.
func readmeHolds(t *testing.T, mark, want string) {
	t.Helper()
	const file = "../../../README.md"
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opening, closing := "<!-- "+mark+" -->\n", "<!-- /"+mark+" -->"
	before, rest, ok := strings.Cut(string(readme), opening)
	got, after, ok2 := strings.Cut(rest, closing)
	if !ok || !ok2 {
		t.Fatalf("README has no %s…%s", opening, closing)
	}
	if got == want {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Errorf("README's table is another one than what ran; UPDATE=1 writes it. It says\n%s", got)
		return
	}
	if err := os.WriteFile(file, []byte(before+opening+want+closing+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// origins are those of an app on every SDK.
func origins(apps map[string][2]*spa, i int) (list []string) {
	for _, sdk := range matrixSDKs {
		list = append(list, apps[sdk.name][i].origin)
	}
	return list
}

// serve tells the apps where the gateway is.
func (st *matrixStack) serve(apps map[string][2]*spa) {
	for _, pair := range apps {
		for i, client := range []string{st.one, st.two} {
			c := &spaConfig{Origin: st.origin, Domain: st.origin, Issuer: st.issuer, ClientID: client, Cache: "localstorage"}
			pair[i].config.Store(c)
		}
	}
	for _, app := range apps["auth0"] {
		if !strings.HasPrefix(st.issuer, "https") { // the SDK takes issuers of https alone by that option
			app.config.Load().Issuer = ""
		}
	}
}

// revokeAt asks the provider itself to revoke a credential.
func (st *matrixStack) revokeAt(t *testing.T, credential string) {
	t.Helper()
	if credential == "" {
		t.Fatal("the provider issued no credential with that access token")
	}
	address := st.upstream + strings.TrimPrefix(st.metadata.Revocation, st.origin)
	resp, err := http.PostForm(address, url.Values{"client_id": {st.one}, "token": {credential}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body := readAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("revoking at the provider: %s %s", resp.Status, body)
	}
}

func matrixEmbedded(t *testing.T, apps map[string][2]*spa) *matrixStack {
	one, two := origins(apps, 0), origins(apps, 1)
	st := &matrixStack{one: "app-one", two: "app-two", stack: startStack(t, setup{
		tls: true, embedded: true, origins: [2]string{one[0], two[0]}, more: [2][]string{one[1:], two[1:]},
		env: map[string]string{"ORT_AUTH0_PATHS": "true", "ORT_ADMIN_TOKEN": matrixAdmin, "ORT_UPSTREAM_LOGIN_COOKIES": "demo_idp_session"},
	})}
	st.serve(apps)
	st.revokeCredential = func(t *testing.T, accessToken string) { st.revokeAt(t, st.embedded.credential(accessToken)) }
	st.backChannel = func(t *testing.T, sid string) {
		if err := st.embedded.LogOut(t.Context(), "alice", sid); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func matrixProvider(t *testing.T, apps map[string][2]*spa) *matrixStack {
	one, two := origins(apps, 0), origins(apps, 1)
	st := &matrixStack{one: "app-one", two: "app-two", stack: startStack(t, setup{
		suffix: "/", origins: [2]string{one[0], two[0]}, more: [2][]string{one[1:], two[1:]},
		env: map[string]string{"ORT_AUTH0_PATHS": "true", "ORT_ADMIN_TOKEN": matrixAdmin},
	})}
	st.serve(apps)
	st.revokeCredential = func(t *testing.T, accessToken string) {
		for _, e := range st.provider.seen(t).Exchanges {
			if e.AccessToken == accessToken {
				st.revokeAt(t, e.RefreshToken)
				return
			}
		}
		t.Fatal("the provider does not know that access token")
	}
	st.calls = true
	st.backChannel = func(t *testing.T, sid string) { st.provider.logOut(t, "alice", sid) }
	return st
}

func matrixKeycloak(t *testing.T, apps map[string][2]*spa) *matrixStack {
	kc := startKeycloakBehind(t, "https")
	kc.allow(t, "spa", append(origins(apps, 0), "http://one.localhost:3001")...) // the scripted client's too
	kc.allow(t, "spa2", append(origins(apps, 1), "http://two.localhost:3002")...)
	ks := kc.stack(t, map[string]string{"ORT_AUTH0_PATHS": "true", "ORT_ADMIN_TOKEN": matrixAdmin})
	st := &matrixStack{one: "spa", two: "spa2", stack: ks.stack}
	st.serve(apps)
	st.revokeCredential = func(t *testing.T, accessToken string) {
		for _, call := range ks.rec.tokenCalls() {
			if call.accessToken == accessToken {
				st.revokeAt(t, call.refreshToken)
				return
			}
		}
		t.Fatal("Keycloak does not know that access token")
	}
	st.calls = true
	st.backChannel = func(t *testing.T, sid string) {
		if sid != "" {
			kc.admin(t, http.MethodDelete, "ort/sessions/"+url.PathEscape(sid), nil, nil)
			return
		}
		// Its tokens name the user alone where a client wants no sid in them.
		required := func(yes bool) {
			for _, client := range []string{"spa", "spa2"} {
				kc.change(t, client, func(c map[string]any) {
					c["attributes"].(map[string]any)["backchannel.logout.session.required"] = fmt.Sprint(yes)
				})
			}
		}
		required(false)
		kc.admin(t, http.MethodPost, "ort/users/"+kc.user(t, "ort", "alice")+"/logout", nil, nil)
		required(true)
	}
	return st
}
