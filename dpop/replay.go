package dpop

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// ReplayResult is a ReplayCache's answer.
type ReplayResult int

// The answers. The zero value is none of them, so a cache that forgets to
// answer accepts nothing.
const (
	Fresh           ReplayResult = iota + 1 // not seen before, now recorded
	Repeated                                // recorded before
	StaleGeneration                         // the proof's nonce belongs to a generation that has ended
)

// UnknownGeneration is the generation of a ReplayCache that does not know it yet:
// until then no nonce can be issued or judged.
const UnknownGeneration = ^uint64(0)

// ReplayCache remembers which proofs were taken. Implementations are safe for
// concurrent use.
type ReplayCache interface {
	// Generation returns the generation of nonces in force, as far as known
	// without any I/O, or UnknownGeneration. After Remember has answered StaleGeneration it returns
	// the new one.
	Generation() uint64

	// Remember records key at least until the time given, atomically, if it is
	// not there and generation is in force. Generation 0 belongs to proofs
	// without a nonce of ours: no new generation ends them, so they must not be
	// forgotten before their time. An error, for example one wrapping ErrFull,
	// means that nothing is known about the proof.
	Remember(ctx context.Context, generation uint64, key [32]byte, until time.Time) (ReplayResult, error)
}

// Follower is a ReplayCache whose generations others begin too. A nonce that fits none known here may be of the newest
// one, handed out by a replica that heard of it earlier: it is looked at again after Follow.
type Follower interface {
	// Follow asks which generation is in force, unless that was asked a moment ago. Generation then returns it; where
	// nobody answers in time it stays.
	Follow(ctx context.Context)
}

const (
	defaultReplayLimit = 1_000_000
	replayShards       = 32
)

// MemoryReplay is a ReplayCache in this process's memory, of bounded size:
// about 40 octets an entry (BenchmarkMemoryReplayFull), so 40 MB when full.
//
// With generations, a full memory starts a new generation of nonces and drops
// the entries of the old one, which no nonce can bring back. Without, or when
// full of entries that belong to no generation, it answers ErrFull until
// enough of them have expired. It never forgets an entry that could still be
// accepted, also when the clock is set back.
type MemoryReplay struct {
	limit       int64
	now         func() time.Time
	generations bool
	generation  atomic.Uint64
	count       atomic.Int64
	renew       sync.Mutex // held while a new generation starts
	shards      [replayShards]replayShard
}

type replayShard struct {
	mu   sync.Mutex
	sets [2]replaySet // entries without and with a generation
	_    [64]byte     // no two locks in one cache line
}

// NewMemoryReplay returns a MemoryReplay for at most limit entries (0 or less:
// 1,000,000). Now is the clock, nil: time.Now. Generations must be true where
// nonces are issued by the Nonces of one process alone, false elsewhere.
func NewMemoryReplay(limit int, now func() time.Time, generations bool) *MemoryReplay {
	m := &MemoryReplay{limit: int64(limit), now: now, generations: generations}
	if limit <= 0 {
		m.limit = defaultReplayLimit
	}
	if now == nil {
		m.now = time.Now
	}
	if generations {
		m.generation.Store(1)
	}
	return m
}

// Generation implements ReplayCache. It is 0 without generations.
func (m *MemoryReplay) Generation() uint64 { return m.generation.Load() }

// Len returns how many entries are remembered.
func (m *MemoryReplay) Len() int {
	m.sweep()
	return int(m.count.Load())
}

// Remember implements ReplayCache. It does no I/O and does not wait for other
// proofs.
func (m *MemoryReplay) Remember(_ context.Context, generation uint64, key [32]byte, until time.Time) (ReplayResult, error) {
	result, trouble := m.remember(generation, key, until)
	switch trouble {
	case none:
		return result, nil
	case clockSetBack:
		// What was dropped could be accepted again, but for its nonce.
		m.startGeneration(func() bool { return m.generation.Load() == generation })
		return StaleGeneration, nil
	}
	full := func() bool { return m.count.Load() >= m.limit }
	m.sweep()
	if m.generations && full() {
		m.startGeneration(full)
	}
	if result, trouble = m.remember(generation, key, until); trouble != none {
		return 0, ErrFull
	}
	return result, nil
}

