package redisstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

func (s *Store) noteCall(kind sessions.NoteKind, hash sessions.NoteHash, at, until int64, token string) call {
	return call{scriptNote, []string{s.noteKey(kind, hash)}, []any{at, until, s.now().UnixMilli(), token, slackOther.Milliseconds()}}
}

// AddNote keeps a note.
func (s *Store) AddNote(ctx context.Context, n sessions.Note) (first bool, err error) {
	defer s.observe("add_note", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return false, err
	}
	within, cancel := s.through(ctx)
	defer cancel()
	b := outbox{Token: newToken()}
	b.note(n)
	v, err := s.durable(within, s.noteCall(n.Kind, sessions.HashNote(n.Key), millis(n.At), millis(n.Until), b.Token))
	s.wrote(err)
	if err != nil {
		return false, s.fault(ctx, err)
	}
	s.recent.note(nil, &b, s.now())
	return v == int64(1), nil
}

// noteTimes reads a note; what cannot be read is unknown, never gone: a login
// cookie may be dead by it.
func noteTimes(text string) (at, until int64, err error) {
	if f := strings.Fields(text); len(f) == 3 {
		at, err1 := strconv.ParseInt(f[0], 10, 64)
		until, err2 := strconv.ParseInt(f[1], 10, 64)
		if err1 == nil && err2 == nil {
			return at, until, nil
		}
	}
	return 0, 0, errors.Join(errors.New("reading a note"), sessions.ErrDamaged)
}

// Note is a note that holds now.
func (s *Store) Note(ctx context.Context, kind sessions.NoteKind, key string) (n sessions.Note, err error) {
	defer s.observe("note", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return n, err
	}
	within, cancel := s.within(ctx)
	defer cancel()
	hash := sessions.HashNote(key)
	text, err := s.rdb.Get(within, s.noteKey(kind, hash)).Result()
	if errors.Is(err, redis.Nil) {
		return n, sessions.ErrNotFound
	}
	if err != nil {
		err = s.fault(ctx, err)
		// A login cookie that is known to be dead stays so while nobody can look.
		if known, ok := s.recent.knows(kind, hash, s.now()); ok && kind == sessions.NoteDeadCookie {
			return sessions.Note{Kind: kind, Key: key, At: time.UnixMilli(known.At).UTC(), Until: time.UnixMilli(known.Until).UTC()}, nil
		}
		return n, err
	}
	at, until, err := noteTimes(text)
	if err != nil {
		return n, err
	}
	if until <= s.now().UnixMilli() {
		return n, sessions.ErrNotFound
	}
	return sessions.Note{Kind: kind, Key: key, At: time.UnixMilli(at).UTC(), Until: time.UnixMilli(until).UTC()}, nil
}

// DropNote forgets a note.
func (s *Store) DropNote(ctx context.Context, kind sessions.NoteKind, key string) (err error) {
	defer s.observe("drop_note", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return err
	}
	within, cancel := s.through(ctx)
	defer cancel()
	hash := sessions.HashNote(key)
	s.recent.forget(kind, hash)
	_, err = s.durable(within, call{scriptUnnote, []string{s.noteKey(kind, hash)}, []any{slackOther.Milliseconds()}})
	s.wrote(err)
	return s.fault(ctx, err)
}
