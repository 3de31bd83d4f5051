package redisstore

import (
	"context"
	"slices"
	"sync"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// turns let those of this process that want one thing go one after the other, in
// the order of asking: then only one of them at a time asks Redis. A name takes
// memory only while somebody has it or waits for it.
type turns struct {
	mu      sync.Mutex
	waiting map[string][]chan struct{} // a key is there while it is taken
}

// take waits for a turn; done passes it on, once.
func (t *turns) take(ctx context.Context, closing <-chan struct{}, key string) (done func(), err error) {
	t.mu.Lock()
	queue, taken := t.waiting[key]
	if t.waiting == nil {
		t.waiting = map[string][]chan struct{}{}
	}
	done = sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.pass(key)
	})
	if !taken {
		t.waiting[key] = nil
		t.mu.Unlock()
		return done, nil
	}
	mine := make(chan struct{})
	t.waiting[key] = append(queue, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return done, nil
	case <-ctx.Done():
		t.leave(key, mine)
		return nil, ctx.Err()
	case <-closing:
		t.leave(key, mine)
		return nil, sessions.ErrClosed
	}
}

// leave gives up waiting. Where the turn had come just now, it goes to the next.
func (t *turns) leave(key string, mine chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-mine:
		t.pass(key)
		return
	default:
	}
	t.waiting[key] = slices.DeleteFunc(t.waiting[key], func(c chan struct{}) bool { return c == mine })
}

// pass hands a turn to whoever waits longest. t.mu is held.
func (t *turns) pass(key string) {
	queue := t.waiting[key]
	if len(queue) == 0 {
		delete(t.waiting, key)
		return
	}
	close(queue[0])
	t.waiting[key] = queue[1:]
}

// wakes are who waits for a lease that another replica has.
type wakes struct {
	mu sync.Mutex
	of map[string][]chan struct{}
}

func (w *wakes) wait(key string) chan struct{} {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[string][]chan struct{}{}
	}
	w.of[key] = append(w.of[key], c)
	return c
}

func (w *wakes) leave(key string, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := slices.DeleteFunc(w.of[key], func(o chan struct{}) bool { return o == c })
	if len(list) == 0 {
		delete(w.of, key)
	} else {
		w.of[key] = list
	}
}

func (w *wakes) wake(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.of[key] {
		signal(c)
	}
}

// signal never waits: a signal that is pending stands for this one too.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
