package dpop

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
)

// No proof verifies but those that were signed. The input is the proof's three
// parts after decoding, so that mutations reach the parsers behind base64, and
// the whole once more as it stands. Run it with -fuzzminimizetime 10x: the
// arithmetic's coverage is never the same twice, and the default spends all its
// time on making such inputs smaller.
func FuzzVerify(f *testing.F) {
	now := func() time.Time { return time.Unix(1562262616, 0) }
	v, err := New(Config{Now: now, Replay: takesAll{}})
	if err != nil {
		f.Fatal(err)
	}
	signed := map[string]bool{}
	for _, file := range []string{
		"rfc9449-figure-2.jwt", "made-ES384.jwt", "made-ES512.jwt", "made-Ed25519.jwt", "made-RS256.jwt", "made-PS256.jwt",
	} {
		proof := golden(f, file)
		signed[proof] = true
		var parts [3]string
		for i, part := range strings.SplitN(proof, ".", 3) {
			b, err := b64.DecodeString(part)
			if err != nil {
				f.Fatal(err)
			}
			parts[i] = string(b)
		}
		f.Add(parts[0], parts[1], parts[2], proof)
	}
	f.Fuzz(func(t *testing.T, header, payload, sig, whole string) {
		joined := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload)) + "." + b64.EncodeToString([]byte(sig))
		for _, proof := range []string{joined, whole} {
			p, err := v.Verify(context.Background(), Request{
				Proofs: []string{proof}, Method: "POST", URL: "https://server.example.com/token",
			})
			if (err == nil) != (p != nil) {
				t.Fatalf("got %v and %v", p, err)
			}
			if (err == nil) != signed[proof] {
				t.Fatalf("got %v for %s", err, proof)
			}
		}
	})
}

// The walk sees what encoding/json sees, but refuses names given twice.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, ` {"a" : [1,{"b":"]}"}] , "\u0061b":"\\\"" ,"c":null} `, `{"a":1,"\u0061":2}`, `[]`, `{"a":{"a":{}}}x`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m members
		var want map[string]json.RawMessage
		err := json.Unmarshal(data, &want)
		if !m.walk(data) {
			brackets := bytes.Count(data, []byte("[")) + bytes.Count(data, []byte("{"))
			if err == nil && want != nil && brackets <= maxBrackets && bytes.Equal(bytes.ToValidUTF8(data, nil), data) {
				t.Fatalf("refused %q", data)
			}
			return
		}
		if err != nil {
			t.Fatalf("took %q: %v", data, err)
		}
		got := map[string]json.RawMessage{}
		for name, value, ok := m.next(); ok; name, value, ok = m.next() {
			got[string(name)] = value
			if s, ok := text(value); ok {
				var plain string
				if json.Unmarshal(value, &plain) != nil || plain != s {
					t.Fatalf("%q: text of %q is %q", data, value, s)
				}
			}
		}
		if !m.bad && !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Fatalf("%q: got %q, want %q", data, got, want)
		}
	})
}

// A thumbprint is well formed and that of the canonical key, too.
func FuzzThumbprint(f *testing.F) {
	for _, file := range []string{"rfc7638-section-3.1.json", "rfc9449-figure-4.json", "rfc8037-appendix-a.json"} {
		f.Add([]byte(golden(f, file)))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		got, err := Thumbprint(key)
		if err != nil {
			return
		}
		var k jwk
		if !k.parse(key) || !ValidThumbprint(got) {
			t.Fatalf("%q has thumbprint %q", key, got)
		}
		if again, err := Thumbprint(k.canonical()); err != nil || again != got {
			t.Fatalf("%q has thumbprint %q, its canonical form %q, %v", key, got, again, err)
		}
	})
}
