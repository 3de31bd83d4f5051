package sessions

import (
	"cmp"
	"slices"
	"time"
)

// Draft is one session with its grants while an Update changes it. Nothing of
// it is kept when the Update's function returns an error.
type Draft struct {
	// Session may be changed freely, but for its ID.
	Session Session

	load    func() ([]Grant, error)
	one     func(GrantID) (Grant, bool, error)
	changed map[GrantID]*Grant // nil: dropped
	codes   []Code
	notes   []Note
	err     error
}

// NewDraft is for backends: one reads a single grant, all reads every grant of
// the session. They are called only while f runs.
func NewDraft(s Session, one func(GrantID) (Grant, bool, error), all func() ([]Grant, error)) *Draft {
	return &Draft{Session: s, one: one, load: all, changed: map[GrantID]*Grant{}}
}

// Grant is one grant as it stands in this draft.
func (d *Draft) Grant(id GrantID) (Grant, bool) {
	if g, ok := d.changed[id]; ok {
		if g == nil {
			return Grant{}, false
		}
		return *g, true
	}
	g, ok, err := d.one(id)
	d.fail(err)
	return g, ok && err == nil
}

// Grants are all grants as they stand in this draft, oldest first.
func (d *Draft) Grants() []Grant {
	stored, err := d.load()
	d.fail(err)
	out := make([]Grant, 0, len(stored)+1)
	for _, g := range stored {
		if _, ok := d.changed[g.ID]; !ok {
			out = append(out, g)
		}
	}
	for _, g := range d.changed {
		if g != nil {
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(a, b Grant) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Put adds or replaces a grant.
func (d *Draft) Put(g Grant) {
	g.Session = d.Session.ID
	d.changed[g.ID] = &g
}

// Drop removes a grant and the credential in it.
func (d *Draft) Drop(id GrantID) { d.changed[id] = nil }

// UseCode marks a code as exchanged until a moment.
func (d *Draft) UseCode(hash CodeHash, until time.Time) {
	d.codes = append(d.codes, Code{Hash: hash, Exchanged: true, Until: until})
}

// EndSession ends the session and drops its grants. It says whether this was
// the end: an ended session stays as it ended.
func (d *Draft) EndSession(end End) bool {
	if d.Session.End != nil {
		return false
	}
	d.Session.End = &end
	for _, g := range d.Grants() {
		d.Drop(g.ID)
	}
	return true
}

// EndSessionOwing is EndSession where single sign-on ends with it: the upstream
// credentials of its grants are owed from then on.
func (d *Draft) EndSessionOwing(end End) bool {
	if d.Session.End != nil {
		return false
	}
	for _, g := range d.Grants() {
		if len(g.Credential) > 0 {
			d.Session.Owed = append(d.Session.Owed, Owed{Grant: g.ID, Client: g.Client, Issuer: g.Issuer, Credential: g.Credential})
		}
	}
	return d.EndSession(end)
}

// AddNote keeps a note together with the change, as [Store.AddNote] does.
func (d *Draft) AddNote(n Note) { d.notes = append(d.notes, n) }

// Notes is for backends: what AddNote was given.
func (d *Draft) Notes() []Note { return d.notes }

func (d *Draft) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Changes is for backends: what the function asked to keep. The error is that
// of a read inside the draft; then nothing may be kept.
func (d *Draft) Changes() (put []Grant, dropped []GrantID, used []Code, err error) {
	for id, g := range d.changed {
		if g == nil {
			dropped = append(dropped, id)
		} else {
			put = append(put, *g)
		}
	}
	return put, dropped, d.codes, d.err
}
