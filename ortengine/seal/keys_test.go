package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// testKey is key n of the tests: its bytes are n, n+1, n+2, …
func testKey(n byte) []byte {
	b := make([]byte, keySize)
	for i := range b {
		b[i] = n + byte(i)
	}
	return b
}

// entry writes a key as ParseKeys reads it.
func entry(id string, n byte) string {
	return id + ":" + base64.StdEncoding.EncodeToString(testKey(n))
}

func mustParse(t testing.TB, entries ...string) *Keyring {
	t.Helper()
	k, err := ParseKeys(strings.Join(entries, ","))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseKeys(t *testing.T) {
	// 0xfb, 0xef, 0xbe … has the letters in which the alphabets differ.
	odd := bytes.Repeat([]byte{0xfb, 0xef, 0xbe, 0xff}, 8)
	long := strings.Repeat("a", maxKeyID)
	tests := []struct {
		name, in string
		want     []string
	}{
		{"one key", entry("k1", 1), []string{"k1"}},
		{"the first seals", entry("new", 2) + "," + entry("old", 1), []string{"new", "old"}},
		{"every character of an id", entry("aZ09._-", 1), []string{"aZ09._-"}},
		{"id of one character", entry("a", 1), []string{"a"}},
		{"id of 32 characters", entry(long, 1), []string{long}},
		{"newline at the end of a file", entry("k1", 1) + "\n", []string{"k1"}},
		{"a line each", entry("k1", 1) + ",\r\n\t" + entry("k2", 2), []string{"k1", "k2"}},
		{"standard alphabet, padded", "k:" + base64.StdEncoding.EncodeToString(odd), []string{"k"}},
		{"standard alphabet, not padded", "k:" + base64.RawStdEncoding.EncodeToString(odd), []string{"k"}},
		{"URL alphabet, padded", "k:" + base64.URLEncoding.EncodeToString(odd), []string{"k"}},
		{"URL alphabet, not padded", "k:" + base64.RawURLEncoding.EncodeToString(odd), []string{"k"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParseKeys(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if got := k.IDs(); !slices.Equal(got, tt.want) {
				t.Errorf("IDs = %v, want %v", got, tt.want)
			}
		})
	}
}

// Errors say which key and why. They must never say what was given.
func TestParseKeysRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(testKey(1))
	encode := func(n int) string { return base64.StdEncoding.EncodeToString(testKey(1)[:n]) }
	tests := []struct{ name, in, want string }{
		{"nothing", "", "sealing key 1: empty"},
		{"white space", " \n", "sealing key 1: empty"},
		{"comma at the end", entry("k1", 1) + ",", "sealing key 2: empty"},
		{"two commas", entry("k1", 1) + ",," + entry("k2", 2), "sealing key 2: empty"},
		{"no id", good, "sealing key 1: no colon, want id:base64"},
		{"empty id", ":" + good, "sealing key 1: id is not 1 to 32 characters of A-Z a-z 0-9 . _ -"},
		{"id and secret swapped", good + ":k1", "sealing key 1: id is not"},
		{"unpadded secret and id swapped", strings.TrimRight(good, "=") + ":k1", "sealing key 1: id is not"},
		{"id too long", strings.Repeat("a", maxKeyID+1) + ":" + good, "sealing key 1: id is not"},
		{"id with a space", "k 1:" + good, "sealing key 1: id is not"},
		{"id with another letter", "kä:" + good, "sealing key 1: id is not"},
		{"no base64", entry("k1", 1) + ",k2:!" + good[1:], "sealing key 2 (k2): not base64 after the colon"},
		{"base64 cut short", "k1:" + good[:41], "sealing key 1 (k1): not base64 after the colon"},
		{"bits left over", "k1:" + good[:42] + "9=", "sealing key 1 (k1): not base64 after the colon"},
		{"newline for a comma", entry("k1", 1) + "\n" + entry("k2", 2), "sealing key 1 (k1): not base64 after the colon"},
		{"newline inside", "k1:" + good[:20] + "\n" + good[20:], "sealing key 1 (k1): not base64 after the colon"},
		{"second colon", "k1:" + good + ":x", "sealing key 1 (k1): not base64 after the colon"},
		{"no bytes", "k1:", "sealing key 1 (k1): 0 bytes, want exactly 32"},
		{"31 bytes", "k1:" + encode(31), "sealing key 1 (k1): 31 bytes, want exactly 32"},
		{"33 bytes", "k1:" + base64.StdEncoding.EncodeToString(append(testKey(1), 0)), "sealing key 1 (k1): 33 bytes, want exactly 32"},
		{"all zero", "k1:" + base64.StdEncoding.EncodeToString(make([]byte, 32)), "sealing key 1 (k1): all bytes are zero"},
		{"id twice", entry("k1", 1) + "," + entry("k2", 2) + "," + entry("k1", 3), "sealing key 3 (k1): same id as key 1"},
		{"rotated to itself", entry("k2", 1) + "," + entry("k1", 1), "sealing key 2 (k1): same bytes as key 1 (k2)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParseKeys(tt.in)
			if err == nil {
				t.Fatalf("no error, ids %v", k.IDs())
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if leaks(err.Error(), tt.in) {
				t.Errorf("error %q tells a secret", err)
			}
		})
	}
}

// leaks says whether text has any 8 characters in a row of a secret in s, apart
// from where it names a key's id.
func leaks(text, s string) bool {
	parts := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(",:\n", r) })
	for i, part := range parts {
		parts[i] = strings.TrimSpace(part) // as an entry is read
		part = parts[i]
		if len(part) <= maxKeyID {
			text = strings.ReplaceAll(text, "("+part+")", "")
		}
	}
	for _, part := range parts {
		if len(part) <= maxKeyID {
			continue // fits an id, which may be told
		}
		for i := 0; i+8 <= len(part); i++ {
			if strings.Contains(text, part[i:i+8]) {
				return true
			}
		}
	}
	return false
}

