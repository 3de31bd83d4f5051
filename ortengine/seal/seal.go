package seal

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrOpen is the error of [Box.Open], whatever the cause: not sealed bytes at
// all, of a key that is gone, of another purpose, with other additional data,
// or changed. It says no more on purpose.
var ErrOpen = errors.New("sealed bytes do not open")

const (
	nonceSize = chacha20poly1305.NonceSizeX
	overhead  = chacha20poly1305.Overhead
)

// Box seals and opens for one purpose. It keeps what it derived from the
// keyring until the keyring changes, so make one per purpose and keep it. It is
// safe for concurrent use.
type Box struct {
	keyring *Keyring
	purpose string
	rand    io.Reader // nil: crypto/rand; vectors need chosen nonces
	derived atomic.Pointer[derived]
}

// derived is all that a purpose needs of one ring.
type derived struct {
	from    *ring
	keys    []boxKey
	exports [][]byte
}

type boxKey struct {
	id   string
	aead cipher.AEAD
	macs sync.Pool // of hash.Hash: an HMAC keyed once is cheap to reset
}

// Box returns the keyring as one purpose sees it. Two boxes of one purpose open
// each other's bytes.
func (k *Keyring) Box(purpose string) *Box {
	b := &Box{keyring: k, purpose: purpose}
	b.current()
	return b
}

// current returns what is derived from the keys in force. Goroutines that meet
// here right after a Replace may each derive the same; that is harmless, and
// cheaper than a lock in every other call.
func (b *Box) current() *derived {
	r := b.keyring.current()
	if d := b.derived.Load(); d != nil && d.from == r {
		return d
	}
	d := derive(r, b.purpose)
	b.derived.Store(d)
	return d
}

func derive(r *ring, purpose string) *derived {
	d := &derived{from: r, keys: make([]boxKey, len(r.keys))}
	for i := range r.keys {
		k := &r.keys[i]
		aead, err := chacha20poly1305.NewX(k.subkey("aead", purpose))
		if err != nil {
			panic("seal: making XChaCha20-Poly1305: " + err.Error()) // ParseKeys has tried
		}
		mac := k.subkey("mac", purpose)
		d.keys[i].id = k.id
		d.keys[i].aead = aead
		d.keys[i].macs.New = func() any { return hmac.New(sha256.New, mac) }
		d.exports = append(d.exports, k.subkey("export", purpose))
	}
	return d
}

func (d *derived) sealing() *boxKey {
	if len(d.keys) == 0 {
		panic("seal: a Keyring without keys; make it with ParseKeys")
	}
	return &d.keys[0]
}

// Seal seals plaintext under the first key. aad is not part of the result;
// Open must be given the same. The result is 41 bytes and the key id's length
// longer than plaintext.
func (b *Box) Seal(plaintext, aad []byte) []byte {
	k := b.current().sealing()
	head := 1 + len(k.id) + nonceSize
	out := make([]byte, head, head+len(plaintext)+overhead)
	out[0] = byte(len(k.id))
	copy(out[1:], k.id)
	nonce := out[1+len(k.id):]
	if b.rand == nil {
		rand.Read(nonce) // never fails (crypto/rand)
	} else if _, err := io.ReadFull(b.rand, nonce); err != nil {
		panic("seal: reading a nonce: " + err.Error())
	}
	return k.aead.Seal(out, nonce, plaintext, aad)
}

// Open returns what was sealed, where any current key opens it. Every failure
// is ErrOpen itself. sealed is untouched and not kept.
func (b *Box) Open(sealed, aad []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, ErrOpen
	}
	n := int(sealed[0])
	if n == 0 || n > maxKeyID || len(sealed) < 1+n+nonceSize+overhead {
		return nil, ErrOpen
	}
	id, rest := sealed[1:1+n], sealed[1+n:]
	d := b.current()
	for i := range d.keys {
		if k := &d.keys[i]; k.id == string(id) {
			plaintext, err := k.aead.Open(nil, rest[:nonceSize], rest[nonceSize:], aad)
			if err != nil {
				return nil, ErrOpen
			}
			return plaintext, nil
		}
	}
	return nil, ErrOpen
}

// KeyID returns the id of the key that seals now. Who derives something with
// [Box.MAC] that must be derived again later keeps it.
func (b *Box) KeyID() string {
	return b.current().sealing().id
}

// MAC returns the 32 bytes of HMAC-SHA256 of data under the purpose's MAC
// sub-key of the key named; false where that key is not in the ring. Compare
// MACs with [hmac.Equal].
func (b *Box) MAC(keyID string, data []byte) ([]byte, bool) {
	d := b.current()
	for i := range d.keys {
		if k := &d.keys[i]; k.id == keyID {
			h := k.macs.Get().(hash.Hash)
			h.Reset()
			h.Write(data)
			sum := h.Sum(make([]byte, 0, sha256.Size))
			k.macs.Put(h)
			return sum, true
		}
	}
	return nil, false
}

// Subkeys returns a sub-key of 32 bytes for each current key, the sealing one
// first, for a package that does its own cryptography (DPoP nonces). They are
// none of the keys that Seal, Open and MAC use. The result is shared: it must
// not be changed.
func (b *Box) Subkeys() [][]byte {
	return b.current().exports
}

// String names the purpose and no key.
func (b *Box) String() string { return "box " + b.purpose + " " + redacted }

// GoString is String: the fields of a Box are keys.
func (b *Box) GoString() string { return b.String() }

// LogValue is String.
func (b *Box) LogValue() slog.Value { return slog.StringValue(b.String()) }

// MarshalText is String.
func (b *Box) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
