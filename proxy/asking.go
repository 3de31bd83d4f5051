package proxy

import (
	"context"
	"sync"
	"time"
)

// The bounds of what the gateway asks the upstream because a stranger came.
const (
	askTimeout = 5 * time.Second
	maxAsking  = 32               // questions at once
	noLife     = 10 * time.Second // how long a no is good
	downLife   = time.Second      // how long the upstream is left alone that did not answer
	maxNoes    = 10000
)

// asking asks the upstream each question once: who has the same meanwhile waits
// for the answer, and a no is remembered for a moment. What strangers can make the
// gateway ask, wait for and remember is bounded. The zero V is no answer.
type asking[K comparable, V any] struct {
	noes  *recent[K, bool] // whether the upstream was there
	slots chan struct{}

	mu    sync.Mutex
	under map[K]*question[V]
}

type question[V any] struct {
	done   chan struct{}
	answer answer[V]
}

// answer is what the upstream says: a yes with its value, or a no. there is false
// where it did not answer.
type answer[V any] struct {
	value      V
	yes, there bool
}

func newAsking[K comparable, V any](now func() time.Time) *asking[K, V] {
	return &asking[K, V]{noes: newRecent[K, bool](maxNoes, now), slots: make(chan struct{}, maxAsking), under: map[K]*question[V]{}}
}

// ask is the answer to a question; what asks the upstream within its context. The
// call is seen through although its client leaves: others wait for it.
func (a *asking[K, V]) ask(ctx context.Context, k K, what func(context.Context) answer[V]) answer[V] {
	if there, no := a.noes.get(k); no {
		return answer[V]{there: there}
	}
	a.mu.Lock()
	if q := a.under[k]; q != nil {
		a.mu.Unlock()
		select {
		case <-q.done:
			return q.answer
		case <-ctx.Done():
			return answer[V]{}
		}
	}
	select {
	case a.slots <- struct{}{}:
	default:
		a.mu.Unlock()
		return answer[V]{}
	}
	q := &question[V]{done: make(chan struct{})}
	a.under[k] = q
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.under, k)
		a.mu.Unlock()
		close(q.done)
		<-a.slots
	}()
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	q.answer = what(asked)
	if !q.answer.yes {
		life := noLife
		if !q.answer.there {
			life = downLife
		}
		a.noes.add(k, q.answer.there, life)
	}
	return q.answer
}
