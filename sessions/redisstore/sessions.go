package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var errName = errors.New("a session's or grant's name is empty, too long or has a brace or a zero byte")

// held is a session as it stands in Redis at one moment.
type held struct {
	revision string // of the newest change; those before it follow in what Redis has
	ses      sessions.Session
	outbox   string
	grants   map[sessions.GrantID]sessions.Grant
	whole    bool  // every grant is in grants
	at       int64 // the server's time, where it was asked
}

// hold reads the fields of a session; it is nil where there is none.
func holdOf(fields map[string]string) (*held, error) {
	record, ok := fields[fieldSession]
	if !ok {
		return nil, nil
	}
	ses, err := sessions.DecodeSession([]byte(record))
	if err != nil {
		return nil, err
	}
	h := &held{ses: ses, outbox: fields[fieldOutbox], grants: map[sessions.GrantID]sessions.Grant{}}
	if r := fields[fieldRevision]; len(r) >= revisionSize {
		h.revision = r[:revisionSize]
	} else {
		return nil, fmt.Errorf("reading a session's revision: %w", sessions.ErrDamaged)
	}
	for name, v := range fields {
		if !strings.HasPrefix(name, fieldGrant) {
			continue
		}
		g, err := sessions.DecodeGrant([]byte(v))
		if err != nil {
			return nil, err
		}
		h.grants[g.ID] = g
	}
	return h, nil
}

