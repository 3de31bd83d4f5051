package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// modelNote is what finds a note.
type modelNote struct {
	kind sessions.NoteKind
	key  string
}

var modelKinds = []sessions.NoteKind{sessions.NoteDeadCookie, sessions.NoteEndedSID}

func (m *model) holds(n sessions.Note) bool { return m.clock.Now().Before(n.Until) }

// refused is what a change gets that no backend may keep.
func (m *model) refused(r *rapid.T, err error) {
	if err == nil || errors.Is(err, sessions.ErrNotFound) {
		r.Fatalf("got error %v, want a refusal", err)
	}
}

// end ends a session of the model.
func (s *modelSession) end(end sessions.End, owes bool) {
	if owes {
		slices.SortFunc(s.grants, func(a, b sessions.Grant) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		})
		for _, g := range s.grants {
			s.Owed = append(s.Owed, sessions.Owed{Grant: g.ID, Client: g.Client, Issuer: g.Issuer, Credential: g.Credential})
		}
	}
	s.End, s.grants = &end, nil
}

// follow gives a session, an ended one too, its newest login cookies.
func (m *model) follow(r *rapid.T) {
	c := sessions.CookieHash(fmt.Sprint("cookie", rapid.IntRange(0, 3).Draw(r, "cookie")))
	s, ok := m.update(r, m.pick(r), func(d *sessions.Draft) error {
		d.Session.Cookies = newestTwo(d.Session.Cookies, c)
		return nil
	})
	if ok {
		s.Cookies = newestTwo(s.Cookies, c)
	}
}

func newestTwo(known []sessions.CookieHash, c sessions.CookieHash) []sessions.CookieHash {
	out := append(slices.Clone(known), c)
	return out[max(0, len(out)-2):]
}

// settle gives one credential back.
func (m *model) settle(r *rapid.T) {
	drop := func(owed []sessions.Owed, i int) []sessions.Owed {
		if len(owed) < 2 {
			return nil
		}
		return slices.Delete(slices.Clone(owed), i%len(owed), i%len(owed)+1)
	}
	i := rapid.IntRange(0, 3).Draw(r, "credential")
	s, ok := m.update(r, m.pick(r), func(d *sessions.Draft) error {
		d.Session.Owed = drop(d.Session.Owed, i)
		return nil
	})
	if ok {
		s.Owed = drop(s.Owed, i)
	}
}

// owe tries to let a session owe what it does not.
func (m *model) owe(r *rapid.T) {
	id := m.pick(r)
	err := m.store.Update(r.Context(), id, nil, func(d *sessions.Draft) error {
		d.Session.Owed = append(d.Session.Owed, sessions.Owed{Grant: "another", Credential: []byte{1}})
		return nil
	})
	if _, ok := m.sessions[id]; ok {
		m.refused(r, err)
	}
}

func (m *model) drawNote(r *rapid.T) sessions.Note {
	return sessions.Note{
		Kind: rapid.SampledFrom(modelKinds).Draw(r, "kind"), Key: fmt.Sprint(rapid.IntRange(0, 2).Draw(r, "key")),
		At:    m.in(time.Duration(rapid.IntRange(-5, 5).Draw(r, "at")) * time.Second),
		Until: m.in(time.Duration(rapid.IntRange(0, 600).Draw(r, "minutes")) * time.Minute),
	}
}

// keepNote says whether the note is the first.
func (m *model) keepNote(n sessions.Note) (first bool) {
	name := modelNote{n.Kind, n.Key}
	known, ok := m.notes[name]
	if first = !ok || !m.holds(known); !first {
		n.At, n.Until = maxTime(n.At, known.At), maxTime(n.Until, known.Until)
	}
	m.notes[name] = n
	return first
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (m *model) addNote(r *rapid.T) {
	n := m.drawNote(r)
	first, err := m.store.AddNote(r.Context(), n)
	m.ok(r, err)
	same(r, "first", first, m.keepNote(n))
}

func (m *model) dropNote(r *rapid.T) {
	n := m.drawNote(r)
	m.ok(r, m.store.DropNote(r.Context(), n.Kind, n.Key))
	delete(m.notes, modelNote{n.Kind, n.Key})
}

func (m *model) agreeNotes(r *rapid.T) {
	for _, kind := range modelKinds {
		for n := range 3 {
			name := modelNote{kind, fmt.Sprint(n)}
			got, err := m.store.Note(r.Context(), name.kind, name.key)
			want, ok := m.notes[name]
			if !ok || !m.holds(want) {
				same(r, "error", errors.Is(err, sessions.ErrNotFound), true)
				continue
			}
			m.ok(r, err)
			same(r, "note", got, want)
		}
	}
}

// agreeOwing reads page by page.
func (m *model) agreeOwing(r *rapid.T) {
	var want, got []sessions.ID
	for id, s := range m.sessions {
		if len(s.Owed) > 0 {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	for after := sessions.ID(""); ; after = got[len(got)-1] {
		page, err := m.store.Owing(r.Context(), after, 2)
		m.ok(r, err)
		for _, s := range page {
			same(r, "session that owes", s, m.sessions[s.ID].Session)
			got = append(got, s.ID)
		}
		if len(page) < 2 {
			break
		}
	}
	same(r, "sessions that owe", got, want)
	same(r, "owing", m.store.Stats().Owing, len(want))
}
