package ortengine_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// TestORTOpaque: a token is the prefix and base64url; nothing that it says can be
// read, and two of the same content differ.
func TestORTOpaque(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		tells := user("u", "s", time.Time{})
		one := f.login(login{browser: "b", key: "thumbprint", tells: tells})
		two := f.login(login{browser: "b", key: "thumbprint", tells: tells})
		rest, ok := strings.CutPrefix(one.Token, ortengine.Prefix)
		if !ok || !ortengine.IsORT(one.Token) {
			t.Fatal("an ORT without its prefix")
		}
		sealed, err := base64.RawURLEncoding.DecodeString(rest)
		if err != nil {
			t.Fatal(err)
		}
		for _, inside := range []string{issuer, "app-one", "thumbprint", string(one.Session.ID), "upstream-credential"} {
			if strings.Contains(string(sealed), inside) {
				t.Errorf("an ORT shows %q", inside)
			}
		}
		if one.Token == two.Token {
			t.Error("two ORTs are the same")
		}
	})
}

// TestORTMutated: no token opens that is not, byte for byte, one that was issued.
func TestORTMutated(t *testing.T) {
	f := newFixture(t, nil)
	ort := f.login(login{key: "jkt"}).Token
	other := newFixture(t, nil)
	if _, err := other.Open(ort); err == nil {
		t.Error("an ORT of another gateway opened")
	}
	for name, token := range map[string]string{
		"empty": "", "prefix": ortengine.Prefix, "another version": "ORT2" + ort[4:], "lower case": "ort" + ort[3:],
		"padded": ort + "=", "line end": ort + "\n", "line end inside": ort[:20] + "\r\n" + ort[20:], "space": " " + ort,
		"doubled": ort + ort, "cut": ort[:len(ort)-1], "longer": ort + "A", "huge": ort + strings.Repeat("A", 1<<20),
	} {
		if _, err := f.Open(token); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range ort {
		for _, c := range []byte{alphabet[(i*7)%64], alphabet[(i*11+3)%64], '+', '/', '.', 0} {
			if ort[i] == c {
				continue
			}
			if _, err := f.Open(ort[:i] + string(c) + ort[i+1:]); err == nil {
				t.Fatalf("opened with byte %d changed to %q", i, c)
			}
		}
	}
}

// FuzzOpen: garbage never opens; what opens is a token that was issued.
func FuzzOpen(f *testing.F) {
	e := newFixture(f, nil)
	ort := e.login(login{client: "app-one", key: "jkt"}).Token
	f.Add(ort, 0, byte(0))
	f.Add("", 3, byte(1))
	f.Add(ortengine.Prefix, 5, byte('\n'))
	f.Add(ortengine.Prefix+strings.Repeat("A", 80), 9, byte('='))
	f.Add(ort[:40], 40, byte('.'))
	f.Add(ort+"\n", len(ort)+1, byte('\r'))
	f.Fuzz(func(t *testing.T, token string, at int, c byte) {
		if token != ort {
			if o, err := e.Open(token); err == nil {
				t.Fatalf("%q opened as %+v", token, o)
			}
		}
		// A token that was issued, with one byte put in.
		at = min(max(at, 0), len(ort))
		mutated := ort[:at] + string([]byte{c}) + ort[at:]
		if o, err := e.Open(mutated); err == nil {
			t.Fatalf("%q opened as %+v", mutated, o)
		}
		o, err := e.Open(ort)
		if err != nil || o.Client != "app-one" || o.Thumbprint != "jkt" || o.Issuer != issuer {
			t.Fatalf("the token itself: %+v, %v", o, err)
		}
	})
}