// trouble is what one shard cannot settle alone.
type trouble int

const (
	none trouble = iota
	noRoom
	clockSetBack
)

func (m *MemoryReplay) remember(generation uint64, key [32]byte, until time.Time) (ReplayResult, trouble) {
	tied := 0
	if m.generations && generation != 0 {
		tied = 1
	}
	s := &m.shards[key[31]%replayShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	// Read under the lock: startGeneration counts up first and clears each
	// shard later, so no entry of an old generation survives it.
	if tied == 1 && generation != m.generation.Load() {
		return StaleGeneration, none
	}
	set, now, end := &s.sets[tied], m.now().UnixNano(), until.UnixNano()
	m.count.Add(-set.expire(now))
	id := entryID(key[:len(entryID{})])
	switch {
	case set.has(id):
		return Repeated, none
	case end <= set.forgotten && tied == 0:
		return Repeated, none // it may have been here
	case end <= set.forgotten && now > set.forgotten:
		return StaleGeneration, none // its nonce ended just now
	case end <= set.forgotten:
		return 0, clockSetBack
	}
	if m.count.Add(1) > m.limit {
		m.count.Add(-1)
		return 0, noRoom
	}
	set.add(id, now, end)
	return Fresh, none
}

// startGeneration ends all nonces and forgets the proofs made with them, if
// need is still true when it is this caller's turn.
func (m *MemoryReplay) startGeneration(need func() bool) {
	m.renew.Lock()
	defer m.renew.Unlock()
	if !need() {
		return
	}
	m.generation.Add(1)
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		m.count.Add(-s.sets[1].size())
		s.sets[1] = replaySet{}
		s.mu.Unlock()
	}
}

// sweep drops what has expired in all shards.
func (m *MemoryReplay) sweep() {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		now := m.now().UnixNano()
		m.count.Add(-s.sets[0].expire(now) - s.sets[1].expire(now))
		s.mu.Unlock()
	}
}

// entryID is half of the key: nobody can find a second preimage in 128 bits.
type entryID [16]byte

// replaySet keeps entries in a few maps by the time they end, so that dropping
// the expired ones is dropping a map.
type replaySet struct {
	buckets   []replayBucket
	forgotten int64 // the latest end of a bucket that was dropped
}

type replayBucket struct {
	end     int64 // Unix nanoseconds; the bucket is needed up to and including it
	entries map[entryID]struct{}
}

func (s *replaySet) has(id entryID) bool {
	for i := range s.buckets {
		if _, ok := s.buckets[i].entries[id]; ok {
			return true
		}
	}
	return false
}

// add puts id into the bucket for its end, rounded up by at most an eighth of
// the time it has left (or a second): so there are about ten buckets, whatever
// the lifetimes are.
func (s *replaySet) add(id entryID, now, end int64) {
	width := int64(time.Second)
	for width*8 < end-now {
		width *= 2
	}
	end = (end + width - 1) / width * width
	for i := range s.buckets {
		if s.buckets[i].end == end {
			s.buckets[i].entries[id] = struct{}{}
			return
		}
	}
	s.buckets = append(s.buckets, replayBucket{end: end, entries: map[entryID]struct{}{id: {}}})
}

// expire drops the buckets that ended before now and returns how many entries
// they had.
func (s *replaySet) expire(now int64) (dropped int64) {
	kept := s.buckets[:0]
	for _, b := range s.buckets {
		if b.end >= now {
			kept = append(kept, b)
			continue
		}
		dropped += int64(len(b.entries))
		s.forgotten = max(s.forgotten, b.end)
	}
	clear(s.buckets[len(kept):])
	s.buckets = kept
	return dropped
}

func (s *replaySet) size() (n int64) {
	for i := range s.buckets {
		n += int64(len(s.buckets[i].entries))
	}
	return n
}
