package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestOpensWhatItSeals(t *testing.T) {
	b := mustParse(t, entry("k1", 1)).Box("ort")
	for _, n := range []int{0, 1, 15, 16, 17, 250, 4096, 1 << 20} {
		plaintext := bytes.Repeat([]byte{'x'}, n)
		for _, aad := range [][]byte{nil, []byte("issuer")} {
			sealed := b.Seal(plaintext, aad)
			if got, want := len(sealed), 1+2+24+n+16; got != want {
				t.Errorf("%d bytes sealed are %d, want %d", n, got, want)
			}
			got, err := b.Open(sealed, aad)
			if err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%d bytes: Open = %d bytes, %v", n, len(got), err)
			}
		}
	}
}

func TestSealedTwiceDiffers(t *testing.T) {
	b := mustParse(t, entry("k1", 1)).Box("ort")
	if bytes.Equal(b.Seal([]byte("x"), nil), b.Seal([]byte("x"), nil)) {
		t.Error("same nonce twice")
	}
}

func TestOpenRefuses(t *testing.T) {
	ring := mustParse(t, entry("k1", 1), entry("k2", 2))
	b := ring.Box("ort")
	sealed := b.Seal([]byte("plaintext"), []byte("aad"))
	edit := func(f func([]byte) []byte) []byte { return f(slices.Clone(sealed)) }
	tests := []struct {
		name   string
		box    *Box
		sealed []byte
		aad    string
	}{
		{"nothing", b, nil, "aad"},
		{"length of the id alone", b, sealed[:1], "aad"},
		{"id alone", b, sealed[:3], "aad"},
		{"no ciphertext", b, sealed[:3+nonceSize], "aad"},
		{"less than a tag", b, sealed[:3+nonceSize+overhead-1], "aad"},
		{"last byte missing", b, sealed[:len(sealed)-1], "aad"},
		{"a byte more", b, edit(func(s []byte) []byte { return append(s, 0) }), "aad"},
		{"no aad", b, sealed, ""},
		{"other aad", b, sealed, "aae"},
		{"longer aad", b, sealed, "aad "},
		{"other purpose", ring.Box("credential"), sealed, "aad"},
		{"longer purpose", ring.Box("ort2"), sealed, "aad"},
		{"unknown key", mustParse(t, entry("k3", 1)).Box("ort"), sealed, "aad"},
		{"other bytes under the same id", mustParse(t, entry("k1", 9)).Box("ort"), sealed, "aad"},
		{"another key's id", b, edit(func(s []byte) []byte { s[2] = '2'; return s }), "aad"},
		{"same bytes under another id", mustParse(t, entry("k2", 1)).Box("ort"), edit(func(s []byte) []byte { s[2] = '2'; return s }), "aad"},
		{"id of no length", b, edit(func(s []byte) []byte { s[0] = 0; return s }), "aad"},
		{"id of length 255", b, edit(func(s []byte) []byte { s[0] = 255; return s }), "aad"},
		{"keyring without keys", new(Keyring).Box("ort"), sealed, "aad"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.box.Open(tt.sealed, []byte(tt.aad))
			if err != ErrOpen { // itself, not wrapped: nothing may tell the causes apart
				t.Errorf("Open = %q, %v, want %v", got, err, ErrOpen)
			}
			if got != nil {
				t.Errorf("Open gave %q with an error", got)
			}
		})
	}
	if _, err := b.Open(sealed, []byte("aad")); err != nil {
		t.Errorf("the bytes that were edited do not open themselves: %v", err)
	}
}

func TestAnyFlippedBitFails(t *testing.T) {
	b := mustParse(t, entry("key-1", 1), entry("key-2", 2), entry("key-3", 3)).Box("ort")
	sealed := b.Seal([]byte("some plaintext"), nil)
	for i := range len(sealed) * 8 {
		sealed[i/8] ^= 1 << (i % 8)
		if _, err := b.Open(sealed, nil); err != ErrOpen {
			t.Errorf("bit %d of byte %d flipped: %v, want %v", i%8, i/8, err, ErrOpen)
		}
		sealed[i/8] ^= 1 << (i % 8)
	}
}

