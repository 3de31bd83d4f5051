package sessions

import (
	"slices"
	"sync"
)

// Signals is for backends: who wants to hear of what, by its key. The zero value
// is ready.
type Signals[K comparable] struct {
	mu sync.Mutex
	of map[K][]chan struct{}
}

// Listen hears of a key until stop is called. One signal at most is pending: it
// stands for those that come meanwhile.
func (s *Signals[K]) Listen(key K) (signal <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[K][]chan struct{}{}
	}
	s.of[key] = append(s.of[key], c)
	return c, func() { s.remove(key, c) }
}

func (s *Signals[K]) remove(key K, c chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(s.of[key], func(o chan struct{}) bool { return o == c })
	if len(list) == 0 {
		delete(s.of, key)
	} else {
		s.of[key] = list
	}
}

// Send signals everybody who listens for a key. It never waits.
func (s *Signals[K]) Send(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	send(s.of[key])
}

// SendAll signals everybody.
func (s *Signals[K]) SendAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.of {
		send(list)
	}
}

// Keys is for how many keys somebody listens.
func (s *Signals[K]) Keys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.of)
}

func send(list []chan struct{}) {
	for _, c := range list {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
