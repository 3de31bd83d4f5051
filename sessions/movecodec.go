package sessions

import "fmt"

const (
	kindMoved    = 'M'
	movedVersion = 1
)

// EncodeMoved is the form in which a [Moved] travels between stores.
func EncodeMoved(m *Moved) []byte {
	w := newWriter(kindMoved, movedVersion, 512)
	w.bool(m.Session != nil)
	if m.Session != nil {
		w.bytes(EncodeSession(m.Session))
	}
	w.count(len(m.Grants))
	for i := range m.Grants {
		w.bytes(EncodeGrant(&m.Grants[i]))
	}
	w.bool(m.Note != nil)
	if n := m.Note; n != nil {
		w.b = append(append(w.b, byte(n.Kind)), n.Hash[:]...)
		w.time(n.At)
		w.time(n.Until)
	}
	return w.b
}

// DecodeMoved reads what [EncodeMoved] wrote, also where the records in it are of
// older versions.
func DecodeMoved(b []byte) (m Moved, err error) {
	r := newReader(b, kindMoved, movedVersion)
	if r.bool() {
		s, err := DecodeSession(r.bytes())
		if err != nil {
			return Moved{}, fmt.Errorf("reading a record: %w", err)
		}
		m.Session = &s
	}
	for range r.count(3) {
		g, err := DecodeGrant(r.bytes())
		if err != nil {
			return Moved{}, fmt.Errorf("reading a record: %w", err)
		}
		m.Grants = append(m.Grants, g)
	}
	if r.bool() {
		m.Note = r.note()
	}
	if err := r.end(); err != nil {
		return Moved{}, fmt.Errorf("reading a record: %w", err)
	}
	return m, nil
}

func (r *reader) note() *HashedNote {
	n := &HashedNote{}
	if len(r.b) < 1+len(n.Hash) {
		r.damaged()
		return nil
	}
	n.Kind = NoteKind(r.b[0])
	copy(n.Hash[:], r.b[1:])
	r.skip(1 + len(n.Hash))
	n.At, n.Until = r.time(), r.time()
	return n
}
