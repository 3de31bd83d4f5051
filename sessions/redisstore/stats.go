package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	figuresFor  = 2 * time.Second        // so long figures are good while nobody changes anything
	figuresWait = 250 * time.Millisecond // so long a scrape waits for them
)

// figures are the newest that are known.
type figures struct {
	mu    sync.Mutex
	st    sessions.Stats
	next  time.Time // when they are asked for again
	touch sync.Mutex
	old   bool
}

// stale says that something was changed.
func (f *figures) stale() {
	f.touch.Lock()
	f.old = true
	f.touch.Unlock()
}

func (f *figures) taken() (old bool) {
	f.touch.Lock()
	defer f.touch.Unlock()
	old, f.old = f.old, false
	return old
}

// Stats counts without a scan: what the lists have, asked in one round trip. What
// cannot be asked is as it was.
func (s *Store) Stats() sessions.Stats {
	f := &s.figures
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if old := f.taken(); now.Before(f.next) && !(old && f.next.Sub(now) <= figuresFor) {
		if old {
			f.stale()
		}
		return s.counted(f.st)
	}
	ctx, cancel := context.WithTimeout(context.Background(), figuresWait)
	defer cancel()
	if st, err := s.count(ctx); err == nil {
		f.st, f.next = st, now.Add(figuresFor)
	} else {
		f.stale()
		f.next = now.Add(2 * figuresFor) // no scrape after the other waits
	}
	return s.counted(f.st)
}

func (s *Store) counted(st sessions.Stats) sessions.Stats {
	st.PushedOut = int(s.pushedOut.Load())
	return st
}

func (s *Store) count(ctx context.Context) (st sessions.Stats, err error) {
	if err := s.begin(ctx); err != nil {
		return st, err
	}
	pipe := s.rdb.Pipeline()
	card := func(list byte) (cmds []*redis.IntCmd) {
		for k := range shards {
			cmds = append(cmds, pipe.ZCard(ctx, s.list(list, k)))
		}
		return cmds
	}
	alive, owing := card('x'), card('o')
	waiting := pipe.ZCard(ctx, s.waitingKey()+"tu")
	_, _ = pipe.Exec(ctx)
	sum := func(cmds []*redis.IntCmd) (n int) {
		for _, c := range cmds {
			if c.Err() != nil {
				err = c.Err()
			}
			n += int(c.Val())
		}
		return n
	}
	st.Active, st.Owing, st.Transactions = sum(alive), sum(owing), sum([]*redis.IntCmd{waiting})
	return st, err
}