// A rotation: the new key is added behind, then moved to the front, then the
// old one is dropped. Boxes made before follow.
func TestRotation(t *testing.T) {
	ring := mustParse(t, entry("old", 1))
	b := ring.Box("ort")
	first := b.Seal([]byte("first"), nil)
	oldMAC, _ := b.MAC("old", []byte("data"))

	ring.Replace(mustParse(t, entry("old", 1), entry("new", 2)))
	if got := b.KeyID(); got != "old" {
		t.Errorf("KeyID = %s, want old", got)
	}
	ring.Replace(mustParse(t, entry("new", 2), entry("old", 1)))
	if got := b.KeyID(); got != "new" {
		t.Errorf("KeyID = %s, want new", got)
	}
	second := b.Seal([]byte("second"), nil)
	for want, sealed := range map[string][]byte{"first": first, "second": second} {
		if got, err := b.Open(sealed, nil); err != nil || string(got) != want {
			t.Errorf("Open = %q, %v, want %q", got, err, want)
		}
	}
	if mac, ok := b.MAC("old", []byte("data")); !ok || !bytes.Equal(mac, oldMAC) {
		t.Errorf("MAC of the old key = %x, %v, want %x", mac, ok, oldMAC)
	}

	ring.Replace(mustParse(t, entry("new", 2)))
	if _, err := b.Open(first, nil); err != ErrOpen {
		t.Errorf("a dropped key opens: %v", err)
	}
	if _, ok := b.MAC("old", nil); ok {
		t.Error("a dropped key makes a MAC")
	}
	if got, err := b.Open(second, nil); err != nil || string(got) != "second" {
		t.Errorf("Open = %q, %v, want second", got, err)
	}

	ring.Replace(nil)
	ring.Replace(ring)
	if got := ring.IDs(); !slices.Equal(got, []string{"new"}) {
		t.Errorf("IDs = %v, want [new]", got)
	}
}

func TestMAC(t *testing.T) {
	ring := mustParse(t, entry("k1", 1), entry("k2", 2))
	b := ring.Box("verifier")
	mac := hmac.New(sha256.New, ring.current().keys[1].subkey("mac", "verifier"))
	mac.Write([]byte("data"))
	want := mac.Sum(nil)
	for range 3 { // the hash is used again
		got, ok := b.MAC("k2", []byte("data"))
		if !ok || !bytes.Equal(got, want) {
			t.Errorf("MAC = %x, %v, want %x", got, ok, want)
		}
	}
	for name, f := range map[string]func() ([]byte, bool){
		"other key":     func() ([]byte, bool) { return b.MAC("k1", []byte("data")) },
		"other purpose": func() ([]byte, bool) { return ring.Box("cookie").MAC("k2", []byte("data")) },
		"other data":    func() ([]byte, bool) { return b.MAC("k2", []byte("datb")) },
	} {
		if got, ok := f(); !ok || bytes.Equal(got, want) {
			t.Errorf("%s: MAC = %x, %v", name, got, ok)
		}
	}
	for _, id := range []string{"", "k", "k3", strings.Repeat("k", 1000)} {
		if got, ok := b.MAC(id, nil); ok || got != nil {
			t.Errorf("MAC of key %q = %x, %v, want none", id, got, ok)
		}
	}
}

// No two sub-keys are the same, over keys, purposes and uses.
func TestSubkeysAreSeparate(t *testing.T) {
	ring := mustParse(t, entry("k1", 1), entry("k2", 2))
	seen := map[string]string{}
	add := func(what string, key []byte) {
		if len(key) != keySize {
			t.Errorf("%s has %d bytes", what, len(key))
		}
		if other, ok := seen[string(key)]; ok {
			t.Errorf("%s is %s", what, other)
		}
		seen[string(key)] = what
	}
	for _, purpose := range []string{"", "ort", "credential", "nonce"} {
		exports := ring.Box(purpose).Subkeys()
		if len(exports) != 2 {
			t.Fatalf("%d sub-keys, want 2", len(exports))
		}
		for i := range ring.current().keys {
			k := &ring.current().keys[i]
			what := purpose + " of " + k.id
			add("aead "+what, k.subkey("aead", purpose))
			add("mac "+what, k.subkey("mac", purpose))
			add("export "+what, exports[i])
		}
	}
}

