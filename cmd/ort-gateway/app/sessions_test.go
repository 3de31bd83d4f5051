package app

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/boltstore"
)

// filled is an embedded store with sessions, some of which have ended, and a note.
func filled(t testing.TB, path string, n int) []sessions.ID {
	t.Helper()
	store, err := boltstore.Open(boltstore.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	now := time.Now()
	var ids []sessions.ID
	for i := range n {
		s := sessions.Session{ID: sessions.NewID(), Place: "p", Created: now, Start: now, LastUsed: now, Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour),
			Subjects: []sessions.Subject{{Issuer: "https://id.example", Client: "spa", Sub: fmt.Sprint("user", i)}}}
		g := sessions.Grant{ID: sessions.NewGrantID(), Client: "spa", Issuer: "https://id.example", Credential: make([]byte, 300), Created: now}
		if err := store.Create(t.Context(), s, g, time.Time{}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	if _, err := store.AddNote(t.Context(), sessions.Note{Kind: sessions.NoteDeadCookie, Key: "a", At: now, Until: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// move runs export or import with a store and keys.
func move(t *testing.T, command, store, keys, file string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	environ := []string{"ORT_ISSUER=http://127.0.0.1:8080", "ORT_UPSTREAM_URL=http://127.0.0.1:8081", "ORT_STORE_URL=bolt:" + store, "ORT_SEALING_KEYS=" + keys}
	code = Run(t.Context(), []string{"sessions", command, file}, environ, &out, &errs)
	return out.String(), errs.String(), code
}

// Browsers hold tokens, and grants credentials, under any key of the old ring: an
// importing gateway without one of them would log their users out, later and unseen.
func TestImportNeedsEveryKey(t *testing.T) {
	dir := t.TempDir()
	from, file := filepath.Join(dir, "from.db"), filepath.Join(dir, "moved.ort")
	filled(t, from, 3)
	former, next, third := seal.NewKey(), seal.NewKey(), seal.NewKey()
	id, _, _ := strings.Cut(former, ":")
	_, secret, _ := strings.Cut(third, ":")
	if out, errs, code := move(t, "export", from, next+","+former, file); code != 0 || !strings.Contains(out, "3 sessions (ended ones too) and 1 note,") {
		t.Fatalf("export: %d %s%s", code, out, errs)
	}
	to := filepath.Join(dir, "to.db")
	for name, c := range map[string]struct{ keys, want string }{
		"the former key is missing":                    {next, "sealed with the key " + id + ", which ORT_SEALING_KEYS has not; add all keys"},
		"the newest key is missing":                    {former, "which ORT_SEALING_KEYS has not"},
		"another key has the former key's name":        {next + "," + id + ":" + secret, "the key " + id + " of ORT_SEALING_KEYS is not the key " + id},
		"another gateway's keys":                       {third, "which ORT_SEALING_KEYS has not"},
		"no gateway's keys but the right name of both": {strings.Split(next, ":")[0] + ":" + secret, "it is damaged, or ORT_SEALING_KEYS has another key under the same name"},
	} {
		out, errs, code := move(t, "import", to, c.keys, file)
		if code != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: %d %s%s", name, code, out, errs)
		}
		if _, err := os.Stat(to); err == nil {
			t.Fatalf("%s: a store was made", name)
		}
	}
	for _, keys := range []string{former + "," + next, third + "," + next + "," + former} { // their order is free, and a new one may be first
		if out, errs, code := move(t, "import", to, keys, file); code != 0 {
			t.Fatalf("import: %d %s%s", code, out, errs)
		}
		if err := os.Remove(to); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever the length that is left of a file, nothing of it is kept.
func TestImportOfACutFile(t *testing.T) {
	dir := t.TempDir()
	from, file, keys := filepath.Join(dir, "from.db"), filepath.Join(dir, "moved.ort"), seal.NewKey()
	filled(t, from, 200) // more than one chunk
	if out, errs, code := move(t, "export", from, keys, file); code != 0 {
		t.Fatalf("export: %d %s%s", code, out, errs)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := seal.ParseKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if n%211 != 0 && n < len(whole)-3 {
			continue
		}
		failed := false
		for _, err := range readExport(bytes.NewReader(whole[:n]), ring, new(moveEnd)) {
			failed = failed || err != nil
		}
		if !failed {
			t.Errorf("the first %d of %d bytes were taken for whole", n, len(whole))
		}
	}
	half, to := filepath.Join(dir, "half"), filepath.Join(dir, "to.db")
	if err := os.WriteFile(half, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := move(t, "import", to, keys, half); code != exitFailed || out != "" || errs != "ort-gateway: "+half+": it was cut off: copy or export it again\n" {
		t.Errorf("half a file: exit code %d: %s%s", code, out, errs)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("a store was made of half a file")
	}
	var end moveEnd
	records := 0
	for _, err := range readExport(bytes.NewReader(whole), ring, &end) {
		if err != nil {
			t.Fatal(err)
		}
		records++
	}
	if records != 201 || end.Sessions != 200 || end.Notes != 1 {
		t.Errorf("%d records, %+v", records, end)
	}
}

// Nothing that is sealed, but not an export as this version writes it, is taken; the store is not even made for it.
func TestImportOfWhatIsNoExport(t *testing.T) {
	dir, keys := t.TempDir(), seal.NewKey()
	ring, err := seal.ParseKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	framed := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	last := func(text string) []byte { return framed(append([]byte{moveKind}, text...)) }
	now := time.Now()
	note := framed(sessions.EncodeMoved(&sessions.Moved{Note: &sessions.HashedNote{Kind: sessions.NoteDeadCookie, Hash: sessions.HashNote("a"), At: now, Until: now.Add(time.Hour)}}))
	const cut, damaged = "it was cut off: copy or export it again", "it is damaged, or "
	for name, c := range map[string]struct {
		frames []byte
		want   string
	}{
		"nothing":                     {nil, cut},
		"no last frame":               {note, cut},
		"half a length":               {[]byte{0x80}, cut},
		"half a frame":                {note[:len(note)-1], cut},
		"half of the last frame":      {slices.Concat(note, []byte{200, 1, moveKind}), cut},
		"an empty frame":              {[]byte{0}, damaged},
		"a frame without end":         {binary.AppendUvarint(nil, maxFrame+1), damaged},
		"a length of no number":       {bytes.Repeat([]byte{0xff}, 11), ""},
		"a record of no kind":         {slices.Concat(framed([]byte("?")), last(`{"version":1}`)), ""},
		"a last frame that is none":   {last(`{`), damaged},
		"a version before the first":  {last(`{"version":0}`), damaged},
		"a later version":             {last(`{"version":2}`), "a newer version of ort-gateway exported it"},
		"a session that is not there": {slices.Concat(note, last(`{"version":1,"sessions":1,"notes":1}`)), damaged},
		"a note too few":              {slices.Concat(note, last(`{"version":1,"notes":2}`)), damaged},
		"a note too many":             {slices.Concat(note, last(`{"version":1}`)), damaged},
		"more behind the end":         {slices.Concat(last(`{"version":1}`), []byte{1}), damaged},
	} {
		t.Run(name, func(t *testing.T) {
			file, to := filepath.Join(dir, "file"), filepath.Join(dir, "to.db")
			var b bytes.Buffer
			w, err := ring.Box("move").NewWriter(&b)
			if err == nil {
				_, err = w.Write(c.frames)
			}
			if err == nil {
				err = w.Close()
			}
			if err == nil {
				err = os.WriteFile(file, b.Bytes(), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			out, errs, code := move(t, "import", to, keys, file)
			if code != exitFailed || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, file+": ") || !strings.Contains(errs, c.want) {
				t.Errorf("exit code %d: %s%s, want %q", code, out, errs, c.want)
			}
			if _, err := os.Stat(to); err == nil {
				t.Error("a store was made")
			}
		})
	}
}

// An import that is interrupted leaves no store behind: one that is there would be taken for a start.
func TestImportInterrupted(t *testing.T) {
	dir, keys := t.TempDir(), seal.NewKey()
	from, to, file := filepath.Join(dir, "from.db"), filepath.Join(dir, "to.db"), filepath.Join(dir, "moved.ort")
	filled(t, from, 3)
	if out, errs, code := move(t, "export", from, keys, file); code != 0 {
		t.Fatalf("export: %d %s%s", code, out, errs)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var out, errs bytes.Buffer
	code := Run(ctx, []string{"sessions", "import", file}, []string{"ORT_ISSUER=http://127.0.0.1:8080", "ORT_UPSTREAM_URL=http://127.0.0.1:8081", "ORT_STORE_URL=bolt:" + to, "ORT_SEALING_KEYS=" + keys}, &out, &errs)
	if code != exitFailed || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("a store was left")
	}
}

// A file of a format to come is no damage.
func TestExportFaults(t *testing.T) {
	for err, want := range map[error]string{
		seal.ErrNewer: "import it with that version", sessions.ErrVersion: "import it with that version", seal.ErrCut: "cut off", seal.ErrOpen: "damaged", sessions.ErrDamaged: "damaged",
		seal.ErrForeign: "no export", io.ErrNoProgress: io.ErrNoProgress.Error(),
	} {
		if got := exportFault(fmt.Errorf("reading: %w", err)).Error(); !strings.Contains(got, want) {
			t.Errorf("%v: %s", err, got)
		}
	}
}

// A table stays one: names are cut, and move no cursor.
func TestSessionTable(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	session := func(id, sub string, clients []string, ended string) json.RawMessage {
		s := map[string]any{
			"id": id, "clients": clients, "started_at": now.Add(-26 * time.Hour), "last_used_at": now.Add(-90 * time.Second),
			"idle_expires_at": now.Add(3 * time.Hour), "expires_at": now.Add(2 * time.Hour),
		}
		if sub != "" {
			s["subjects"] = []map[string]string{{"sub": sub, "client": "a", "issuer": "i"}, {"sub": sub, "client": "b", "issuer": "i"}}
		}
		if ended != "" {
			s["ended"] = map[string]any{"at": now.Add(-3 * time.Minute), "reason": ended}
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var out bytes.Buffer
	table := &sessionTable{to: &out, now: now}
	for _, page := range [][]json.RawMessage{
		{session("id-one", "alice", []string{"spa", "mail"}, ""), session("id-two", "\x1b[2Jévil\u202e", nil, "admin")},
		{session("id-3", strings.Repeat("é", 60), []string{strings.Repeat("x", 60)}, ""), session("id-4", "", nil, "")},
	} {
		if err := table.page(page); err != nil {
			t.Fatal(err)
		}
	}
	want := `SESSION  USER       CLIENTS   STARTED   LAST USED  EXPIRES  STATE
id-one   alice      spa,mail  1d2h ago  1m ago     in 2h    active
id-two   ·[2Jévil·  -         1d2h ago  1m ago     -        admin 3m ago
`
	got := out.String()
	if !strings.HasPrefix(got, want) || strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if n := utf8.RuneCountInString(lines[3]); n > 160 || strings.Count(lines[3], "…") != 2 {
		t.Errorf("long names make a line of %d characters: %s", n, lines[3])
	}
}

// show tells everything about a session, and moves no cursor either.
func TestShownSession(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	login := now.Add(-2 * time.Hour)
	living := &listedSession{
		ID: "id-one", Started: now.Add(-time.Hour), LastUsed: now.Add(-time.Minute), AuthTime: &login, Idle: now.Add(time.Hour), Absolute: now.Add(49 * time.Hour), Owed: 1,
		Subjects: []listedSubject{{Issuer: "https://id.example", Client: "spa", Sub: "ali\x1bce"}},
		Grants: []listedGrant{
			{Client: "spa", Scope: "openid", Bound: true, Created: now.Add(-time.Hour), LastUsed: now.Add(-time.Minute), Uses: 12},
			{Client: "web", Scope: "openid email", Created: now.Add(-time.Hour)},
		},
	}
	ended := &listedSession{ID: "id-two", Issuers: []string{"https://id.example", "https://id.example/b"}, Started: now.Add(-time.Hour), LastUsed: now.Add(-time.Hour), Absolute: now.Add(time.Hour)}
	ended.Ended = &struct {
		At     time.Time `json:"at"`
		Reason string    `json:"reason"`
	}{now.Add(-time.Second), "admin"}
	for s, want := range map[*listedSession]string{
		living: `session         id-one
state           active
user            ali·ce  (spa at https://id.example)
logged in       2026-03-04T03:06:07Z  (2h ago)
started         2026-03-04T04:06:07Z  (1h ago)
last used       2026-03-04T05:05:07Z  (1m ago)
idle until      2026-03-04T06:06:07Z  (in 1h)
absolute until  2026-03-06T06:06:07Z  (in 2d1h)
to give back    1 credential of the identity provider

CLIENT  SCOPE         KEY      CREATED  LAST USED  USES
spa     openid        bound    1h ago   1m ago     12
web     openid email  unbound  1h ago   -          0
`,
		ended: `session         id-two
state           ended: admin
ended           2026-03-04T05:06:06Z  (1s ago)
issuer          https://id.example, https://id.example/b
started         2026-03-04T04:06:07Z  (1h ago)
last used       2026-03-04T04:06:07Z  (1h ago)
absolute until  2026-03-04T06:06:07Z  (in 1h)
`,
	} {
		var out bytes.Buffer
		if err := printSession(&out, s, now); err != nil || out.String() != want {
			t.Errorf("%v: got\n%s\nwant\n%s", err, out.String(), want)
		}
	}
}

// Options stand before or behind the argument, as people write them.
func TestSessionOptions(t *testing.T) {
	end := sessionCommands()["end"]
	for _, args := range [][]string{{"id", "--json"}, {"--json", "id"}, {"-json", "--", "id"}} {
		f, arguments, err := end.parse(args)
		if err != nil || !f.json || !slices.Equal(arguments, []string{"id"}) {
			t.Errorf("%q: %+v %q %v", args, f, arguments, err)
		}
	}
	if f, arguments, err := end.parse([]string{"--", "-id", "--json"}); err == nil {
		t.Errorf("two arguments: %+v %q", f, arguments)
	}
	id := "-" + strings.Repeat("a", 21)
	for _, args := range [][]string{{id}, {id, "--json"}, {"--json", id}} {
		if _, arguments, err := end.parse(args); err != nil || !slices.Equal(arguments, []string{id}) {
			t.Errorf("%q: %q %v", args, arguments, err)
		}
	}
	if f, arguments, err := end.parse([]string{"--sub", id}); err != nil || f.sub != id || len(arguments) != 0 {
		t.Errorf("a user's name like an id: %+v %q %v", f, arguments, err)
	}
	if _, arguments, err := end.parse([]string{"--", "-id"}); err != nil || !slices.Equal(arguments, []string{"-id"}) {
		t.Errorf("an id that begins with a dash: %q %v", arguments, err)
	}
}

func TestSpans(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		0: "0s ago", -time.Hour: "0s ago", 59 * time.Second: "59s ago", 61 * time.Second: "1m ago", time.Hour: "1h ago", 90 * time.Minute: "1h30m ago",
		49 * time.Hour: "2d1h ago", 48*time.Hour + time.Minute: "2d ago",
	} {
		if got := ago(now, now.Add(-d)); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	if got := ago(now, time.Time{}); got != "-" {
		t.Errorf("never: %q", got)
	}
	for d, want := range map[time.Duration]string{-time.Second: "now", 0: "now", time.Minute: "in 1m"} {
		if got := until(now, now.Add(d)); got != want {
			t.Errorf("until %v: got %q, want %q", d, got, want)
		}
	}
	if s := (&listedSession{Idle: now, Absolute: now.Add(time.Hour)}); !s.expires().Equal(now) {
		t.Errorf("the idle deadline is the next: %v", s.expires())
	}
}
