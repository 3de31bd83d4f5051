package sessions

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"testing"
)

var goldenMoved = []Moved{
	{Session: &goldenSession, Grants: []Grant{goldenGrant, {ID: "other"}}},
	{Note: &HashedNote{Kind: NoteDeadCookie, Hash: HashNote("cookie"), At: at(1_700_000_000_123), Until: at(1_734_560_000_123)}},
	{},
}

// What an export of this version holds is read by every later one.
func TestGoldenMoved(t *testing.T) {
	var all []byte
	for _, m := range goldenMoved {
		b := EncodeMoved(&m)
		got, err := DecodeMoved(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, m)
		}
		all = append(append(all, hex.EncodeToString(b)...), '\n')
	}
	path := goldenFile("moved", movedVersion)
	if *update {
		if err := os.WriteFile(path, all, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all, want) {
		t.Errorf("what is written has changed: raise the version\ngot  %s\nwant %s", all, want)
	}
}

func TestDecodeMovedRefuses(t *testing.T) {
	for _, m := range goldenMoved {
		b := EncodeMoved(&m)
		for n := range b {
			if _, err := DecodeMoved(b[:n]); !errors.Is(err, ErrDamaged) {
				t.Errorf("the first %d bytes: got error %v", n, err)
			}
		}
		if _, err := DecodeMoved(append(bytes.Clone(b), 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("one byte more: got error %v", err)
		}
		newer := bytes.Clone(b)
		newer[1]++
		if _, err := DecodeMoved(newer); !errors.Is(err, ErrVersion) {
			t.Errorf("a newer version: got error %v", err)
		}
	}
}

// FuzzDecodeMoved: what can be read is the same record once it is written again.
func FuzzDecodeMoved(f *testing.F) {
	for _, m := range goldenMoved {
		f.Add(EncodeMoved(&m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMoved(b)
		if err != nil {
			return
		}
		if again, err := DecodeMoved(EncodeMoved(&m)); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v was read, and %+v from what is written: %v", m, again, err)
		}
	})
}
