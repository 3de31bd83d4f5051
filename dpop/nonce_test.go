package dpop

import (
	"regexp"
	"testing"
	"time"
)

func TestNonceWindows(t *testing.T) {
	now := time.Unix(3000, 0) // the start of a window of 5 minutes
	n := NewNonces(NoncesConfig{Keys: testKeys, Now: func() time.Time { return now }})
	nonce := n.issue(7, now)
	for _, tt := range []struct {
		name       string
		at         time.Duration
		generation uint64
		want       Reason
	}{
		{"at once", 0, 7, ""},
		{"end of its window", 5*time.Minute - 1, 7, ""},
		{"next window", 5 * time.Minute, 7, ""},
		{"end of the next window", 10*time.Minute - 1, 7, ""},
		{"two windows later", 10 * time.Minute, 7, ReasonStaleNonce},
		{"a day later", 24 * time.Hour, 7, ReasonStaleNonce},
		{"our clock a window behind", -5 * time.Minute, 7, ""},
		{"next generation", 0, 8, ReasonStaleNonce},
		{"generation before", 0, 6, ReasonWrongNonce},
	} {
		at := now.Add(tt.at)
		until, why := n.check(nonce, tt.generation, at)
		if why != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, why, tt.want)
		}
		if why == "" && !until.Equal(time.Unix(3600, 0)) {
			t.Errorf("%s: good until %v", tt.name, until)
		}
	}
	if !regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`).MatchString(nonce) {
		t.Errorf("%q has characters that are no NQCHAR", nonce)
	}
}

func TestNonceOfAnother(t *testing.T) {
	now := func() time.Time { return time.Unix(3000, 0) }
	ours := NewNonces(NoncesConfig{Keys: testKeys, Now: now, Epoch: []byte("start 2")})
	for name, c := range map[string]NoncesConfig{
		"key":      {Keys: func() [][]byte { return [][]byte{[]byte("another key of 32 octets........")} }, Epoch: []byte("start 2")},
		"epoch":    {Keys: testKeys, Epoch: []byte("start 1")},
		"lifetime": {Keys: testKeys, Epoch: []byte("start 2"), Lifetime: 10 * time.Minute},
		"own key":  {Epoch: []byte("start 2")},
	} {
		c.Now = now
		if _, why := ours.check(NewNonces(c).issue(1, now()), 1, now()); why != ReasonWrongNonce {
			t.Errorf("nonce by another %s: got %q, want %q", name, why, ReasonWrongNonce)
		}
	}
}

// Keys change in three steps: the new one is added behind, then comes first,
// then the old one goes. Nonces are good all the way.
func TestNonceKeyRotation(t *testing.T) {
	now := time.Unix(3000, 0)
	old, fresh := []byte("old key, 16 or more octets"), []byte("new key, 16 or more octets")
	keys := [][]byte{old}
	n := NewNonces(NoncesConfig{Keys: func() [][]byte { return keys }, Now: func() time.Time { return now }})
	step := func(next [][]byte) {
		keys = next
		now = now.Add(time.Second)
	}
	good := func(nonce string, want bool) {
		t.Helper()
		if _, why := n.check(nonce, 1, now); (why == "") != want {
			t.Errorf("nonce is good: %v, want %v", !want, want)
		}
	}
	first := n.issue(1, now)
	step([][]byte{old, fresh})
	good(first, true)
	if n.issue(1, now) != first {
		t.Error("a key that is not the first issues")
	}
	step([][]byte{fresh, old})
	second := n.issue(1, now)
	good(first, true)
	good(second, true)
	step([][]byte{fresh})
	good(first, false)
	good(second, true)
	step([][]byte{[]byte("short")})
	good(second, false)
	if got := n.issue(1, now); got != "" {
		t.Errorf("without a usable key %q is issued", got)
	}
}

func TestVerifierNonce(t *testing.T) {
	if got := newVerifier(t, nil).Nonce(); got != "" {
		t.Errorf("a verifier without nonces issues %q", got)
	}
	replay := NewMemoryReplay(0, nil, true)
	v := newVerifier(t, func(c *Config) { c.Replay = replay; c.Nonces = NewNonces(NoncesConfig{Lifetime: time.Hour}) })
	first := v.Nonce()
	replay.startGeneration(func() bool { return true })
	if v.Nonce() == first {
		t.Error("a new generation has the nonces of the old one")
	}
}
