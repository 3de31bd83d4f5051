package boltstore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// unwritten is what memory has and the disk has not. memory's lock guards it.
type unwritten struct {
	transactions map[uint64]*transaction // by number; nil: to be deleted
	order        []uint64                // their numbers as they came; one that is not in the map is done
	others       map[other]struct{}
}

// other names a code or a tie.
type other struct {
	kind byte
	hash [32]byte
}

func (u *unwritten) mark(number uint64, e *transaction) {
	if _, ok := u.transactions[number]; !ok {
		u.order = append(u.order, number)
	}
	u.transactions[number] = e
	if len(u.order) > 2*len(u.transactions)+maxFlush { // a flood while the disk is full
		u.order = slices.DeleteFunc(u.order, func(n uint64) bool { _, ok := u.transactions[n]; return !ok })
	}
}

// prune forgets codes and ties that are gone, when so many changed without
// being written that the disk must be full. What stays on it is found at the
// next start, and goes with its time.
func (m *memory) prune() {
	if len(m.unwritten.others) <= 4*m.limit+maxFlush {
		return
	}
	for o := range m.unwritten.others {
		if m.stored(o) == nil {
			delete(m.unwritten.others, o)
		}
	}
}

// flushing is what a flush has taken.
type flushing struct {
	writes       []write
	transactions []taken
	others       []other
}

type taken struct {
	number uint64
	e      *transaction
	onDisk bool
}

// signal tells the writer that there is something to write. m.mu is held.
func (m *memory) signal() {
	if len(m.unwritten.transactions)+len(m.unwritten.others) == 0 {
		return
	}
	m.prune()
	select {
	case m.dirtied <- struct{}{}:
	default:
	}
}

// waits counts what is not on the disk.
func (m *memory) waits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.unwritten.transactions) + len(m.unwritten.others)
}

// flush takes up to n records to be written, the longest waiting first.
func (m *memory) flush(n int) *flushing {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := &flushing{}
	u := &m.unwritten
	for len(u.order) > 0 && len(f.writes) < n {
		number := u.order[0]
		u.order = u.order[1:]
		e, ok := u.transactions[number]
		if !ok {
			continue
		}
		delete(u.transactions, number)
		w := write{bucket: bucketWaiting, key: transactionKey(number)}
		t := taken{number: number, e: e}
		if e != nil {
			w.value = e.value.data
			t.onDisk = e.value.onDisk
			e.value.onDisk = true
		}
		f.writes = append(f.writes, w)
		f.transactions = append(f.transactions, t)
	}
	for o := range u.others {
		if len(f.writes) >= n {
			break
		}
		delete(u.others, o)
		f.writes = append(f.writes, write{bucketWaiting, waitingKey(o.kind, o.hash), m.stored(o)})
		f.others = append(f.others, o)
	}
	return f
}

// stored is how a code or a tie is stored, nil where there is none any more.
func (m *memory) stored(o other) []byte {
	if o.kind == waitingTie {
		if e := m.ties.items[o.hash]; e != nil {
			return append(number(uint64(e.until)), e.value[:]...)
		}
		return nil
	}
	e := m.used.items[o.hash]
	if e == nil {
		e = m.seen.items[o.hash]
	}
	if e == nil {
		return nil
	}
	return sessions.EncodeCode(&e.value)
}

// unflushed takes back what could not be written.
func (m *memory) unflushed(f *flushing) {
	if f == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &m.unwritten
	for _, t := range f.transactions {
		switch {
		case t.e == nil:
			u.mark(t.number, nil)
		case m.transactions.items[t.e.key] == t.e:
			t.e.value.onDisk = t.onDisk
			u.mark(t.number, t.e)
		case !t.onDisk: // dropped meanwhile, and never written
			delete(u.transactions, t.number)
		}
	}
	for _, o := range f.others {
		u.others[o] = struct{}{}
	}
}

func transactionKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{waitingTransaction}, number)
}

// load reads what was written behind before. What has expired meanwhile goes
// the usual way.
func (m *memory) load(b *bolt.Bucket, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.signal()
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := m.loadOne(k, v); err != nil {
			return fmt.Errorf("record %x: %w", k, err)
		}
	}
	m.pushOut(now.UnixMilli())
	return nil
}

func (m *memory) loadOne(k, v []byte) error {
	switch {
	case len(k) == 9 && k[0] == waitingTransaction:
		t, err := sessions.DecodeTransaction(v)
		if err != nil {
			return err
		}
		w := waiting{data: append([]byte(nil), v...), number: binary.BigEndian.Uint64(k[1:]), onDisk: true}
		m.number = max(m.number, w.number)
		if e := m.transactions.items[t.Key]; e != nil {
			m.dropTransaction(e)
		}
		m.wait(&t, w)
	case len(k) == 33 && k[0] == waitingCode:
		c, err := sessions.DecodeCode(v)
		if err != nil {
			return err
		}
		m.setCode(c)
	case len(k) == 33 && k[0] == waitingTie && len(v) == 40:
		until := time.UnixMilli(int64(binary.BigEndian.Uint64(v)))
		if gone := m.ties.put([32]byte(k[1:]), [32]byte(v[8:]), until.UnixMilli(), m.limit); gone != nil {
			m.unwritten.others[other{waitingTie, gone.key}] = struct{}{}
		}
	default:
		return sessions.ErrDamaged
	}
	return nil
}
