package seal

import (
	"bytes"
	"testing"
)

// A token's plaintext is about 250 bytes.
var benchText = bytes.Repeat([]byte{'x'}, 250)

func BenchmarkSeal(b *testing.B) {
	box := mustParse(b, entry("k1", 1)).Box("ort")
	b.ReportAllocs()
	for b.Loop() {
		box.Seal(benchText, nil)
	}
}

func BenchmarkOpen(b *testing.B) {
	box := mustParse(b, entry("k2", 2), entry("k1", 1)).Box("ort")
	sealed := mustParse(b, entry("k1", 1)).Box("ort").Seal(benchText, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := box.Open(sealed, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// What a stranger's token costs us.
func BenchmarkOpenUnknownKey(b *testing.B) {
	box := mustParse(b, entry("k2", 2)).Box("ort")
	sealed := mustParse(b, entry("k1", 1)).Box("ort").Seal(benchText, nil)
	b.ReportAllocs()
	for b.Loop() {
		box.Open(sealed, nil)
	}
}

func BenchmarkMAC(b *testing.B) {
	box := mustParse(b, entry("k1", 1)).Box("verifier")
	b.ReportAllocs()
	for b.Loop() {
		box.MAC("k1", benchText[:43])
	}
}

// Deriving anew, once after each change of keys.
func BenchmarkDerive(b *testing.B) {
	ring := mustParse(b, entry("k1", 1))
	b.ReportAllocs()
	for b.Loop() {
		ring.Box("ort")
	}
}

// On the way of a request nothing is derived: whoever derives allocates more.
func TestNothingIsDerivedTwice(t *testing.T) {
	box := mustParse(t, entry("k2", 2), entry("k1", 1)).Box("ort")
	before := box.current()
	sealed := box.Seal(benchText, nil)
	box.Open(sealed, nil)
	box.MAC("k1", benchText)
	box.Subkeys()
	box.KeyID()
	if box.current() != before {
		t.Error("sub-keys were derived again without a change of keys")
	}
	if n := testing.AllocsPerRun(100, func() { box.Subkeys(); box.KeyID() }); n != 0 {
		t.Errorf("Subkeys and KeyID: %v allocations, want 0", n)
	}
}
