package e2e

import (
	"bytes"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// A backup that is put back lets every user go on. What ended after it lives again.
func TestBackupRestored(t *testing.T) {
	st := adminStack(t, map[string]string{"ORT_UPSTREAM_END": "none"})
	kept, ended := st.app("app-one", nil), st.app("app-two", nil)
	kept.login(t)
	ended.login(t)
	kept.works(t)
	copied := filepath.Join(t.TempDir(), "backup.db")
	if out := st.sessions("backup", copied); !strings.HasPrefix(out, copied+": ") {
		t.Errorf("backup: %q", out)
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup's file: %v %v", info, err)
	}
	mustRevoke(t, ended)
	ended.dead(t)
	later := st.app("app-two", nil)
	later.login(t)

	// The file and its key are lost with the disk.
	key := readFile(t, st.database()+".key")
	if err := st.gateway.terminate(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{st.database(), st.database() + ".key"} {
		if err := os.Remove(lost); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, st.database(), readFile(t, copied))
	writeFile(t, st.database()+".key", key)
	st.startGateway()
	kept.works(t)
	ended.works(t)
	kept.loginWith(t, url.Values{"prompt": {"none"}})
	later.dead(t) // it began after the backup
	later.login(t)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// otherStores are empty stores that sessions move into, by the settings that name them.
var otherStores = []struct {
	name string
	env  func(t *testing.T, st *stack) map[string]string
}{
	{"bolt", func(t *testing.T, st *stack) map[string]string {
		return map[string]string{"ORT_STORE_URL": "bolt:" + filepath.Join(t.TempDir(), "moved.db"), "ORT_SEALING_KEYS_FILE": st.database() + ".key"}
	}},
	{"redis", func(t *testing.T, st *stack) map[string]string {
		return map[string]string{"ORT_STORE_URL": redisForMove(t) + "/0?key_prefix=moved:", "ORT_SEALING_KEYS_FILE": st.database() + ".key"}
	}},
}

// redisForMove starts an empty Redis and gives its URL.
func redisForMove(t *testing.T) string {
	t.Helper()
	address := proctest.FreeAddress(t)
	startRedis(t, address)
	return "redis://" + address
}

// Sessions move into another store while nobody is logged out, and what ended stays ended.
func TestSessionsMove(t *testing.T) {
	for _, to := range otherStores {
		t.Run(to.name, func(t *testing.T) {
			st := adminStack(t, nil)
			a, b := twoIn(t, st, "app-one", "app-two")
			a.works(t)
			gone := st.app("app-one", nil)
			gone.login(t)
			mustRevoke(t, gone)
			before := st.listed()
			file := filepath.Join(t.TempDir(), "moved.ort")
			if err := st.gateway.terminate(20 * time.Second); err != nil {
				t.Fatal(err)
			}
			if out := st.sessions("export", file); !strings.Contains(out, "2 sessions") {
				t.Errorf("export: %q", out)
			}
			sealed := readFile(t, file)
			for _, clear := range []string{"app-one", st.issuer, before[0].ID, before[0].Subjects[0].Sub} {
				if bytes.Contains(sealed, []byte(clear)) {
					t.Errorf("the file shows %q", clear)
				}
			}
			env := to.env(t, st)
			st.damagedImports(sealed, env)
			st.imports(file, env)
			maps.Copy(st.env, env)
			st.startGateway()
			if after := st.listed(); len(after) != len(before) {
				t.Errorf("%d sessions are there, %d were", len(after), len(before))
			}
			a.works(t)
			b.works(t)
			gone.dead(t)
			silent(t, gone, "login_required") // its login cookie stays dead
			st.app("app-two", a.browser).loginWith(t, url.Values{"prompt": {"none"}})
			st.movesBack()
			b.works(t)
		})
	}
}

// movesBack exports from the store that was moved into and imports into an embedded one again.
func (st *stack) movesBack() {
	st.t.Helper()
	file := filepath.Join(st.t.TempDir(), "back.ort")
	if err := st.gateway.terminate(20 * time.Second); err != nil {
		st.t.Fatal(err)
	}
	st.sessions("export", file)
	st.env["ORT_STORE_URL"] = "bolt:" + filepath.Join(st.t.TempDir(), "back.db")
	st.sessions("import", file)
	st.startGateway()
}

func (st *stack) imports(file string, env map[string]string) {
	st.t.Helper()
	if out, errs, code := st.command(env, "sessions", "import", file); code != 0 || !strings.Contains(out, "2 sessions") {
		st.t.Fatalf("import: exit code %d: %s%s", code, out, errs)
	}
	if _, errs, code := st.command(env, "sessions", "import", file); code != 1 || !strings.Contains(errs, "the store is not empty") {
		st.t.Errorf("import into a store that is not empty: exit code %d: %s", code, errs)
	}
}

// damagedImports are files that say one line and leave the store as empty as it was.
func (st *stack) damagedImports(sealed []byte, env map[string]string) {
	st.t.Helper()
	changed := slices.Clone(sealed)
	changed[len(changed)/2] ^= 1
	for name, c := range map[string]struct {
		bytes []byte
		env   map[string]string
		want  string
	}{
		"cut in the middle": {sealed[:len(sealed)/2], nil, "it was cut off"},
		"one byte short":    {sealed[:len(sealed)-1], nil, "it was cut off"},
		"one byte more":     {append(slices.Clone(sealed), 0), nil, "it is damaged"},
		"one bit changed":   {changed, nil, "it is damaged"},
		"empty":             {nil, nil, "no export of ort-gateway, or empty"},
		"newer":             {bytes.Replace(sealed, []byte("stream 1\n"), []byte("stream 9\n"), 1), nil, "a newer version of ort-gateway"},
		"foreign key": {sealed, map[string]string{"ORT_SEALING_KEYS_FILE": "", "ORT_SEALING_KEYS": "other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
			"which ORT_SEALING_KEYS has not"},
	} {
		file := filepath.Join(st.t.TempDir(), "damaged.ort")
		writeFile(st.t, file, c.bytes)
		all := maps.Clone(env)
		maps.Copy(all, c.env)
		out, errs, code := st.command(all, "sessions", "import", file)
		if code != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, c.want) {
			st.t.Errorf("%s: exit code %d: %s%s", name, code, out, errs)
		}
	}
}
