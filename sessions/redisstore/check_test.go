package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

// checked is a store whose keys are looked through at the end of each case.
type checked struct{ *Store }

// Check says whether all that leads to sessions is right, and whether everything
// has an expiry.
func (s checked) Check(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	score := func(list byte, id string) (float64, bool) {
		v, err := s.rdb.ZScore(ctx, s.listOf(list, sessions.ID(id)), id).Result()
		return v, err == nil
	}
	err := s.masters(ctx, func(ctx context.Context, node *redis.Client) error {
		keys, err := node.Keys(ctx, s.prefix+"*").Result()
		for _, key := range keys {
			name := strings.TrimPrefix(key, s.prefix)
			if ttl := node.TTL(ctx, key).Val(); ttl < 0 && ttl != -2 && name != "meta" {
				fault("key %s never ends", name)
			}
			id, ok := strings.CutPrefix(name, "s:{")
			if !ok {
				continue
			}
			id = strings.TrimSuffix(id, "}")
			h, err := s.whole(ctx, sessions.ID(id))
			if err != nil || h == nil {
				fault("session %s: %v", id, err)
				continue
			}
			if h.outbox != "" {
				fault("session %s has something in its outbox", id)
			}
			for _, key := range s.indexKeys(&h.ses) {
				if s.rdb.ZScore(ctx, key, id).Err() != nil {
					fault("session %s is not found by %s", id, key)
				}
			}
			x, alive := score('x', id)
			_, ended := score('y', id)
			_, owes := score('o', id)
			_, listed := score('i', id)
			switch {
			case alive != (h.ses.End == nil), ended != (h.ses.End != nil), owes != (len(h.ses.Owed) > 0), !listed:
				fault("session %s: alive %t, ended %t, owing %t, listed %t: %+v", id, alive, ended, owes, listed, h.ses)
			case alive && int64(x) > due(&h.ses):
				fault("session %s is looked at after its deadline", id)
			case h.ses.End != nil && len(h.grants) > 0:
				fault("session %s has ended, and has grants", id)
			}
		}
		return err
	})
	for k := range shards {
		for _, list := range []byte("xyio") {
			for _, id := range s.rdb.ZRange(ctx, s.list(list, k), 0, -1).Val() {
				if s.rdb.Exists(ctx, s.sessionKey(sessions.ID(id))).Val() == 0 {
					fault("list %c has %s, which is no session", list, id)
				}
			}
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(append(faults, err)...)
}

// checkedAt opens stores that are looked through.
func checkedAt(url string) storetest.Opener {
	open := at(url)
	return func(t testing.TB, c storetest.Config) sessions.Store { return checked{open(t, c).(*Store)} }
}