func TestSubkeysFollowReplace(t *testing.T) {
	ring := mustParse(t, entry("k1", 1))
	b := ring.Box("nonce")
	old := b.Subkeys()
	ring.Replace(mustParse(t, entry("k2", 2), entry("k1", 1)))
	now := b.Subkeys()
	if len(now) != 2 || !bytes.Equal(now[1], old[0]) || bytes.Equal(now[0], old[0]) {
		t.Errorf("sub-keys after a rotation: %d, the old one last: %v", len(now), len(now) == 2 && bytes.Equal(now[1], old[0]))
	}
}

// Whoever seals while keys are replaced gets bytes that open: each call sees one
// ring from its beginning to its end.
func TestReplaceWhileInUse(t *testing.T) {
	a := mustParse(t, entry("a", 1), entry("b", 2))
	b := mustParse(t, entry("b", 2), entry("a", 1))
	ring := mustParse(t, entry("a", 1), entry("b", 2))
	box := ring.Box("ort")
	macs := map[string][]byte{}
	for _, id := range ring.IDs() {
		macs[id], _ = box.MAC(id, []byte("data"))
	}
	done := make(chan struct{})
	var users, replacer sync.WaitGroup
	replacer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				ring.Replace(b)
				ring.Replace(a)
			}
		}
	})
	for range 4 {
		users.Go(func() {
			for range 500 {
				got, err := box.Open(box.Seal([]byte("text"), nil), nil)
				if err != nil || string(got) != "text" {
					t.Errorf("Open = %q, %v", got, err)
				}
				id := box.KeyID()
				if mac, ok := box.MAC(id, []byte("data")); !ok || !bytes.Equal(mac, macs[id]) {
					t.Errorf("MAC of %s = %x, %v", id, mac, ok)
				}
				if n := len(box.Subkeys()); n != 2 {
					t.Errorf("%d sub-keys", n)
				}
			}
		})
	}
	users.Wait()
	close(done)
	replacer.Wait()
}

func FuzzSeal(f *testing.F) {
	f.Add([]byte("plaintext"), []byte("aad"), uint16(3))
	f.Add([]byte{}, []byte{}, uint16(0))
	b := mustParse(f, entry("k1", 1), entry("k0", 2)).Box("ort")
	f.Fuzz(func(t *testing.T, plaintext, aad []byte, bit uint16) {
		sealed := b.Seal(plaintext, aad)
		got, err := b.Open(sealed, aad)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("Open = %q, %v, want %q", got, err, plaintext)
		}
		i := int(bit) % (len(sealed) * 8)
		sealed[i/8] ^= 1 << (i % 8)
		if _, err := b.Open(sealed, aad); err != ErrOpen {
			t.Errorf("bit %d flipped: %v, want %v", i, err, ErrOpen)
		}
	})
}

func FuzzOpen(f *testing.F) {
	b := mustParse(f, entry("k1", 1)).Box("ort")
	f.Add(b.Seal([]byte("plaintext"), nil), []byte("aad"))
	f.Add([]byte{2, 'k', '1'}, []byte{})
	f.Add(append([]byte{2, 'k', '1'}, make([]byte, nonceSize+overhead)...), []byte{})
	f.Fuzz(func(t *testing.T, sealed, aad []byte) {
		before := slices.Clone(sealed)
		if _, err := b.Open(sealed, aad); err != nil && !errors.Is(err, ErrOpen) {
			t.Errorf("error %v, want %v", err, ErrOpen)
		}
		if !bytes.Equal(sealed, before) {
			t.Error("Open changed its input")
		}
	})
}
