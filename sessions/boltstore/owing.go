package boltstore

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// owing follows whether a session owes credentials.
func (t *batch) owing(old, ses *sessions.Session) {
	switch was, is := len(old.Owed) > 0, len(ses.Owed) > 0; {
	case is && !was:
		t.put(bucketOwing, sessionKey(ses.ID), nil)
		t.now.counts[countOwing]++
	case was && !is:
		t.del(bucketOwing, sessionKey(ses.ID))
		t.now.counts[countOwing]--
	}
}

// Owing are sessions that owe upstream credentials. One that cannot be read does
// not hold up the others.
func (s *Store) Owing(_ context.Context, after sessions.ID, limit int) (list []sessions.Session, err error) {
	defer s.observe("owing", time.Now(), &err)
	err = s.view(func(tx *bolt.Tx) error {
		r := reader{tx.Bucket(bucketSessions)}
		c := tx.Bucket(bucketOwing).Cursor()
		k, _ := c.Seek(sessionKey(after))
		if string(k) == string(after) {
			k, _ = c.Next()
		}
		for ; k != nil && len(list) < limit; k, _ = c.Next() {
			ses, _, ok, err := r.session(sessions.ID(k))
			if err != nil {
				s.log.Error("a session that owes cannot be read", "session", string(k), "error", err)
			} else if ok {
				list = append(list, ses)
			}
		}
		return nil
	})
	return list, err
}

// Waits says whether a transaction of a client waits.
func (s *Store) Waits(_ context.Context, client string) (waits bool, err error) {
	if err := s.closedError(); err != nil {
		return false, err
	}
	return s.memory.waitsFor(client), nil
}
