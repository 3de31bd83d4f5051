package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

var update = flag.Bool("update", false, "write the results in testdata/vectors.json anew: never for a released format")

// vector is what one key and purpose must always give. All but Name, Keys, Seals
// and Purpose are hex.
type vector struct {
	Name      string `json:"name"`
	Keys      string `json:"keys"`  // of the ring that opens
	Seals     string `json:"seals"` // id of the key that sealed, perhaps no longer the first
	Purpose   string `json:"purpose"`
	Nonce     string `json:"nonce"`
	AAD       string `json:"aad"`
	Plaintext string `json:"plaintext"`
	// Results
	Sealed string `json:"sealed"`
	MAC    string `json:"mac"` // of the plaintext
	Export string `json:"export"`
}

// Tokens that users hold and credentials on disk must open in every later
// version. A change of a vector is a change that ends every session.
func TestVectors(t *testing.T) {
	path := filepath.Join("testdata", "vectors.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatal("no vectors")
	}
	for i := range vectors {
		v := &vectors[i]
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
	if *update {
		text, err := json.MarshalIndent(vectors, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (v *vector) check(t *testing.T) {
	ring, err := ParseKeys(v.Keys)
	if err != nil {
		t.Fatal(err)
	}
	sealer := ring // with the key that sealed alone
	index := 0
	for i, e := range strings.Split(v.Keys, ",") {
		if strings.HasPrefix(e, v.Seals+":") {
			sealer, index = mustParse(t, e), i
		}
	}
	box := sealer.Box(v.Purpose)
	box.rand = bytes.NewReader(fromHex(t, v.Nonce))
	plaintext, aad := fromHex(t, v.Plaintext), fromHex(t, v.AAD)

	sealed := box.Seal(plaintext, aad)
	mac, ok := ring.Box(v.Purpose).MAC(v.Seals, plaintext)
	if !ok {
		t.Fatalf("no key %s", v.Seals)
	}
	export := ring.Box(v.Purpose).Subkeys()[index]
	if *update {
		v.Sealed, v.MAC, v.Export = hex.EncodeToString(sealed), hex.EncodeToString(mac), hex.EncodeToString(export)
	}
	for _, r := range []struct {
		what string
		got  []byte
		want string
	}{{"sealed", sealed, v.Sealed}, {"MAC", mac, v.MAC}, {"export", export, v.Export}} {
		if got := hex.EncodeToString(r.got); got != r.want {
			t.Errorf("%s = %s, want %s", r.what, got, r.want)
		}
	}
	got, err := ring.Box(v.Purpose).Open(fromHex(t, v.Sealed), aad)
	if err != nil || !bytes.Equal(got, plaintext) {
		t.Errorf("Open = %x, %v, want %x", got, err, plaintext)
	}
	v.checkByHand(t, plaintext, aad)
}

// checkByHand computes the vector from the package documentation alone, with
// HKDF written out (RFC 5869 §2; 32 bytes are one block of SHA-256).
func (v *vector) checkByHand(t *testing.T, plaintext, aad []byte) {
	t.Helper()
	var key []byte
	for e := range strings.SplitSeq(v.Keys, ",") {
		if id, encoded, _ := strings.Cut(e, ":"); id == v.Seals {
			key, _ = base64.StdEncoding.DecodeString(encoded)
		}
	}
	mac := func(key, data []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(data)
		return h.Sum(nil)
	}
	subkey := func(use string) []byte {
		info := "ort-gateway seal 1\x00" + use + "\x00" + v.Seals + "\x00" + v.Purpose
		return mac(mac(make([]byte, 32), key), []byte(info+"\x01"))
	}
	aead, err := chacha20poly1305.NewX(subkey("aead"))
	if err != nil {
		t.Fatal(err)
	}
	nonce := fromHex(t, v.Nonce)
	sealed := append([]byte{byte(len(v.Seals))}, v.Seals...)
	sealed = append(sealed, nonce...)
	sealed = aead.Seal(sealed, nonce, plaintext, aad)
	for _, r := range []struct {
		what string
		got  []byte
		want string
	}{
		{"sealed", sealed, v.Sealed},
		{"MAC", mac(subkey("mac"), plaintext), v.MAC},
		{"export", subkey("export"), v.Export},
	} {
		if got := hex.EncodeToString(r.got); got != r.want {
			t.Errorf("by hand, %s = %s, the vector says %s", r.what, got, r.want)
		}
	}
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
