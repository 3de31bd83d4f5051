package seal

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestLoadOrCreateMakesAKeyOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ort-sessions.db.keys")
	first, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if perm := info.Mode().Perm(); perm != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %04o, want 0600", perm)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%v in the directory, want the key file alone", entries)
	}
	second, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := second.Box("ort").Open(first.Box("ort").Seal([]byte("text"), nil), nil)
	if err != nil || string(got) != "text" {
		t.Errorf("after a restart: Open = %q, %v", got, err)
	}
}

// The file may be written by an operator as well, with a rotation in it.
func TestLoadOrCreateReadsARotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(entry("new", 2)+",\n"+entry("old", 1)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := k.IDs(); !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("IDs = %v, want [new old]", got)
	}
}

// A file that is there is never overwritten, whatever is in it.
func TestLoadOrCreateRefusesAndKeeps(t *testing.T) {
	good := entry("k1", 1) + "\n"
	tests := []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"empty", "", 0o600, "sealing key 1: empty"},
		{"half-written", good[:20], 0o600, "sealing key 1 (k1): "},
		{"cut in the id", "k", 0o600, "sealing key 1: no colon"},
		{"cut between keys", strings.TrimSpace(good) + ",", 0o600, "sealing key 2: empty"},
		{"foreign", "-----BEGIN PRIVATE KEY-----\nMIIE\n", 0o600, "sealing key 1: no colon"},
		{"binary", "\x00\x01\x02:\xff", 0o600, "sealing key 1: id is not"},
		{"huge", strings.Repeat("a", maxKeyFile+1), 0o600, "more than 65536 bytes"},
		{"readable by everyone", good, 0o644, "open to every user (mode 0644), want mode 0600"},
		{"writable by everyone", good, 0o602, "open to every user (mode 0602), want mode 0600"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tt.mode != 0o600 {
				t.Skip("no such mode")
			}
			path := filepath.Join(t.TempDir(), "keys")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil { // WriteFile's is cut by the umask
				t.Fatal(err)
			}
			_, err := LoadOrCreate(path)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want the path and %q", err, tt.want)
			}
			if leaks(err.Error(), tt.content) {
				t.Errorf("error %q tells what is in the file", err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != tt.content {
				t.Errorf("the file was changed to %q, %v", got, err)
			}
		})
	}
}

// Kubernetes adds the group's bits at each mount of a volume with an fsGroup.
func TestLoadOrCreateTakesGroupBits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if _, err := LoadOrCreate(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(path); err != nil {
		t.Error(err)
	}
}

func TestLoadOrCreateNotAFile(t *testing.T) {
	dir := t.TempDir()
	dangling := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nowhere", "keys"), dangling); err != nil {
		t.Skip(err)
	}
	for name, path := range map[string]string{
		"directory":         dir,
		"missing directory": filepath.Join(dir, "missing", "keys"),
		"dangling link":     dangling,
		"under a file":      filepath.Join(fileIn(t, dir), "keys"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := LoadOrCreate(path); err == nil || strings.Count(err.Error(), path) != 1 {
				t.Errorf("error %v, want one that names %s once", err, path)
			}
		})
	}
	if _, err := os.Lstat(dangling); err != nil {
		t.Errorf("the link is gone: %v", err)
	}
}

func fileIn(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Two gateways started at once over one directory must not get two keys.
func TestLoadOrCreateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var mu sync.Mutex
	var ids []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			k, err := LoadOrCreate(path)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			ids = append(ids, k.IDs()...)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 1 {
		t.Errorf("%d different keys, want 1", n)
	}
}

// Where the file system knows no hard links.
func TestCreateInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := createInPlace(path); err != nil {
		t.Fatal(err)
	}
	k, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := createInPlace(path); err == nil {
		t.Error("a second file took the place of the first")
	}
	again, err := LoadOrCreate(path)
	if err != nil || !slices.Equal(again.IDs(), k.IDs()) {
		t.Errorf("the key changed: %v", err)
	}
}
