package proxy

import (
	"sync"
	"time"
)

// recent remembers values for a while; when full, the oldest go. It is safe for
// concurrent use.
type recent[K comparable, V any] struct {
	mu     sync.Mutex
	limit  int
	now    func() time.Time
	values map[K]remembered[V]
	order  []K // oldest first
}

type remembered[V any] struct {
	value V
	until time.Time
}

func newRecent[K comparable, V any](limit int, now func() time.Time) *recent[K, V] {
	return &recent[K, V]{limit: limit, now: now, values: map[K]remembered[V]{}}
}

func (m *recent[K, V]) get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.values[k]
	if !ok || !m.now().Before(e.until) {
		var none V
		return none, false
	}
	return e.value, true
}

// stale is what was remembered last, past its time too.
func (m *recent[K, V]) stale(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.values[k]
	return e.value, ok
}

func (m *recent[K, V]) add(k K, v V, life time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.values[k]; !ok {
		for len(m.order) >= m.limit {
			delete(m.values, m.order[0])
			m.order = m.order[1:]
		}
		m.order = append(m.order, k)
	}
	m.values[k] = remembered[V]{v, m.now().Add(life)}
}
