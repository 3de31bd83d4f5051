package boltstore

import (
	"slices"
	"sync"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// watches are who wants to know of a session's changes.
type watches struct {
	mu sync.Mutex
	of map[sessions.ID][]chan struct{}
}

// Watch signals after each change of a session.
func (s *Store) Watch(id sessions.ID) (<-chan struct{}, func()) {
	return s.watches.add(id)
}

func (w *watches) add(id sessions.ID) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[sessions.ID][]chan struct{}{}
	}
	w.of[id] = append(w.of[id], c)
	return c, func() { w.remove(id, c) }
}

func (w *watches) remove(id sessions.ID, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := slices.DeleteFunc(w.of[id], func(o chan struct{}) bool { return o == c })
	if len(list) == 0 {
		delete(w.of, id)
	} else {
		w.of[id] = list
	}
}

// notify never waits: a signal that is pending already stands for this one too.
func (w *watches) notify(id sessions.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.of[id] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
