package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	keySize  = chacha20poly1305.KeySize // of sealing keys and of sub-keys, in bytes
	maxKeyID = 32                       // characters
	redacted = "[redacted]"
)

// Keyring is a set of sealing keys, the first of which seals. It is made by
// [ParseKeys] or [LoadOrCreate], holds at least one key, and is safe for
// concurrent use. Printed, logged or marshaled it says [redacted].
type Keyring struct {
	ring atomic.Pointer[ring]
}

// ring is one state of a Keyring. It never changes once published, so whoever
// holds one may compare it by address.
type ring struct {
	keys []key
}

type key struct {
	id     string
	secret secret
}

// secret gives the bytes of a sealing key, and does not print. It is a function
// because package fmt calls no methods on unexported fields, and follows even
// pointers there when a verb does not fit ("%s" of a struct that holds one).
type secret func() []byte

// ParseKeys reads sealing keys in the form "id:base64(32 bytes)", separated by
// commas; white space around a key is no part of it (files end in a newline).
// An id has 1 to 32 characters of A-Z a-z 0-9 . _ - and occurs once. The base64
// is of either alphabet, with or without padding. Keys of zero bytes only, and
// one key under two ids, are refused.
//
// Errors name the position of the key (from 1) and its id where that is a valid
// one, never anything else of s: in a value with swapped or missing parts, any
// part of it may be the secret.
func ParseKeys(s string) (*Keyring, error) {
	r := new(ring)
	for i, entry := range strings.Split(s, ",") {
		k, err := parseKey(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("sealing key %d%s: %w", i+1, quoteID(k.id), err)
		}
		for j, other := range r.keys {
			if other.id == k.id {
				return nil, fmt.Errorf("sealing key %d%s: same id as key %d", i+1, quoteID(k.id), j+1)
			}
			if subtle.ConstantTimeCompare(other.secret(), k.secret()) == 1 {
				return nil, fmt.Errorf("sealing key %d%s: same bytes as key %d%s", i+1, quoteID(k.id), j+1, quoteID(other.id))
			}
		}
		r.keys = append(r.keys, k)
	}
	// In a FIPS 140-only process this AEAD does not exist; better told here
	// than at the first login.
	if _, err := chacha20poly1305.NewX(r.keys[0].secret()); err != nil {
		return nil, fmt.Errorf("making XChaCha20-Poly1305: %w", err)
	}
	k := new(Keyring)
	k.ring.Store(r)
	return k, nil
}

// parseKey reads one "id:base64". With an error the key has its id, if that
// much was valid, and nothing else.
func parseKey(s string) (key, error) {
	if s == "" {
		return key{}, errors.New("empty")
	}
	id, encoded, found := strings.Cut(s, ":")
	if !found {
		return key{}, errors.New("no colon, want id:base64")
	}
	if !validID(id) {
		return key{}, fmt.Errorf("id is not 1 to %d characters of A-Z a-z 0-9 . _ -", maxKeyID)
	}
	k := key{id: id}
	b, ok := decodeBase64(encoded)
	if !ok {
		return k, errors.New("not base64 after the colon")
	}
	if len(b) != keySize {
		return k, fmt.Errorf("%d bytes, want exactly %d", len(b), keySize)
	}
	if subtle.ConstantTimeCompare(b, make([]byte, keySize)) == 1 {
		return k, errors.New("all bytes are zero")
	}
	k.secret = func() []byte { return b }
	return k, nil
}

func validID(id string) bool {
	if id == "" || len(id) > maxKeyID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// decodeBase64 takes both alphabets, padded or not. Package base64 would pass
// over line breaks; here one means that a file holds more than a key.
func decodeBase64(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	for _, enc := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		if b, err := enc.Strict().DecodeString(s); err == nil {
			return b, true
		}
	}
	return nil, false
}

func quoteID(id string) string {
	if id == "" {
		return ""
	}
	return " (" + id + ")"
}

// NewKey makes a sealing key and returns it in the form that [ParseKeys] reads,
// under a random id. The result is a secret.
func NewKey() string {
	var id [4]byte
	var s [keySize]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	rand.Read(s[:])
	return "k" + hex.EncodeToString(id[:]) + ":" + base64.StdEncoding.EncodeToString(s[:])
}

// IDs returns the ids of the keys, the sealing one first.
func (k *Keyring) IDs() []string {
	var ids []string
	for _, key := range k.current().keys {
		ids = append(ids, key.id)
	}
	return ids
}

// Replace makes k hold the keys that other holds now, in one step: every call
// on k or one of its boxes sees either all former or all new keys. A nil other
// changes nothing.
func (k *Keyring) Replace(other *Keyring) {
	if other != nil {
		k.ring.Store(other.current())
	}
}

var emptyRing = new(ring)

func (k *Keyring) current() *ring {
	if r := k.ring.Load(); r != nil {
		return r
	}
	return emptyRing // of a zero Keyring: opens nothing
}

// subkey derives the key's 32 bytes for one use and purpose (package doc).
func (k *key) subkey(use, purpose string) []byte {
	info := "ort-gateway seal 1\x00" + use + "\x00" + k.id + "\x00" + purpose
	b, err := hkdf.Key(sha256.New, k.secret(), nil, info, keySize)
	if err != nil {
		panic("seal: deriving a sub-key: " + err.Error()) // only for lengths that HKDF cannot give
	}
	return b
}

// String says [redacted].
func (k *Keyring) String() string { return redacted }

// GoString says [redacted].
func (k *Keyring) GoString() string { return redacted }

// LogValue says [redacted].
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText says [redacted].
func (k *Keyring) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (secret) String() string               { return redacted }
func (secret) GoString() string             { return redacted }
func (secret) Format(f fmt.State, _ rune)   { f.Write([]byte(redacted)) }
func (secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
