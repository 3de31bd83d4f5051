package dpop

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

// No proof verifies but the one that was signed. The input is the proof's three
// parts after decoding, so that mutations reach the parsers behind base64, and
// the whole once more as it stands.
func FuzzVerify(f *testing.F) {
	good := golden(f, "rfc9449-figure-2.jwt")
	now := func() time.Time { return time.Unix(1562262616, 0) }
	v, err := New(Config{Now: now, Replay: takesAll{}})
	if err != nil {
		f.Fatal(err)
	}
	split := func(s string) [3]string {
		var out [3]string
		for i, part := range strings.SplitN(s, ".", 3) {
			b, err := b64.DecodeString(part)
			if err != nil {
				f.Fatal(err)
			}
			out[i] = string(b)
		}
		return out
	}
	add := func(s string) {
		p := split(s)
		f.Add(p[0], p[1], p[2], s)
	}
	add(good)
	for _, alg := range []string{"ES384", "ES512", "Ed25519", "RS256", "PS256"} {
		add(dpoptest.NewKey(alg).Proof("GET", "https://server.example.com/token", dpoptest.IssuedAt(now())))
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
			if err == nil && proof != good {
				t.Fatalf("verified: %s", proof)
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
			if err == nil && want != nil && bytes.Equal(bytes.ToValidUTF8(data, nil), data) {
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
