package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var _ sessions.Mover = (*Store)(nil)

var (
	errTwice    = errors.New("a session is there twice")
	errImported = errors.New("another import into this store is under way")
)

// importBatch is how many records go into one round trip.
const importBatch = 200

// importing is the field of meta that stands while an import is under way.
const importing = "import"

// Export calls f with every session and every note that holds.
func (s *Store) Export(ctx context.Context, f func(sessions.Moved) error) (err error) {
	var own error // f's
	defer func(start time.Time) {
		fault := err
		if own != nil {
			fault = nil
		}
		s.observe("export", start, &fault)
	}(time.Now())
	if err := s.begin(ctx); err != nil {
		return err
	}
	give := func(m sessions.Moved) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		own = f(m)
		return own
	}
	err = s.exportSessions(ctx, give)
	if err == nil {
		err = s.exportNotes(ctx, give)
	}
	if own != nil {
		return own
	}
	return s.fault(ctx, err)
}

func (s *Store) exportSessions(ctx context.Context, give func(sessions.Moved) error) error {
	for after := sessions.ID(""); ; {
		ids, err := s.page(ctx, 'i', after, importBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		pipe := s.rdb.Pipeline()
		cmds := make([]*redis.MapStringStringCmd, len(ids))
		for i, id := range ids {
			cmds[i] = pipe.HGetAll(ctx, s.sessionKey(sessions.ID(id)))
		}
		_, _ = pipe.Exec(ctx)
		for i, cmd := range cmds {
			if cmd.Err() != nil {
				return cmd.Err()
			}
			h, err := holdOf(cmd.Val())
			if err != nil {
				return fmt.Errorf("session %q: %w", ids[i], err)
			}
			if h == nil {
				continue
			}
			var grants []sessions.Grant
			if len(h.grants) > 0 {
				grants = h.list()
			}
			if err := give(sessions.Moved{Session: &h.ses, Grants: grants}); err != nil {
				return err
			}
		}
		after = sessions.ID(ids[len(ids)-1])
	}
}

func (s *Store) exportNotes(ctx context.Context, give func(sessions.Moved) error) error {
	now := s.now().UnixMilli()
	begin := s.prefix + "n:"
	return s.notesOf(ctx, func(key, text string) error {
		at, until, err := noteTimes(text)
		name := strings.TrimPrefix(key, begin)
		hash, err2 := base64.RawURLEncoding.DecodeString(name[min(1, len(name)):])
		n := sessions.HashedNote{At: time.UnixMilli(at).UTC(), Until: time.UnixMilli(until).UTC()}
		if err != nil || err2 != nil || len(hash) != len(n.Hash) {
			return fmt.Errorf("note %q: %w", name, sessions.ErrDamaged)
		}
		if until <= now {
			return nil
		}
		n.Kind, n.Hash = sessions.NoteKind(name[0]), sessions.NoteHash(hash)
		return give(sessions.Moved{Note: &n})
	})
}

// Import keeps all records, or none. While it runs, a field of meta keeps gateways
// away; it stays where the process dies.
func (s *Store) Import(ctx context.Context, records iter.Seq2[sessions.Moved, error]) (err error) {
	defer s.observe("import", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return err
	}
	token := newToken()
	if err = s.beginImport(ctx, token); err != nil {
		return s.importFault(ctx, err)
	}
	err = s.importAll(ctx, records)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = s.copied(ctx)
	}
	if err == nil {
		err = s.rdb.HDel(ctx, s.metaKey(), importing).Err()
	}
	if err == nil {
		return nil
	}
	err = s.importFault(ctx, err)
	if back := s.takeBack(context.WithoutCancel(ctx)); back != nil {
		return errors.Join(err, fmt.Errorf("taking the import back (the next one will): %w", plain(back)))
	}
	return err
}

// importFault passes on what says something by itself.
func (s *Store) importFault(ctx context.Context, err error) error {
	var redisErr redis.Error
	if errors.As(err, &redisErr) {
		return s.fault(ctx, err)
	}
	return err
}

// beginImport marks the store, after taking back what an import has left that was
// stopped in the middle.
func (s *Store) beginImport(ctx context.Context, token string) error {
	m, err := s.meta(ctx)
	if err != nil {
		return err
	}
	if m.importing {
		if err := s.takeBack(ctx); err != nil {
			return err
		}
	}
	ids, err := s.page(ctx, 'i', "", 1)
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		return sessions.ErrNotEmpty
	}
	if err := s.exportNotes(ctx, func(sessions.Moved) error { return sessions.ErrNotEmpty }); err != nil {
		return err
	}
	if err := s.rdb.HSetNX(ctx, s.metaKey(), importing, token).Err(); err != nil {
		return err
	}
	if who, err := s.rdb.HGet(ctx, s.metaKey(), importing).Result(); err != nil || who != token {
		return errors.Join(errImported, err)
	}
	return nil
}

