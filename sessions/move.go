package sessions

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"iter"
	"time"
)

// ErrNotEmpty: the store holds sessions or notes already.
var ErrNotEmpty = errors.New("the store is not empty")

// NoteHash is a note's key as stores keep it.
type NoteHash [16]byte

// HashNote hashes a note's key: a length in front, so that no text can be
// another's.
func HashNote(key string) NoteHash {
	var room [64]byte // most keys are hashes themselves
	sum := sha256.Sum256(append(binary.AppendUvarint(room[:0], uint64(len(key))), key...))
	return NoteHash(sum[:16])
}

// HashedNote is a [Note] whose key is known by its hash alone.
type HashedNote struct {
	Kind      NoteKind
	Hash      NoteHash
	At, Until time.Time
}

// Moved is one of what moves between stores: a session, ended or not, with all
// of its grants; or a note.
type Moved struct {
	Session *Session
	Grants  []Grant
	Note    *HashedNote
}

// Errors of Moved.Check.
var (
	errForeign = errors.New("a grant is of another session")
	errNeither = errors.New("neither a session nor a note")
)

// Check is for backends: what no store takes.
func (m *Moved) Check() error {
	switch {
	case (m.Session == nil) == (m.Note == nil):
		return errNeither
	case m.Note != nil:
		return nil
	}
	for _, g := range m.Grants {
		if g.Session != m.Session.ID {
			return errForeign
		}
	}
	return CheckChange(m.Session, m.Session, m.Grants)
}

// Mover is a store whose content can move into another one, while no gateway
// works on either. Logins that are under way (transactions, codes) stay behind:
// they begin anew.
type Mover interface {
	// Export calls f with every session and every note that holds, as they stand at
	// one moment. An error of f stops it and is returned.
	Export(ctx context.Context, f func(Moved) error) error
	// Import keeps all records, durable on return, or none: an error among them, of
	// the store or of the context leaves it as empty as it was, and what cannot be
	// taken back at once (the process died) is seen, and taken back, at the next
	// Import; until then no gateway works on it. ErrNotEmpty: it holds sessions or
	// notes already.
	Import(ctx context.Context, records iter.Seq2[Moved, error]) error
}

// Lister lists sessions for people.
type Lister interface {
	// List is up to limit sessions, in the order of their ids, from after one on,
	// ended ones too as long as their markers stay. A session that is there all the
	// time is in exactly one of the pages, whatever comes and goes meanwhile.
	List(ctx context.Context, after ID, limit int) ([]Session, error)
}