// list are the grants, oldest first.
func (h *held) list() []sessions.Grant {
	list := make([]sessions.Grant, 0, len(h.grants))
	for _, g := range h.grants {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b sessions.Grant) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// fieldsOf pairs names with the values of an HMGET.
func fieldsOf(names []string, values []any) map[string]string {
	m := make(map[string]string, len(names))
	for i, v := range values {
		if text, ok := v.(string); ok && i < len(names) {
			m[names[i]] = text
		}
	}
	return m
}

// pick reads some fields of a session; nil: there is none.
func (s *Store) pick(parent context.Context, id sessions.ID, more ...string) (*held, error) {
	if !validName(string(id)) {
		return nil, nil
	}
	ctx, cancel := s.within(parent)
	defer cancel()
	names := append([]string{fieldRevision, fieldSession, fieldOutbox}, more...)
	values, err := s.rdb.HMGet(ctx, s.sessionKey(id), names...).Result()
	if err != nil {
		return nil, s.fault(parent, err)
	}
	return holdOf(fieldsOf(names, values))
}

// whole reads all of a session; nil: there is none.
func (s *Store) whole(parent context.Context, id sessions.ID) (*held, error) {
	ctx, cancel := s.within(parent)
	defer cancel()
	fields, err := s.rdb.HGetAll(ctx, s.sessionKey(id)).Result()
	if err != nil {
		return nil, s.fault(parent, err)
	}
	h, err := holdOf(fields)
	if h != nil {
		h.whole = true
	}
	return h, err
}

// Session is one session.
func (s *Store) Session(ctx context.Context, id sessions.ID) (_ sessions.Session, err error) {
	defer s.observe("session", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return sessions.Session{}, err
	}
	h, err := s.pick(ctx, id)
	if err = orNotFound(h, err); err != nil {
		return sessions.Session{}, err
	}
	return h.ses, nil
}

func orNotFound(h *held, err error) error {
	if err == nil && h == nil {
		return sessions.ErrNotFound
	}
	return err
}

// Grant is one session with one of its grants, read at one moment.
func (s *Store) Grant(ctx context.Context, id sessions.ID, grant sessions.GrantID) (_ sessions.Session, _ sessions.Grant, err error) {
	defer s.observe("grant", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return sessions.Session{}, sessions.Grant{}, err
	}
	h, err := s.pick(ctx, id, fieldGrant+string(grant))
	if err = orNotFound(h, err); err != nil {
		return sessions.Session{}, sessions.Grant{}, err
	}
	g, ok := h.grants[grant]
	if !ok || !validName(string(grant)) {
		return h.ses, sessions.Grant{}, sessions.ErrNotFound
	}
	return h.ses, g, nil
}

// Grants are all grants of a session, oldest first.
func (s *Store) Grants(ctx context.Context, id sessions.ID) (_ []sessions.Grant, err error) {
	defer s.observe("grants", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return nil, err
	}
	if !validName(string(id)) {
		return nil, sessions.ErrNotFound
	}
	h, err := s.whole(ctx, id)
	if err = orNotFound(h, err); err != nil {
		return nil, err
	}
	return h.list(), nil
}

// Create keeps a new session with its first grant.
func (s *Store) Create(ctx context.Context, ses sessions.Session, g sessions.Grant, codeUntil time.Time) (err error) {
	defer s.observe("create", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return err
	}
	g.Session = ses.ID
	switch {
	case !validName(string(ses.ID)), !validName(string(g.ID)):
		return errName
	case ses.End == nil && len(ses.Owed) > 0:
		return sessions.CheckChange(&ses, &ses, nil)
	}
	b := outbox{}
	if g.CodeHash != (sessions.CodeHash{}) {
		b.use(sessions.Code{Hash: g.CodeHash, Exchanged: true, Until: codeUntil})
	}
	return s.create(ctx, &ses, &g, b)
}

func (s *Store) create(parent context.Context, ses *sessions.Session, g *sessions.Grant, b outbox) error {
	ctx, cancel := s.through(parent)
	defer cancel()
	b.Token = newToken()
	packed := b.pack()
	plan := &change{is: ses, index: s.indexKeys(ses), outbox: packed}
	if err := s.lead(ctx, plan); err != nil {
		return s.fault(parent, err)
	}
	made, err := s.durable(ctx, call{scriptCreate, []string{s.sessionKey(ses.ID)}, []any{
		b.Token, sessions.EncodeSession(ses), fieldGrant + string(g.ID), sessions.EncodeGrant(g), packed,
		s.ttl(ses.Absolute, slackSession), s.channel(), s.message(changed, string(ses.ID)),
	}})
	s.wrote(err)
	if err != nil {
		return s.fault(parent, err)
	}
	if made != "ok" {
		return fmt.Errorf("creating a session: the id is taken")
	}
	s.watches.Send(ses.ID)
	s.figures.stale()
	if packed == "" {
		return nil
	}
	return s.deliver(ctx, ses, packed, plan.filed)
}

// Find is every session of a browser, an upstream session, a subject or a login
// cookie.
func (s *Store) Find(ctx context.Context, by sessions.Finder) (list []sessions.Session, err error) {
	defer s.observe("find", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return nil, err
	}
	index, ok := by.IndexKey()
	if !ok {
		return nil, errors.New("finding sessions: nothing to find them by")
	}
	within, cancel := s.within(ctx)
	defer cancel()
	ids, err := s.rdb.ZRange(within, s.indexKey(index), 0, -1).Result()
	if err != nil {
		return nil, s.fault(ctx, err)
	}
	list, missing, err := s.readAll(within, ids, by.Finds, nil)
	if err != nil {
		return nil, s.fault(ctx, err)
	}
	s.mend(s.indexKey(index), missing)
	slices.SortFunc(list, func(a, b sessions.Session) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// readMost is how many sessions are asked for in one round trip.
const readMost = 500

// readAll reads sessions by their ids, in that order; missing are ids of none, or
// of one that is not wanted. A record that cannot be read is an error, unless
// damaged takes it.
func (s *Store) readAll(ctx context.Context, ids []string, wanted func(*sessions.Session) bool, damaged func(id string, err error)) (list []sessions.Session, missing []string, err error) {
	for page := range slices.Chunk(ids, readMost) {
		pipe := s.rdb.Pipeline()
		cmds := make([]*redis.StringCmd, len(page))
		for i, id := range page {
			cmds[i] = pipe.HGet(ctx, s.sessionKey(sessions.ID(id)), fieldSession)
		}
		_, _ = pipe.Exec(ctx)
		for i, cmd := range cmds {
			record, err := cmd.Bytes()
			if errors.Is(err, redis.Nil) {
				missing = append(missing, page[i])
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			ses, err := sessions.DecodeSession(record)
			if err != nil && damaged != nil {
				damaged(page[i], err)
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			if wanted != nil && !wanted(&ses) {
				missing = append(missing, page[i])
				continue
			}
			list = append(list, ses)
		}
	}
	return list, missing, nil
}

// settleFor is how long an entry of an index may be there before its session is:
// much longer than any change takes.
const settleFor = time.Minute

// mend takes out of an index what it finds no more.
func (s *Store) mend(key string, ids []string) {
	if len(ids) == 0 {
		return
	}
	s.behind(func(ctx context.Context) {
		var calls []call
		for _, id := range ids {
			calls = append(calls, call{scriptDrop, []string{key}, []any{id, s.settle.Milliseconds()}})
		}
		_, _ = s.runAll(ctx, calls)
	})
}
