package boltstore

// pile is a heap whose items know where they are in it.
type pile[T any] struct {
	items []T
	less  func(a, b T) bool
	place func(T) *int
}

func (p *pile[T]) push(v T) {
	*p.place(v) = len(p.items)
	p.items = append(p.items, v)
	p.up(len(p.items) - 1)
}

func (p *pile[T]) remove(v T) {
	i, last := *p.place(v), len(p.items)-1
	p.swap(i, last)
	var none T
	p.items[last] = none
	p.items = p.items[:last]
	if i < last {
		p.fix(p.items[i])
	}
}

// fix moves an item whose order changed.
func (p *pile[T]) fix(v T) {
	p.up(*p.place(v))
	p.down(*p.place(v))
}

func (p *pile[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !p.less(p.items[i], p.items[parent]) {
			return
		}
		p.swap(i, parent)
		i = parent
	}
}

func (p *pile[T]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(p.items); child++ {
			if p.less(p.items[child], p.items[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		p.swap(i, least)
		i = least
	}
}

func (p *pile[T]) swap(i, j int) {
	p.items[i], p.items[j] = p.items[j], p.items[i]
	*p.place(p.items[i]), *p.place(p.items[j]) = i, j
}

// table is a map that knows whose time has passed.
type table[K comparable, V any] struct {
	items  map[K]*item[K, V]
	byTime pile[*item[K, V]]
}

// item is one value of a table.
type item[K comparable, V any] struct {
	key        K
	value      V
	until      int64 // ms
	at         int
	prev, next *item[K, V] // in a chain
}

// chain is a list of items, by age.
type chain[K comparable, V any] struct{ first, last *item[K, V] }

func (c *chain[K, V]) add(e *item[K, V]) {
	e.prev, e.next = c.last, nil
	if c.last == nil {
		c.first = e
	} else {
		c.last.next = e
	}
	c.last = e
}

func (c *chain[K, V]) remove(e *item[K, V]) {
	if e.prev == nil {
		c.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		c.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

func newTable[K comparable, V any]() *table[K, V] {
	return &table[K, V]{
		items: map[K]*item[K, V]{},
		byTime: pile[*item[K, V]]{
			less:  func(a, b *item[K, V]) bool { return a.until < b.until },
			place: func(e *item[K, V]) *int { return &e.at },
		},
	}
}

func (t *table[K, V]) add(key K, value V, until int64) *item[K, V] {
	e := &item[K, V]{key: key, value: value, until: until}
	t.items[key] = e
	t.byTime.push(e)
	return e
}

func (t *table[K, V]) remove(e *item[K, V]) {
	delete(t.items, e.key)
	t.byTime.remove(e)
}

// get is a value whose time has not passed.
func (t *table[K, V]) get(key K, now int64) (*item[K, V], bool) {
	e, ok := t.items[key]
	return e, ok && now < e.until
}

// expired is an item whose time has passed, nil where there is none.
func (t *table[K, V]) expired(now int64) *item[K, V] {
	if len(t.byTime.items) == 0 || now < t.byTime.items[0].until {
		return nil
	}
	return t.byTime.items[0]
}

// bounded is a table that drops its oldest item when there are too many.
type bounded[K comparable, V any] struct {
	*table[K, V]
	age chain[K, V]
}

func newBounded[K comparable, V any]() *bounded[K, V] {
	return &bounded[K, V]{table: newTable[K, V]()}
}

// put adds a value, or replaces one, which keeps its age. It returns what was
// dropped for the limit, or nil.
func (b *bounded[K, V]) put(key K, value V, until int64, limit int) *item[K, V] {
	if e, ok := b.items[key]; ok {
		e.value, e.until = value, until
		b.byTime.fix(e)
		return nil
	}
	b.age.add(b.add(key, value, until))
	if len(b.items) <= limit {
		return nil
	}
	oldest := b.age.first
	b.remove(oldest)
	return oldest
}

func (b *bounded[K, V]) remove(e *item[K, V]) {
	b.table.remove(e)
	b.age.remove(e)
}
