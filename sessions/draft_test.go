package sessions

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func draftOf(grants ...Grant) *Draft {
	return NewDraft(Session{ID: "s"},
		func(id GrantID) (Grant, bool, error) {
			for _, g := range grants {
				if g.ID == id {
					return g, true, nil
				}
			}
			return Grant{}, false, nil
		},
		func() ([]Grant, error) { return grants, nil })
}

func ids(grants []Grant) (out []GrantID) {
	for _, g := range grants {
		out = append(out, g.ID)
	}
	return out
}

func TestDraft(t *testing.T) {
	d := draftOf(Grant{ID: "b", Created: at(2)}, Grant{ID: "c", Created: at(3)})
	d.Put(Grant{ID: "a", Created: at(2)})
	d.Put(Grant{ID: "c", Created: at(1), Uses: 1})
	d.Drop("b")
	d.Drop("never")
	d.UseCode(HashCode("x"), at(9))
	if got, want := ids(d.Grants()), []GrantID{"c", "a"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got grants %v, want %v", got, want)
	}
	if g, ok := d.Grant("c"); !ok || g.Uses != 1 || g.Session != "s" {
		t.Errorf("got %+v, %t", g, ok)
	}
	if _, ok := d.Grant("b"); ok {
		t.Error("a dropped grant is there")
	}
	put, dropped, used, err := d.Changes()
	if len(put) != 2 || len(dropped) != 2 || err != nil || !reflect.DeepEqual(used, []Code{{Hash: HashCode("x"), Exchanged: true, Until: at(9)}}) {
		t.Errorf("got %v, %v, %v, %v", put, dropped, used, err)
	}
}

func TestDraftEnds(t *testing.T) {
	d := draftOf(Grant{ID: "a"})
	d.Put(Grant{ID: "b"})
	if !d.EndSession(End{At: at(1), Reason: EndAdmin}) || d.EndSession(End{At: at(2), Reason: EndIdle}) {
		t.Error("a session ends once")
	}
	put, dropped, _, _ := d.Changes()
	if len(put) != 0 || len(dropped) != 2 || *d.Session.End != (End{At: at(1), Reason: EndAdmin}) {
		t.Errorf("put %v, dropped %v, ended %v", put, dropped, d.Session.End)
	}
}

// TestDraftUnknown: a read that fails is the failure of the whole change.
func TestDraftUnknown(t *testing.T) {
	broken := errors.New("broken")
	d := NewDraft(Session{}, func(GrantID) (Grant, bool, error) { return Grant{}, false, broken }, func() ([]Grant, error) { return nil, broken })
	d.EndSession(End{})
	if _, ok := d.Grant("a"); ok {
		t.Error("a grant that cannot be read is there")
	}
	if _, _, _, err := d.Changes(); !errors.Is(err, broken) {
		t.Errorf("got error %v", err)
	}
}

func TestDeadline(t *testing.T) {
	s := Session{Idle: at(10), Absolute: at(20)}
	for ms, want := range map[int64]EndReason{9: "", 10: EndIdle, 19: EndIdle, 20: EndAbsolute} {
		if got, passed := s.Deadline(at(ms)); got != want || passed != (want != "") {
			t.Errorf("at %d: got %q, %t, want %q", ms, got, passed, want)
		}
	}
	if _, passed := s.Deadline(at(10).Add(-time.Nanosecond)); passed {
		t.Error("passed too early")
	}
}

// TestKeysOfVerifier: RFC 7636 appendix B.
func TestKeysOfVerifier(t *testing.T) {
	keys := KeysOfVerifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
	if keys[0] != KeyOfChallenge("S256", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM") {
		t.Error("not the key of its S256 challenge")
	}
	if keys[1] != KeyOfChallenge("plain", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") || keys[0] == keys[1] {
		t.Error("not the key of its plain challenge")
	}
}
