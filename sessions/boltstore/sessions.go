package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var (
	errExists = errors.New("a session of this name exists")
)

// Create keeps a new session with its first grant.
func (s *Store) Create(ctx context.Context, ses sessions.Session, g sessions.Grant, codeUntil time.Time) (err error) {
	defer s.observe("create", time.Now(), &err)
	if !validName(string(ses.ID)) || !validName(string(g.ID)) {
		return errName
	}
	if ses.End == nil && len(ses.Owed) > 0 {
		return sessions.CheckChange(&ses, &ses, nil)
	}
	g.Session = ses.ID
	grants := []sessions.Grant{g}
	if ses.End != nil {
		grants = nil
	}
	err = s.change(ctx, func(t *batch) (err error) {
		defer t.guard(&err)
		if err := t.create(&ses, grants); err != nil {
			return err
		}
		if g.CodeHash != (sessions.CodeHash{}) && !codeUntil.IsZero() {
			t.code(sessions.Code{Hash: g.CodeHash, Exchanged: true, Until: codeUntil})
		}
		t.now.changed = append(t.now.changed, ses.ID)
		return nil
	})
	return err
}

// create keeps a new session with its grants.
func (t *batch) create(ses *sessions.Session, grants []sessions.Grant) error {
	if t.tx.Bucket(bucketSessions).Get(sessionKey(ses.ID)) != nil {
		return errExists
	}
	filed := due(ses)
	t.put(bucketSessions, sessionKey(ses.ID), encodeFiled(ses, filed))
	t.put(bucketDue, dueKey(filed, ses.ID), nil)
	for _, k := range ses.IndexKeys() {
		t.put(bucketIndex, indexEntry(k, ses.ID), nil)
	}
	t.owing(&sessions.Session{}, ses)
	for i := range grants {
		t.put(bucketSessions, grantKey(ses.ID, grants[i].ID), sessions.EncodeGrant(&grants[i]))
	}
	if ses.End == nil {
		t.now.counts[countActive]++
	}
	return nil
}

// Session is one session.
func (s *Store) Session(_ context.Context, id sessions.ID) (ses sessions.Session, err error) {
	defer s.observe("session", time.Now(), &err)
	err = s.read(id, func(r reader) error {
		var ok bool
		ses, _, ok, err = r.session(id)
		return orNotFound(ok, err)
	})
	return ses, err
}

// Grant is one session with one of its grants.
func (s *Store) Grant(_ context.Context, id sessions.ID, grant sessions.GrantID) (ses sessions.Session, g sessions.Grant, err error) {
	defer s.observe("grant", time.Now(), &err)
	err = s.read(id, func(r reader) error {
		var ok bool
		ses, _, ok, err = r.session(id)
		if err = orNotFound(ok, err); err != nil {
			return err
		}
		if !validName(string(grant)) {
			return sessions.ErrNotFound
		}
		g, ok, err = r.grant(id, grant)
		return orNotFound(ok, err)
	})
	if err != nil && !errors.Is(err, sessions.ErrNotFound) {
		return sessions.Session{}, sessions.Grant{}, err
	}
	return ses, g, err
}

// Grants are all grants of a session, oldest first.
func (s *Store) Grants(_ context.Context, id sessions.ID) (list []sessions.Grant, err error) {
	defer s.observe("grants", time.Now(), &err)
	err = s.read(id, func(r reader) error {
		if r.b.Get(sessionKey(id)) == nil {
			return sessions.ErrNotFound
		}
		list, err = r.grants(id)
		return err
	})
	slices.SortStableFunc(list, func(a, b sessions.Grant) int { return a.Created.Compare(b.Created) })
	return list, err
}

