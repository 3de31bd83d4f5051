package boltstore

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// List is up to limit sessions in the order of their ids. One that cannot be
// read does not hide the others.
func (s *Store) List(_ context.Context, after sessions.ID, limit int) (list []sessions.Session, err error) {
	defer s.observe("list", time.Now(), &err)
	err = s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketSessions).Cursor()
		for k, v := nextSession(c, string(after)); k != nil && len(list) < limit; k, v = nextSession(c, string(k)) {
			ses, _, err := decodeFiled(v)
			if err != nil {
				s.log.Error("a session cannot be read", "session", string(k), "error", err)
				continue
			}
			list = append(list, ses)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// nextSession is the first session behind a name. Grants stand under their
// session's name and a zero byte, which no name has: all of them are passed over.
func nextSession(c *bolt.Cursor, name string) (k, v []byte) {
	return c.Seek(append([]byte(name), 1))
}
