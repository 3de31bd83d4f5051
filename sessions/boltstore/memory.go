package boltstore

import (
	"bytes"
	"net/netip"
	"sync"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

type (
	waiting struct {
		data   []byte // encoded, as it is stored too; replaced, never changed
		number uint64 // its key on the disk, in the order of arrival
		onDisk bool
		by     *address
		client string
	}
	transaction = item[sessions.TransactionKey, waiting]
)

// address is who asked for transactions, and which of them wait, by age.
type address struct {
	prefix netip.Prefix
	count  int
	mine   chain[sessions.TransactionKey, waiting]
	at     int
}

// memory is what is answered from memory and written behind. Everything in it
// that strangers can cause is bounded by limit.
type memory struct {
	limit   int
	dirtied chan struct{} // something has to be written

	mu           sync.Mutex
	transactions *table[sessions.TransactionKey, waiting]
	addresses    map[netip.Prefix]*address
	clients      map[string]int // how many of each wait
	most         pile[*address] // first the one that holds most
	ties         *bounded[sessions.RequestURIHash, sessions.TransactionKey]
	seen         *bounded[sessions.CodeHash, sessions.Code] // codes that may still be exchanged
	used         *bounded[sessions.CodeHash, sessions.Code] // codes that were
	pushedOut    int
	number       uint64 // of the newest transaction

	unwritten unwritten
}

func newMemory(limit int) *memory {
	return &memory{
		limit:        limit,
		dirtied:      make(chan struct{}, 1),
		transactions: newTable[sessions.TransactionKey, waiting](),
		addresses:    map[netip.Prefix]*address{},
		clients:      map[string]int{},
		most: pile[*address]{
			less: func(a, b *address) bool {
				if a.count != b.count {
					return a.count > b.count
				}
				return a.mine.first.value.number < b.mine.first.value.number
			},
			place: func(a *address) *int { return &a.at },
		},
		ties:      newBounded[sessions.RequestURIHash, sessions.TransactionKey](),
		seen:      newBounded[sessions.CodeHash, sessions.Code](),
		used:      newBounded[sessions.CodeHash, sessions.Code](),
		unwritten: unwritten{transactions: map[uint64]*transaction{}, others: map[other]struct{}{}},
	}
}

func (m *memory) count() (waiting, pushedOut int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.transactions.items), m.pushedOut
}

// addTransaction keeps t unless one stands for its key.
func (m *memory) addTransaction(t sessions.Transaction, now time.Time) (sessions.Transaction, bool, error) {
	data := sessions.EncodeTransaction(&t)
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.signal()
	e, ok := m.transactions.get(t.Key, now.UnixMilli())
	if ok {
		standing, err := sessions.DecodeTransaction(e.value.data)
		if err != nil {
			return sessions.Transaction{}, false, err
		}
		if !standing.Same(&t) {
			return sessions.Transaction{}, false, sessions.ErrDifferent
		}
		if standing.Meet(t.Browser) {
			e.value.data = sessions.EncodeTransaction(&standing)
			m.unwritten.mark(e.value.number, e)
		}
		return standing, false, nil
	}
	if e != nil {
		m.dropTransaction(e)
	}
	m.number++
	m.wait(&t, waiting{data: data, number: m.number})
	m.pushOut(now.UnixMilli())
	t, err := sessions.DecodeTransaction(data)
	return t, err == nil, err
}

// wait adds a transaction to its address.
func (m *memory) wait(t *sessions.Transaction, w waiting) {
	by := m.addresses[t.Address]
	if by == nil {
		by = &address{prefix: t.Address, at: -1}
		m.addresses[t.Address] = by
	}
	w.by, w.client = by, t.Client
	m.clients[t.Client]++
	e := m.transactions.add(t.Key, w, t.Until.UnixMilli())
	by.mine.add(e)
	by.count++
	if by.at < 0 {
		m.most.push(by)
	} else {
		m.most.fix(by)
	}
	if !w.onDisk {
		m.unwritten.mark(w.number, e)
	}
}

// dropTransaction forgets a transaction, on the disk too.
func (m *memory) dropTransaction(e *transaction) {
	m.transactions.remove(e)
	if m.clients[e.value.client]--; m.clients[e.value.client] <= 0 {
		delete(m.clients, e.value.client)
	}
	by := e.value.by
	by.mine.remove(e)
	by.count--
	if by.count == 0 {
		m.most.remove(by)
		delete(m.addresses, by.prefix)
	} else {
		m.most.fix(by)
	}
	if e.value.onDisk {
		m.unwritten.mark(e.value.number, nil)
	} else {
		delete(m.unwritten.transactions, e.value.number)
	}
}

// pushOut keeps the bound: what has expired goes first, then the oldest of the
// address that holds most, so that a flood from one place costs that place.
func (m *memory) pushOut(now int64) {
	for len(m.transactions.items) > m.limit {
		if e := m.transactions.expired(now); e != nil {
			m.dropTransaction(e)
			continue
		}
		m.dropTransaction(m.most.items[0].mine.first)
		m.pushedOut++
	}
}