func (s *Store) importAll(ctx context.Context, records iter.Seq2[sessions.Moved, error]) error {
	var before, during []call
	flush := func() error {
		if _, err := s.runAll(ctx, before); err != nil {
			return err
		}
		made, err := s.runAll(ctx, during)
		if err != nil {
			return err
		}
		for i, v := range made {
			if during[i].script == scriptImport && v != int64(1) {
				return errTwice
			}
		}
		before, during = before[:0], during[:0]
		return nil
	}
	for m, err := range records {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		b, d, err := s.importOne(&m)
		if err != nil {
			return err
		}
		before, during = append(before, b...), append(during, d)
		if len(during) >= importBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// importOne is what keeps one record.
func (s *Store) importOne(m *sessions.Moved) (before []call, record call, err error) {
	if err := m.Check(); err != nil {
		return nil, record, err
	}
	if m.Note != nil {
		return nil, s.noteCall(m.Note.Kind, m.Note.Hash, millis(m.Note.At), millis(m.Note.Until), newToken()), nil
	}
	ses := m.Session
	if !validName(string(ses.ID)) {
		return nil, record, errName
	}
	args := []any{newToken(), s.ttl(ses.Absolute, slackSession), fieldSession, sessions.EncodeSession(ses)}
	for _, g := range m.Grants {
		if !validName(string(g.ID)) {
			return nil, record, errName
		}
		args = append(args, fieldGrant+string(g.ID), sessions.EncodeGrant(&g))
	}
	before = s.before(&change{is: ses, index: s.indexKeys(ses)})
	if ses.End != nil {
		before[len(before)-1] = s.file('y', ses.ID, millis(ses.Absolute), ses.Absolute, "")
	}
	if len(ses.Owed) > 0 {
		before = append(before, s.file('o', ses.ID, 0, ses.Absolute, ""))
	}
	return before, call{scriptImport, []string{s.sessionKey(ses.ID)}, args}, nil
}

// copied waits, where wait_replicas asks for it, until the copies have what was
// written so far: what is written last to a server has come after all else. The
// slots of the lists lie on every server of a Cluster that is not very large.
func (s *Store) copied(ctx context.Context) error {
	if s.wait == 0 {
		return nil
	}
	for k := range shards {
		key := s.list('z', k)
		if _, err := s.durable(ctx, call{scriptPut, []string{key}, []any{"", "copied", time.Minute.Milliseconds(), ""}}); err != nil {
			return err
		}
	}
	return nil
}

// takeBack removes all sessions and notes, and the mark of the import last.
func (s *Store) takeBack(ctx context.Context) error {
	for {
		ids, err := s.page(ctx, 'i', "", importBatch)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		if err := s.eraseAll(ctx, ids); err != nil {
			return err
		}
	}
	if err := s.notesOf(ctx, func(key, _ string) error { return s.rdb.Del(ctx, key).Err() }); err != nil {
		return err
	}
	return s.rdb.HDel(ctx, s.metaKey(), importing).Err()
}

// eraseAll removes sessions and what leads to them, the list of all ids last.
func (s *Store) eraseAll(ctx context.Context, ids []string) error {
	found, _, err := s.readAll(ctx, ids, nil, s.unreadable)
	if err != nil {
		return err
	}
	var calls []call
	strike := func(key, id string) {
		calls = append(calls, call{scriptDrop, []string{key}, []any{id, anyAge}})
	}
	for i := range found {
		for _, key := range s.indexKeys(&found[i]) {
			strike(key, string(found[i].ID))
		}
	}
	pipe := s.rdb.Pipeline()
	for _, id := range ids {
		for _, list := range []byte("xyo") {
			strike(s.listOf(list, sessions.ID(id)), id)
		}
		pipe.Del(ctx, s.sessionKey(sessions.ID(id)))
	}
	if _, err := s.runAll(ctx, calls); err != nil {
		return err
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	calls = calls[:0]
	for _, id := range ids {
		strike(s.listOf('i', sessions.ID(id)), id)
	}
	_, err = s.runAll(ctx, calls)
	return err
}
