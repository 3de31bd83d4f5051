package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// outbox is what a change of a session writes to other slots. It is part of the
// change itself, and stays with the session until it is delivered: whoever reads
// it there later, or the sweeper, delivers it again. Delivering twice is fine.
type outbox struct {
	Token string // of the change
	Notes []outNote
	Codes []outCode
}

type outNote struct {
	Kind      sessions.NoteKind
	Hash      sessions.NoteHash
	At, Until int64
}

type outCode struct {
	Hash  []byte
	Until int64
}

func (b *outbox) note(n sessions.Note) {
	b.Notes = append(b.Notes, outNote{n.Kind, sessions.HashNote(n.Key), millis(n.At), millis(n.Until)})
}

func (b *outbox) use(c sessions.Code) {
	b.Codes = append(b.Codes, outCode{c.Hash[:], millis(c.Until)})
}

// pack is its stored form, empty where nothing is in it.
func (b *outbox) pack() string {
	if len(b.Notes)+len(b.Codes) == 0 {
		return ""
	}
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // numbers and bytes
	}
	return string(text)
}

func unpack(text string) (b outbox, err error) {
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return b, fmt.Errorf("reading an outbox: %w", sessions.ErrDamaged)
	}
	return b, nil
}

// deliver writes what an outbox says and takes it out of its session; then the
// sweeper need not look after it any more. Where the change itself delivers, filed
// is how it had told the sweeper; that stays where another change told it since.
func (s *Store) deliver(ctx context.Context, ses *sessions.Session, packed, filed string) error {
	outer := context.WithoutCancel(ctx) // the time-out is ours, not the caller's
	b, err := unpack(packed)
	if err != nil {
		return err
	}
	var calls []call
	for _, n := range b.Notes {
		c := s.noteCall(n.Kind, n.Hash, n.At, n.Until, b.Token)
		if s.wait == 0 {
			calls = append(calls, c)
		} else if _, err := s.durable(ctx, c); err != nil {
			return s.fault(outer, err)
		}
	}
	for _, c := range b.Codes {
		calls = append(calls, s.codeCall(&sessions.Code{Hash: sessions.CodeHash(c.Hash), Exchanged: true, Until: time.UnixMilli(c.Until)}))
	}
	if _, err := s.runAll(ctx, calls); err != nil {
		return s.fault(outer, err)
	}
	s.recent.note(nil, &b, s.now())
	calls = []call{{scriptDone, []string{s.sessionKey(ses.ID)}, []any{packed}}}
	if ses.End == nil && filed != "" {
		calls = append(calls, s.refiling('x', ses.ID, filed, due(ses)))
	}
	if _, err := s.runAll(ctx, calls); err != nil {
		return s.fault(outer, err)
	}
	return nil
}

// refiling gives an entry of a list a new score (empty: takes it out), where it has
// the one that it was filed with.
func (s *Store) refiling(list byte, id sessions.ID, filed string, score any) call {
	return call{scriptRefile, []string{s.listOf(list, id)}, []any{string(id), filed, score}}
}

// file puts a session into one of the lists. With the condition LT the entry is at
// that score at the latest, and at another one than before, which is answered.
func (s *Store) file(list byte, id sessions.ID, score int64, until time.Time, condition string) call {
	return call{scriptPut, []string{s.listOf(list, id)}, []any{score, string(id), s.ttl(until, slackSession), condition}}
}