func (m *memory) transaction(key sessions.TransactionKey, now time.Time) (sessions.Transaction, error) {
	m.mu.Lock()
	e, ok := m.transactions.get(key, now.UnixMilli())
	var data []byte
	if ok {
		data = e.value.data
	}
	m.mu.Unlock()
	if !ok {
		return sessions.Transaction{}, sessions.ErrNotFound
	}
	return sessions.DecodeTransaction(data)
}

func (m *memory) waitsFor(client string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clients[client] > 0
}

func (m *memory) forget(key sessions.TransactionKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.signal()
	if e := m.transactions.items[key]; e != nil {
		m.dropTransaction(e)
	}
}

func (m *memory) tie(uri sessions.RequestURIHash, key sessions.TransactionKey, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.signal()
	if gone := m.ties.put(uri, key, until.UnixMilli(), m.limit); gone != nil {
		m.unwritten.others[other{waitingTie, gone.key}] = struct{}{}
	}
	m.unwritten.others[other{waitingTie, uri}] = struct{}{}
}

func (m *memory) tied(uri sessions.RequestURIHash, now time.Time) (sessions.TransactionKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.ties.get(uri, now.UnixMilli())
	if !ok {
		return sessions.TransactionKey{}, sessions.ErrNotFound
	}
	return e.value, nil
}

// code is what is known of a code.
func (m *memory) code(hash sessions.CodeHash, now time.Time) (sessions.Code, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known(hash, now.UnixMilli())
}

func (m *memory) known(hash sessions.CodeHash, now int64) (sessions.Code, bool) {
	if e, ok := m.used.get(hash, now); ok {
		return e.value, true
	}
	if e, ok := m.seen.get(hash, now); ok {
		return e.value, true
	}
	return sessions.Code{}, false
}

// addCode adds to what is known of a code. Codes that were exchanged have a
// bound of their own: only exchanges fill it, and codes that were merely seen
// cannot push such a mark out.
func (m *memory) addCode(c sessions.Code, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.signal()
	if known, ok := m.known(c.Hash, now.UnixMilli()); ok {
		merged := merge(known, c)
		if sameCode(merged, known) {
			return
		}
		c = merged
	}
	m.setCode(c)
	m.unwritten.others[other{waitingCode, c.Hash}] = struct{}{}
}

func (m *memory) setCode(c sessions.Code) {
	table := m.seen
	if c.Exchanged {
		table = m.used
		if e := m.seen.items[c.Hash]; e != nil {
			m.seen.remove(e)
		}
	} else if e := m.used.items[c.Hash]; e != nil { // its time has passed
		m.used.remove(e)
	}
	if gone := table.put(c.Hash, c, c.Until.UnixMilli(), m.limit); gone != nil {
		m.unwritten.others[other{waitingCode, gone.key}] = struct{}{}
	}
}

// exchanged follows a mark that is on the disk. What was seen of the code
// meanwhile is written behind.
func (m *memory) exchanged(c sessions.Code, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.signal()
	if known, ok := m.known(c.Hash, now.UnixMilli()); ok {
		if merged := merge(known, c); !sameCode(merged, c) {
			c = merged
			m.unwritten.others[other{waitingCode, c.Hash}] = struct{}{}
		}
	}
	m.setCode(c)
}

func sameCode(a, b sessions.Code) bool {
	return bytes.Equal(sessions.EncodeCode(&a), sessions.EncodeCode(&b))
}

// merge adds what is new to what is known of a code: what was seen of it first
// stays, and a code that was exchanged stays so.
func merge(known, c sessions.Code) sessions.Code {
	if !known.LeftAt.IsZero() || known.Browser != "" {
		c.Browser, c.LeftAt, c.Cookies = known.Browser, known.LeftAt, known.Cookies
	}
	c.Exchanged = c.Exchanged || known.Exchanged
	if known.Until.After(c.Until) {
		c.Until = known.Until
	}
	return c
}

// expire forgets what has expired, limit records at most.
func (m *memory) expire(now time.Time, limit int) (removed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.signal()
	ms := now.UnixMilli()
	for ; removed < limit; removed++ {
		if e := m.transactions.expired(ms); e != nil {
			m.dropTransaction(e)
		} else if e := m.ties.expired(ms); e != nil {
			m.ties.remove(e)
			m.unwritten.others[other{waitingTie, e.key}] = struct{}{}
		} else if e := m.seen.expired(ms); e != nil {
			m.seen.remove(e)
			m.unwritten.others[other{waitingCode, e.key}] = struct{}{}
		} else if e := m.used.expired(ms); e != nil {
			m.used.remove(e)
			m.unwritten.others[other{waitingCode, e.key}] = struct{}{}
		} else {
			break
		}
	}
	return removed
}

func (m *memory) hasExpired(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	ms := now.UnixMilli()
	return m.transactions.expired(ms) != nil || m.ties.expired(ms) != nil || m.seen.expired(ms) != nil || m.used.expired(ms) != nil
}
