package boltstore

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var (
	errRevived = errors.New("an ended session stays as it ended, but for its login cookies and what is settled")
	errDead    = errors.New("an ended session has no grants")
	errOwes    = errors.New("a session that lives owes nothing")
)

// lasting says what a change may not do to a session, with what it puts into it.
func lasting(old, ses *sessions.Session, put []sessions.Grant) error {
	switch {
	case ses.ID != old.ID:
		return errRenamed
	case ses.End == nil && len(ses.Owed) > 0:
		return errOwes
	case ses.End != nil && len(put) > 0:
		return errDead
	case old.End != nil && !onlySettled(old, ses):
		return errRevived
	}
	return nil
}

// onlySettled says whether an ended session has changed in its login cookies
// alone, and in credentials that it owes no more.
func onlySettled(old, ses *sessions.Session) bool {
	rest := *ses
	rest.Cookies, rest.Owed = old.Cookies, old.Owed
	if !bytes.Equal(sessions.EncodeSession(&rest), sessions.EncodeSession(old)) {
		return false
	}
	owed := old.Owed
	for _, o := range ses.Owed {
		i := slices.IndexFunc(owed, func(was sessions.Owed) bool { return sameOwed(was, o) })
		if i < 0 {
			return false
		}
		owed = owed[i+1:]
	}
	return true
}

func sameOwed(a, b sessions.Owed) bool {
	return a.Grant == b.Grant && a.Client == b.Client && a.Issuer == b.Issuer && bytes.Equal(a.Credential, b.Credential)
}

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
