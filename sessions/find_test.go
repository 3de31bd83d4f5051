package sessions

import (
	"encoding/hex"
	"slices"
	"testing"
)

// TestIndexKey: stores are found by these bytes, so they stay as they are.
func TestIndexKey(t *testing.T) {
	for _, c := range []struct {
		by   Finder
		want string
	}{
		{Finder{Browser: "browser"}, "628971b2c9d59ad317e0ce97b592966e64"},
		{Finder{Upstream: UpstreamSession{Issuer: "https://id.example", SID: "sid"}}, "75209c486bb8afc74f88870a5e7aeb4bfd"},
		{Finder{Upstream: UpstreamSession{Issuer: "https://id.examples", SID: "id"}}, "751c21afac5017c6c1c81b478f56c069e5"},
		{Finder{Subject: "user"}, "7328ec0ca9787d583475c45f83b2974e28"},
		{Finder{Cookie: "cookie"}, "63c02bb8e1a32be61b24cff3aaac8ec84d"},
	} {
		key, ok := c.by.IndexKey()
		if got := hex.EncodeToString(key[:]); !ok || got != c.want {
			t.Errorf("%+v: got %s", c.by, got)
		}
	}
	if _, ok := (Finder{}).IndexKey(); ok {
		t.Error("nothing is looked for, and there is a key")
	}
}

// TestIndexKeysFind: a session is found by each of its keys, each is there once,
// and by nobody else's.
func TestIndexKeysFind(t *testing.T) {
	s := Session{
		Browsers: []BrowserID{"b1", "b2"}, Upstream: []UpstreamSession{{"i", "s1"}, {"i", "s2"}},
		Subjects: []Subject{{"i", "one", "user"}, {"i", "two", "user"}}, Cookies: []CookieHash{"c"},
	}
	keys := s.IndexKeys()
	if len(keys) != 6 || len(slices.Compact(slices.Clone(keys))) != 6 {
		t.Errorf("%d keys, want 6: %x", len(keys), keys)
	}
	for by, want := range map[Finder]bool{
		{Browser: "b1"}: true, {Browser: "b2"}: true, {Browser: "user"}: false,
		{Upstream: UpstreamSession{"i", "s2"}}: true, {Upstream: UpstreamSession{"j", "s2"}}: false,
		{Subject: "user"}: true, {Subject: "one"}: false, {Cookie: "c"}: true, {Cookie: "b1"}: false,
	} {
		key, _ := by.IndexKey()
		if by.Finds(&s) != want || slices.Contains(keys, key) != want {
			t.Errorf("%+v: found %t, among the keys %t, want %t", by, by.Finds(&s), slices.Contains(keys, key), want)
		}
	}
}

// TestMovedCheck: what no store takes.
func TestMovedCheck(t *testing.T) {
	alive := &Session{ID: "a"}
	for name, c := range map[string]struct {
		m    Moved
		want error
	}{
		"a session":                          {Moved{Session: alive, Grants: []Grant{{Session: "a"}}}, nil},
		"a note":                             {Moved{Note: &HashedNote{}}, nil},
		"nothing":                            {Moved{}, errNeither},
		"both":                               {Moved{Session: alive, Note: &HashedNote{}}, errNeither},
		"another session's grant":            {Moved{Session: alive, Grants: []Grant{{Session: "a"}, {Session: "b"}}}, errForeign},
		"an ended session with a grant":      {Moved{Session: &Session{ID: "a", End: &End{}}, Grants: []Grant{{Session: "a"}}}, errDead},
		"a session that owes while it lives": {Moved{Session: &Session{ID: "a", Owed: []Owed{{}}}}, errOwes},
	} {
		if err := c.m.Check(); err != c.want {
			t.Errorf("%s: got error %v, want %v", name, err, c.want)
		}
	}
}
