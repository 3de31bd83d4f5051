package dpop

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

const (
	defaultNonceLifetime = 5 * time.Minute
	minNonceKey          = 16 // octets
	nonceSize            = 24 // octets: 4 of the window's number, 20 of the MAC
)

// NoncesConfig says how nonces are made. The zero value works for one process.
type NoncesConfig struct {
	// Keys returns the current keys, each of at least 16 secret octets: the
	// first issues, all check, so keys can be changed while nonces are in use.
	// It is asked about once a second; a shorter key is passed over, and without
	// any key no proof is accepted. Nil: one key, made for this process.
	Keys func() [][]byte
	// Lifetime is the length of a window. A nonce is good in the window it was
	// issued in and in the next, so for one to two lifetimes. 0: 5 minutes.
	Lifetime time.Duration
	// Epoch goes into every nonce. Give each process start its own where the
	// replay memory does not survive a restart, and leave it nil where nonces
	// are shared between processes.
	Epoch []byte
	// Now is the clock of a Verifier whose Config has none. Nil: time.Now.
	Now func() time.Time
}

// Nonces makes and checks DPoP nonces (RFC 9449 §8) without remembering any:
// a nonce is an HMAC over the time window, the replay memory's generation and
// the epoch. They cannot be foretold without the key, have only NQCHAR
// characters, and are safe for concurrent use.
type Nonces struct {
	keys     func() [][]byte
	lifetime time.Duration
	epoch    []byte
	now      func() time.Time
	latest   atomic.Pointer[noncePage]
}

// NewNonces returns Nonces for a Config. A negative Lifetime is reported by New.
func NewNonces(c NoncesConfig) *Nonces {
	n := &Nonces{keys: c.Keys, lifetime: c.Lifetime, epoch: slices.Clone(c.Epoch), now: c.Now}
	if n.keys == nil {
		key := make([]byte, sha256.Size)
		rand.Read(key) // never fails
		n.keys = func() [][]byte { return [][]byte{key} }
	}
	if n.lifetime == 0 {
		n.lifetime = defaultNonceLifetime
	}
	if n.now == nil {
		n.now = time.Now
	}
	return n
}

func (n *Nonces) validate() error {
	if n.lifetime < time.Second {
		return errors.New("Nonces: Lifetime must be at least 1s")
	}
	return nil
}

// noncePage holds the strings that are good now, so that issuing costs nothing
// and checking is a comparison.
type noncePage struct {
	window     int64
	generation uint64
	second     int64 // when it was made; keys are read again in the next
	issue      string
	good       []goodNonce
}

type goodNonce struct {
	value string
	until time.Time
}

// issue returns the nonce to hand out now; empty where there is no key.
func (n *Nonces) issue(generation uint64, now time.Time) string {
	return n.page(now, generation).issue
}

// check returns until when a proof with this nonce can be accepted, or the
// reason why it cannot.
func (n *Nonces) check(nonce string, generation uint64, now time.Time) (until time.Time, why Reason) {
	page := n.page(now, generation)
	for i := range page.good {
		if subtle.ConstantTimeCompare([]byte(page.good[i].value), []byte(nonce)) == 1 {
			return page.good[i].until, ""
		}
	}
	return time.Time{}, n.diagnose(nonce, generation)
}

// diagnose tells a nonce of ours that is over from one that never was ours.
func (n *Nonces) diagnose(nonce string, generation uint64) Reason {
	var raw [nonceSize]byte
	if !decodeExactly(raw[:], nonce) {
		return ReasonWrongNonce
	}
	window := int64(binary.BigEndian.Uint32(raw[:]))
	for _, key := range n.usableKeys() {
		for _, g := range []uint64{generation, generation - 1} {
			if subtle.ConstantTimeCompare([]byte(n.make(key, window, g)), []byte(nonce)) == 1 {
				return ReasonStaleNonce
			}
		}
	}
	return ReasonWrongNonce
}

func (n *Nonces) page(now time.Time, generation uint64) *noncePage {
	window, second := now.UnixNano()/int64(n.lifetime), now.Unix()
	p := n.latest.Load()
	if p != nil && p.window == window && p.generation == generation && p.second == second {
		return p
	}
	p = &noncePage{window: window, generation: generation, second: second}
	for i, key := range n.usableKeys() {
		// The window to come is good too: another replica's clock may be a
		// moment ahead, and nobody else can have made it.
		for _, w := range []int64{window, window - 1, window + 1} {
			p.good = append(p.good, goodNonce{
				value: n.make(key, w, generation),
				until: time.Unix(0, (w+2)*int64(n.lifetime)),
			})
		}
		if i == 0 {
			p.issue = p.good[0].value
		}
	}
	n.latest.Store(p)
	return p
}

func (n *Nonces) usableKeys() [][]byte {
	return slices.DeleteFunc(slices.Clone(n.keys()), func(k []byte) bool { return len(k) < minNonceKey })
}

func (n *Nonces) make(key []byte, window int64, generation uint64) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("DPoP nonce 1\x00"))
	var fixed [24]byte
	binary.BigEndian.PutUint64(fixed[0:], uint64(uint32(window)))
	binary.BigEndian.PutUint64(fixed[8:], generation)
	// Replicas that were given different lifetimes count different windows.
	binary.BigEndian.PutUint64(fixed[16:], uint64(n.lifetime))
	mac.Write(fixed[:])
	mac.Write(n.epoch)
	out := binary.BigEndian.AppendUint32(make([]byte, 0, sha256.Size+4), uint32(window))
	return b64.EncodeToString(mac.Sum(out)[:nonceSize])
}
