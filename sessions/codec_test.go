package sessions

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden file of each record's current version")

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// The records of the golden files. A new field gets its value here, and a new
// version its file; what a file of an older version decodes to is this record
// without the newer fields.
var (
	goldenSession = Session{
		ID: "session", Place: "https://id.example/authorize",
		Browsers: []BrowserID{"browser1", "browser2"},
		Upstream: []UpstreamSession{{Issuer: "https://id.example", SID: "sid\x00é"}},
		Subjects: []Subject{{Issuer: "https://id.example", Client: "spa", Sub: "user"}, {}},
		Cookies:  []CookieHash{"cookie1", "cookie2"},
		Owed:     []Owed{{Grant: "grant", Client: "spa", Issuer: "https://id.example", Credential: []byte{0xff, 0}}},
		Created:  at(1_700_000_000_123),
		AuthTime: at(1_699_999_999_000),
		Start:    at(1_699_999_999_001),
		LastUsed: at(1_700_000_100_000),
		Idle:     at(1_700_259_300_000),
		Absolute: at(1_700_604_800_000),
		End:      &End{At: at(1_700_000_200_000), Reason: EndRevoked, SingleSignOn: true},
	}
	goldenGrant = Grant{
		ID: "grant", Session: "session", Client: "spa", Issuer: "https://id.example", Thumbprint: "jkt",
		Credential: []byte{0, 0xff, 'c'}, Scope: "openid profile", Audiences: []string{"https://api.example", ""},
		GatewayScopes: []string{"offline_access"}, CodeHash: HashCode("code"),
		Created: at(1_700_000_000_123), LastUsed: at(1_700_000_100_000), Uses: 300,
	}
	goldenTransaction = Transaction{
		Key: KeyOfChallenge("S256", "challenge"), Place: "https://id.example/authorize", Client: "spa",
		Scope: "openid online_access", Audiences: []string{"a"}, Thumbprint: "jkt", GatewayScopes: []string{"offline_access"},
		KeyID: "k1", None: true, Browser: "browser", Browsers: true, Address: netip.MustParsePrefix("2001:db8:1:2::/64"),
		Created: at(1_700_000_000_123), Until: at(1_700_086_400_123),
	}
	goldenCode = Code{Hash: HashCode("code"), Browser: "browser", LeftAt: at(-1), Cookies: []CookieHash{"cookie"}, Exchanged: true, Until: at(0)}
)

// kind is one record's coding, without its type.
type kind struct {
	name    string
	version byte
	golden  any
	encode  func(any) []byte
	decode  func([]byte) (any, error)
	older   map[byte]any // the golden record as older versions wrote it: without what they did not know
}

func kindOf[T any](name string, version byte, golden T, encode func(*T) []byte, decode func([]byte) (T, error), older map[byte]any) kind {
	return kind{
		name, version, golden,
		func(v any) []byte { r := v.(T); return encode(&r) },
		func(b []byte) (any, error) { return decode(b) },
		older,
	}
}

// without is a golden record as a version knew it that has not all of its fields.
func without[T any](golden T, forget func(*T)) T {
	forget(&golden)
	return golden
}

var kinds = []kind{
	kindOf("session", sessionVersion, goldenSession, EncodeSession, DecodeSession, map[byte]any{
		1: without(goldenSession, func(s *Session) { s.Cookies, s.Owed = nil, nil }),
	}),
	kindOf("grant", grantVersion, goldenGrant, EncodeGrant, DecodeGrant, nil),
	kindOf("transaction", transactionVersion, goldenTransaction, EncodeTransaction, DecodeTransaction, nil),
	kindOf("code", codeVersion, goldenCode, EncodeCode, DecodeCode, map[byte]any{
		1: without(goldenCode, func(c *Code) { c.Cookies = nil }),
	}),
}

func goldenFile(name string, version byte) string {
	return filepath.Join("testdata", fmt.Sprintf("%s.v%d.hex", name, version))
}

