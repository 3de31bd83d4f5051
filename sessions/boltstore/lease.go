package boltstore

import (
	"context"
	"sync/atomic"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// leases are locks by name.
type leases struct {
	turns   sessions.Turns
	closing <-chan struct{}
}

// lease is one holder's.
type lease struct {
	of       *leases
	next     func()
	released atomic.Bool
}

// Lease waits until nobody else holds the key. In one process nobody loses a
// lease: it ends by Release, or with the store.
func (s *Store) Lease(ctx context.Context, key string) (sessions.Lease, error) {
	return s.leases.take(ctx, key)
}

// LeaseGrant is a lease with its grant, read when it is held.
func (s *Store) LeaseGrant(ctx context.Context, id sessions.ID, grant sessions.GrantID) (sessions.Lease, sessions.Session, sessions.Grant, error) {
	l, err := s.leases.take(ctx, "grant\x00"+string(id)+"\x00"+string(grant))
	if err != nil {
		return nil, sessions.Session{}, sessions.Grant{}, err
	}
	ses, g, err := s.Grant(ctx, id, grant)
	if err != nil {
		l.Release()
		return nil, ses, g, err
	}
	return l, ses, g, nil
}

func (l *leases) take(ctx context.Context, key string) (sessions.Lease, error) {
	next, err := l.turns.Take(ctx, l.closing, key)
	if err != nil {
		return nil, err
	}
	return &lease{of: l, next: next}, nil
}

// held says whether a change may be made under a lease; nil is none.
func (l *leases) held(under sessions.Lease) bool {
	if under == nil {
		return true
	}
	h, ok := under.(*lease)
	return ok && h != nil && h.of == l && !h.released.Load()
}

func (h *lease) Lost() <-chan struct{} { return h.of.closing }

// Last means nothing here: Release costs nothing.
func (h *lease) Last() {}

func (h *lease) Release() {
	h.released.Store(true)
	h.next()
}
