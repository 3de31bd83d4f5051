package redisstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// page is up to limit ids of one of the lists that are ordered by id, from after
// one on.
func (s *Store) page(ctx context.Context, list byte, after sessions.ID, limit int) (ids []string, err error) {
	from := "-"
	if after != "" {
		from = "(" + string(after)
	}
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringSliceCmd, shards)
	for k := range cmds {
		cmds[k] = pipe.ZRangeByLex(ctx, s.list(list, k), &redis.ZRangeBy{Min: from, Max: "+", Count: int64(limit)})
	}
	_, _ = pipe.Exec(ctx)
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return nil, err
		}
		ids = append(ids, cmd.Val()...)
	}
	slices.Sort(ids)
	return ids[:min(len(ids), limit)], nil
}

// walk reads sessions in the order of their ids until there are limit of them.
// One that cannot be read does not hold up the others.
func (s *Store) walk(parent context.Context, list byte, after sessions.ID, limit int, wanted func(*sessions.Session) bool) (out []sessions.Session, err error) {
	for len(out) < limit {
		ctx, cancel := s.within(parent)
		ids, err := s.page(ctx, list, after, limit-len(out))
		var found []sessions.Session
		if err == nil {
			found, _, err = s.readAll(ctx, ids, wanted, s.unreadable)
		}
		cancel()
		if err != nil {
			return nil, s.fault(parent, err)
		}
		out = append(out, found...)
		if len(ids) == 0 {
			break
		}
		after = sessions.ID(ids[len(ids)-1])
	}
	return out, nil
}

func (s *Store) unreadable(id string, err error) {
	s.log.Error("a session cannot be read", "session", id, "error", err.Error())
}

// List is up to limit sessions, in the order of their ids.
func (s *Store) List(ctx context.Context, after sessions.ID, limit int) (list []sessions.Session, err error) {
	defer s.observe("list", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return nil, err
	}
	return s.walk(ctx, 'i', after, limit, nil)
}

// Owing are sessions that owe upstream credentials.
func (s *Store) Owing(ctx context.Context, after sessions.ID, limit int) (list []sessions.Session, err error) {
	defer s.observe("owing", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return nil, err
	}
	return s.walk(ctx, 'o', after, limit, func(ses *sessions.Session) bool { return len(ses.Owed) > 0 })
}

// notesOf calls f with the key and the text of every note there is, one after the
// other: the nodes of a Cluster are asked side by side.
func (s *Store) notesOf(ctx context.Context, each func(key, text string) error) error {
	var mu sync.Mutex
	var stopped error
	f := func(key, text string) error {
		mu.Lock()
		defer mu.Unlock()
		if stopped == nil {
			stopped = each(key, text)
		}
		return stopped
	}
	return s.masters(ctx, func(ctx context.Context, node *redis.Client) error {
		scan := node.Scan(ctx, 0, s.prefix+"n:*", 1000).Iterator()
		for scan.Next(ctx) {
			text, err := s.rdb.Get(ctx, scan.Val()).Result()
			if errors.Is(err, redis.Nil) {
				continue
			}
			if err != nil {
				return err
			}
			if err := f(scan.Val(), text); err != nil {
				return err
			}
		}
		return scan.Err()
	})
}
