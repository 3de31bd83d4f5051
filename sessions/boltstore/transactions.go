package boltstore

import (
	"context"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// closedError is ErrClosed after Close: what would be kept now is written no
// more.
func (s *Store) closedError() error {
	select {
	case <-s.closing:
		return sessions.ErrClosed
	default:
		return nil
	}
}

// AddTransaction keeps a transaction, unless one stands for its key.
func (s *Store) AddTransaction(_ context.Context, t sessions.Transaction) (standing sessions.Transaction, added bool, err error) {
	defer s.observe("add_transaction", time.Now(), &err)
	if err = s.closedError(); err != nil {
		return sessions.Transaction{}, false, err
	}
	return s.memory.addTransaction(t, s.now())
}

// Transaction is the transaction of a key.
func (s *Store) Transaction(_ context.Context, key sessions.TransactionKey) (t sessions.Transaction, err error) {
	defer s.observe("transaction", time.Now(), &err)
	if err = s.closedError(); err != nil {
		return t, err
	}
	return s.memory.transaction(key, s.now())
}

// DropTransaction forgets a transaction.
func (s *Store) DropTransaction(_ context.Context, key sessions.TransactionKey) (err error) {
	defer s.observe("drop_transaction", time.Now(), &err)
	if err = s.closedError(); err == nil {
		s.memory.forget(key)
	}
	return err
}

// TieRequestURI lets a pushed request be found by its request_uri.
func (s *Store) TieRequestURI(_ context.Context, uri sessions.RequestURIHash, key sessions.TransactionKey, until time.Time) (err error) {
	defer s.observe("tie_request_uri", time.Now(), &err)
	if err = s.closedError(); err == nil {
		s.memory.tie(uri, key, until)
	}
	return err
}

// RequestURI is the key that a request_uri was tied to.
func (s *Store) RequestURI(_ context.Context, uri sessions.RequestURIHash) (key sessions.TransactionKey, err error) {
	defer s.observe("request_uri", time.Now(), &err)
	if err = s.closedError(); err != nil {
		return key, err
	}
	return s.memory.tied(uri, s.now())
}

// AddCode keeps what was seen of a code.
func (s *Store) AddCode(_ context.Context, c sessions.Code) (err error) {
	defer s.observe("add_code", time.Now(), &err)
	if err = s.closedError(); err == nil {
		c.LeftAt, c.Until = exact(c.LeftAt), exact(c.Until)
		s.memory.addCode(c, s.now())
	}
	return err
}

// Code is what is known of a code.
func (s *Store) Code(_ context.Context, hash sessions.CodeHash) (c sessions.Code, err error) {
	defer s.observe("code", time.Now(), &err)
	if err = s.closedError(); err != nil {
		return c, err
	}
	c, ok := s.memory.code(hash, s.now())
	return c, orNotFound(ok, nil)
}

// exact is a time as it comes back from the disk.
func exact(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}