func FuzzParseKeys(f *testing.F) {
	f.Add(entry("k1", 1) + "," + entry("k2", 2))
	f.Add("k1:")
	f.Add(",")
	f.Add("00000000:000000000000000000000000000000000") // the id looks like the secret
	f.Add(base64.StdEncoding.EncodeToString(testKey(1)) + ":k1")
	f.Add("\t" + strings.Repeat("r", maxKeyID) + ":") // an id of full length
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKeys(s)
		if err != nil {
			if leaks(err.Error(), s) {
				t.Errorf("error %q tells a secret of %q", err, s)
			}
			return
		}
		ids := k.IDs()
		if len(ids) != strings.Count(s, ",")+1 {
			t.Errorf("%d ids of %q", len(ids), s)
		}
		seen := map[string]bool{}
		for _, id := range ids {
			if !validID(id) || seen[id] {
				t.Errorf("id %q is not valid or there twice", id)
			}
			seen[id] = true
		}
		got, err := k.Box("p").Open(k.Box("p").Seal([]byte("text"), nil), nil)
		if err != nil || string(got) != "text" {
			t.Errorf("Open = %q, %v", got, err)
		}
	})
}

func TestNewKey(t *testing.T) {
	a, b := NewKey(), NewKey()
	k, err := ParseKeys(a + "," + b)
	if err != nil {
		t.Fatal(err)
	}
	if ids := k.IDs(); len(ids) != 2 || ids[0] == ids[1] {
		t.Errorf("IDs = %v, want two", ids)
	}
}

// A keyring in a struct that is printed, logged or marshaled whole shows no key.
func TestKeysDoNotPrint(t *testing.T) {
	k := mustParse(t, entry("k1", 1))
	box := k.Box("p")
	held := struct {
		K *Keyring
		B *Box
		r *ring
		S secret
		Y key
	}{k, box, k.current(), k.current().keys[0].secret, k.current().keys[0]}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{k, box, held, held.S, held.Y, *held.r, held.r, &held.S, struct{ k *Keyring }{k},
			[]*Box{box}, map[string]*ring{"r": held.r}, []key{held.Y}, held.r.keys} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", "k", k, "b", box, "s", held.S, "y", held.Y)
	}
	j, err := json.Marshal(map[string]any{"k": k, "b": box, "s": held.S, "y": held.Y})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)

	s := testKey(1)
	sub := k.current().keys[0].subkey("aead", "p")
	for _, b := range [][]byte{s, sub} {
		for what, mark := range map[string]string{
			"raw":    string(b[:8]),
			"base64": base64.StdEncoding.EncodeToString(b[:9]),
			"hex":    fmt.Sprintf("%x", b[:6]),
			"HEX":    fmt.Sprintf("%X", b[:6]),
			"bytes":  strings.Trim(fmt.Sprintf("%d", b[:6]), "[]"),
			"Go":     strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b[:6]), "[]byte{"), "}"),
		} {
			if strings.Contains(out.String(), mark) {
				t.Errorf("the key's bytes show as %s", what)
			}
		}
	}
	if n := strings.Count(out.String(), redacted); n < 10 {
		t.Errorf("%d times %s, want many", n, redacted)
	}
}
