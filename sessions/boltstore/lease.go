package boltstore

import (
	"container/list"
	"context"
	"sync"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// leases are locks by name. A name takes memory only while somebody holds it
// or waits for it; who waits gets it in the order of asking.
type leases struct {
	mu      sync.Mutex
	waiting map[string]*list.List // of chan struct{}; a key is there while it is held
	closing <-chan struct{}
}

// lease is one holder's.
type lease struct {
	of       *leases
	key      string
	released bool // guarded by of.mu
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
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-l.closing:
		return nil, sessions.ErrClosed
	default:
	}
	l.mu.Lock()
	queue, held := l.waiting[key]
	if !held {
		if l.waiting == nil {
			l.waiting = map[string]*list.List{}
		}
		l.waiting[key] = list.New()
		l.mu.Unlock()
		return &lease{of: l, key: key}, nil
	}
	turn := make(chan struct{})
	place := queue.PushBack(turn)
	l.mu.Unlock()

	select {
	case <-turn:
		return &lease{of: l, key: key}, nil
	case <-ctx.Done():
		l.leave(key, place)
		return nil, ctx.Err()
	case <-l.closing:
		l.leave(key, place)
		return nil, sessions.ErrClosed
	}
}

// leave gives up waiting. Where the turn had come just now, it goes to the next.
func (l *leases) leave(key string, place *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-place.Value.(chan struct{}):
		l.pass(key)
	default: // a thousand that leave at once take no longer than each for itself
		l.waiting[key].Remove(place)
	}
}

// pass hands a key to whoever waits longest. l.mu is held.
func (l *leases) pass(key string) {
	queue := l.waiting[key]
	if queue.Len() == 0 {
		delete(l.waiting, key)
		return
	}
	close(queue.Remove(queue.Front()).(chan struct{}))
}

// held says whether a change may be made under a lease; nil is none.
func (l *leases) held(under sessions.Lease) bool {
	if under == nil {
		return true
	}
	h, ok := under.(*lease)
	if !ok || h == nil || h.of != l {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !h.released
}

func (h *lease) Lost() <-chan struct{} { return h.of.closing }

// Last means nothing here: Release costs nothing.
func (h *lease) Last() {}

func (h *lease) Release() {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	if !h.released {
		h.released = true
		h.of.pass(h.key)
	}
}