func goldenBytes(t testing.TB, name string, version byte) []byte {
	t.Helper()
	text, err := os.ReadFile(goldenFile(name, version))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGolden: what is written stays as it is, and what was ever written is read.
func TestGolden(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := k.encode(k.golden)
			if *update {
				if err := os.WriteFile(goldenFile(k.name, k.version), []byte(hex.EncodeToString(b)+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for version := byte(1); version <= k.version; version++ {
				want := goldenBytes(t, k.name, version)
				if version == k.version && !bytes.Equal(b, want) {
					t.Errorf("what is written has changed: raise the version\ngot  %x\nwant %x", b, want)
				}
				got, err := k.decode(want)
				if err != nil {
					t.Fatal(err)
				}
				record := k.golden
				if version < k.version {
					record = k.older[version]
				}
				if !reflect.DeepEqual(got, record) {
					t.Errorf("version %d: got  %+v\nwant %+v", version, got, record)
				}
			}
		})
	}
}

// TestGoldenIsFull: a field that no golden file shows is one that could be lost.
func TestGoldenIsFull(t *testing.T) {
	for _, k := range kinds {
		v := reflect.ValueOf(k.golden)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: %s is empty", k.name, v.Type().Field(i).Name)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := k.encode(k.golden)
			for n := range b {
				if _, err := k.decode(b[:n]); !errors.Is(err, ErrDamaged) {
					t.Errorf("the first %d bytes: got error %v", n, err)
				}
			}
			if _, err := k.decode(append(bytes.Clone(b), 0)); !errors.Is(err, ErrDamaged) {
				t.Errorf("one byte more: got error %v", err)
			}
			newer := bytes.Clone(b)
			newer[1] = k.version + 1
			got, err := k.decode(newer)
			if !errors.Is(err, ErrVersion) || errors.Is(err, ErrDamaged) {
				t.Errorf("a newer version: got error %v", err)
			}
			if !reflect.ValueOf(got).IsZero() {
				t.Errorf("a newer version was guessed: %+v", got)
			}
			for _, o := range kinds {
				if _, err := o.decode(b); o.name != k.name && !errors.Is(err, ErrDamaged) {
					t.Errorf("read as a %s: got error %v", o.name, err)
				}
			}
		})
	}
}

// TestTimes: times are kept to the millisecond, whatever their zone.
func TestTimes(t *testing.T) {
	for _, c := range []struct{ in, want time.Time }{
		{time.Time{}, time.Time{}},
		{time.Unix(0, 0), at(0)},
		{time.Unix(1, 999_999_999), at(1999)},
		{time.Unix(-1, 999_999_999), at(-1)},
		{time.Date(2026, 1, 2, 3, 4, 5, 6_789_000, time.FixedZone("x", -7200)), time.Date(2026, 1, 2, 5, 4, 5, 6_000_000, time.UTC)},
	} {
		got, err := DecodeCode(EncodeCode(&Code{Until: c.in}))
		if err != nil || got.Until != c.want {
			t.Errorf("%v: got %v, error %v, want %v", c.in, got.Until, err, c.want)
		}
	}
}

// FuzzDecode: what can be read was written so, byte for byte; what an older
// version wrote is the same record in this one.
func FuzzDecode(f *testing.F) {
	for _, k := range kinds {
		f.Add(k.encode(k.golden))
		f.Add(k.encode(reflect.Zero(reflect.TypeOf(k.golden)).Interface()))
		for version := byte(1); version < k.version; version++ {
			f.Add(goldenBytes(f, k.name, version))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range kinds {
			v, err := k.decode(b)
			if err != nil {
				continue
			}
			got := k.encode(v)
			if b[1] == k.version && !bytes.Equal(got, b) {
				t.Errorf("%s %x was read, and is written as %x", k.name, b, got)
			}
			if again, err := k.decode(got); err != nil || !reflect.DeepEqual(again, v) {
				t.Errorf("%s %+v was read from %x, and %+v from what is written: %v", k.name, v, b, again, err)
			}
		}
	})
}
