package sessions

import (
	"container/list"
	"context"
	"sync"
)

// Turns is for backends: those of one process that want one thing get it one after
// the other, in the order of asking. A name takes memory only while somebody has
// it or waits for it. The zero value is ready.
type Turns struct {
	mu      sync.Mutex
	waiting map[string]*list.List // of chan struct{}; a key is there while it is taken
}

// Take waits for a turn; done passes it on, and is harmless twice. The error is
// the context's, or ErrClosed when closing was closed.
func (t *Turns) Take(ctx context.Context, closing <-chan struct{}, key string) (done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-closing:
		return nil, ErrClosed
	default:
	}
	done = sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.pass(key)
	})
	t.mu.Lock()
	queue, taken := t.waiting[key]
	if !taken {
		if t.waiting == nil {
			t.waiting = map[string]*list.List{}
		}
		t.waiting[key] = list.New()
		t.mu.Unlock()
		return done, nil
	}
	turn := make(chan struct{})
	place := queue.PushBack(turn)
	t.mu.Unlock()

	select {
	case <-turn:
		return done, nil
	case <-ctx.Done():
		t.leave(key, place)
		return nil, ctx.Err()
	case <-closing:
		t.leave(key, place)
		return nil, ErrClosed
	}
}

// Waiting is how many names are taken.
func (t *Turns) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}

// leave gives up waiting. Where the turn had come just now, it goes to the next.
func (t *Turns) leave(key string, place *list.Element) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-place.Value.(chan struct{}):
		t.pass(key)
	default: // a thousand that leave at once take no longer than each for itself
		t.waiting[key].Remove(place)
	}
}

// pass hands a turn to whoever waits longest. t.mu is held.
func (t *Turns) pass(key string) {
	queue := t.waiting[key]
	if queue.Len() == 0 {
		delete(t.waiting, key)
		return
	}
	close(queue.Remove(queue.Front()).(chan struct{}))
}