// Find is every session of a browser, an upstream session or a subject.
func (s *Store) Find(_ context.Context, by sessions.Finder) (list []sessions.Session, err error) {
	defer s.observe("find", time.Now(), &err)
	key, ok := by.IndexKey()
	if !ok {
		return nil, errors.New("finding sessions: nothing to find them by")
	}
	err = s.view(func(tx *bolt.Tx) error {
		r := reader{tx.Bucket(bucketSessions)}
		c := tx.Bucket(bucketIndex).Cursor()
		prefix := key[:]
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			ses, _, ok, err := r.session(sessions.ID(k[len(prefix):]))
			if err != nil {
				return err
			}
			if ok && by.Finds(&ses) {
				list = append(list, ses)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b sessions.Session) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

func (s *Store) read(id sessions.ID, f func(reader) error) error {
	if !validName(string(id)) {
		return sessions.ErrNotFound
	}
	return s.view(func(tx *bolt.Tx) error { return f(reader{tx.Bucket(bucketSessions)}) })
}

func orNotFound(ok bool, err error) error {
	if err == nil && !ok {
		return sessions.ErrNotFound
	}
	return err
}

// Update changes one session and its grants.
func (s *Store) Update(ctx context.Context, id sessions.ID, under sessions.Lease, f func(*sessions.Draft) error) (err error) {
	own := false // the error is f's
	defer func(start time.Time) {
		fault := err
		if own {
			fault = nil
		}
		s.observe("update", start, &fault)
	}(time.Now())
	if !validName(string(id)) {
		return sessions.ErrNotFound
	}
	return s.change(ctx, func(t *batch) (err error) {
		defer t.guard(&err)
		own = false
		if !s.leases.held(under) {
			return sessions.ErrLeaseLost
		}
		r := reader{t.tx.Bucket(bucketSessions)}
		old, filed, ok, err := r.session(id)
		if err = orNotFound(ok, err); err != nil {
			return err
		}
		d := sessions.NewDraft(old.Apart(),
			func(g sessions.GrantID) (_ sessions.Grant, _ bool, err error) {
				defer t.guard(&err)
				return r.grant(id, g)
			},
			func() (_ []sessions.Grant, err error) {
				defer t.guard(&err)
				return r.grants(id)
			})
		if err := t.call(f, d); err != nil {
			own = true
			return err
		}
		return t.keep(r, &old, filed, d)
	})
}

// keep writes what a draft changed.
func (t *batch) keep(r reader, old *sessions.Session, filed uint64, d *sessions.Draft) error {
	put, dropped, used, err := d.Changes()
	if err != nil {
		return err
	}
	ses := &d.Session
	ended := old.End == nil && ses.End != nil
	if err := sessions.CheckChange(old, ses, put); err != nil {
		return err
	}
	for _, g := range put {
		if !validName(string(g.ID)) {
			return errName
		}
		t.put(bucketSessions, grantKey(ses.ID, g.ID), sessions.EncodeGrant(&g))
	}
	for _, g := range dropped {
		t.del(bucketSessions, grantKey(ses.ID, g))
	}
	for _, c := range used {
		t.code(c)
	}
	if ended {
		t.now.counts[countActive]--
		for _, k := range r.grantKeys(ses.ID) {
			t.del(bucketSessions, k)
		}
	}
	for _, n := range d.Notes() {
		t.note(n)
	}
	t.index(old, ses)
	t.owing(old, ses)
	if sooner := due(ses); sooner < filed {
		t.del(bucketDue, dueKey(filed, ses.ID))
		t.put(bucketDue, dueKey(sooner, ses.ID), nil)
		filed = sooner
	}
	t.put(bucketSessions, sessionKey(ses.ID), encodeFiled(ses, filed))
	t.now.changed = append(t.now.changed, ses.ID)
	return nil
}

// index follows what a session is found by. An exchange changes none of it.
func (t *batch) index(old, ses *sessions.Session) {
	if slices.Equal(old.Browsers, ses.Browsers) && slices.Equal(old.Upstream, ses.Upstream) && slices.Equal(old.Subjects, ses.Subjects) &&
		slices.Equal(old.Cookies, ses.Cookies) {
		return
	}
	was, is := old.IndexKeys(), ses.IndexKeys()
	for _, k := range was {
		if !slices.Contains(is, k) {
			t.del(bucketIndex, indexEntry(k, ses.ID))
		}
	}
	for _, k := range is {
		if !slices.Contains(was, k) {
			t.put(bucketIndex, indexEntry(k, ses.ID), nil)
		}
	}
}

// decodes says whether a record of bucket s can be read.
func decodes(k, v []byte) error {
	var err error
	if bytes.IndexByte(k, 0) < 0 {
		_, _, err = decodeFiled(v)
	} else {
		_, err = sessions.DecodeGrant(v)
	}
	if err != nil {
		return fmt.Errorf("record %q: %w", k, err)
	}
	return nil
}
