package redisstore

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	leaseFor  = 10 * time.Second // a holder that dies is waited for so long
	leaseRest = 10 * time.Minute // so long it is known who had a lease last
	outageFor = 5 * time.Minute  // so long a holder outlives a store that does not answer
)

// lease is the right of one holder, proved by its token: whoever has it next has
// another one, and a change is looked at together with the token that stands.
//
// It is renewed three times in its life. A holder that was stopped for longer
// finds it lost. One that went on, while the store did not answer, forgot it in a
// failover or came back with another clock, takes it again where nobody had it in
// between: what it has in hand may exist nowhere else.
type lease struct {
	s       *Store
	key     string
	session sessions.ID // of a grant's lease, else ""
	token   string
	prev    string // whose it was before
	lost    chan struct{}
	done    chan struct{} // closed by Release
	next    func()        // lets the next one of this process try

	mu       sync.Mutex
	base     *held // what was read when it was taken
	last     bool  // given back with the next change
	released bool
	gone     bool      // lost, or given back with a change
	renewed  time.Time // when it was held for certain
	tried    time.Time // when it was last tried to renew it
	stopped  bool      // its holder was, for longer than the lease
}

var _ sessions.Lease = (*lease)(nil)

// Lease waits until nobody else holds the key.
func (s *Store) Lease(ctx context.Context, key string) (_ sessions.Lease, err error) {
	defer s.observeWait("lease", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return nil, err
	}
	l, err := s.acquire(ctx, &lease{key: s.leaseKey(key)}, "")
	if err != nil {
		return nil, err
	}
	return l, nil
}

// LeaseGrant waits until nobody else uses a grant's credential, and reads the
// grant, in one round trip where nobody does.
func (s *Store) LeaseGrant(ctx context.Context, id sessions.ID, grant sessions.GrantID) (_ sessions.Lease, _ sessions.Session, g sessions.Grant, err error) {
	defer s.observeWait("lease_grant", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return nil, sessions.Session{}, g, err
	}
	if !validName(string(id)) || !validName(string(grant)) {
		ses, g, err := s.Grant(ctx, id, grant)
		return nil, ses, g, err
	}
	l, err := s.acquire(ctx, &lease{key: s.grantLeaseKey(id, grant), session: id}, fieldGrant+string(grant))
	if err != nil {
		return nil, sessions.Session{}, g, err
	}
	if l.token == "" { // the session or the grant is not there, so nothing is held
		if l.base == nil {
			return nil, sessions.Session{}, g, sessions.ErrNotFound
		}
		return nil, l.base.ses, g, sessions.ErrNotFound
	}
	return l, l.base.ses, l.base.grants[grant], nil
}

// observeWait does not count who gave up waiting for somebody else.
func (s *Store) observeWait(op string, start time.Time, err *error) {
	fault := *err
	if fault == context.DeadlineExceeded {
		fault = nil
	}
	s.observe(op, start, &fault)
}

// acquire waits for its turn in this process, then for the other replicas.
func (s *Store) acquire(ctx context.Context, l *lease, field string) (_ *lease, err error) {
	l.s, l.lost, l.done = s, make(chan struct{}), make(chan struct{})
	if l.next, err = s.turns.Take(ctx, s.closing, l.key); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil || l.token == "" {
			l.next()
		}
	}()
	wake, stop := s.wakes.Listen(l.key)
	defer stop()
	token := newToken()
	for {
		began := time.Now()
		state, left, err := s.acquireOnce(ctx, l, token, field)
		if err != nil {
			s.behind(func(ctx context.Context) { _, _ = s.run(ctx, s.releaseCall(l.key, token)) }) // it may be ours
			return nil, s.fault(ctx, err)
		}
		switch state {
		case "none":
			return l, nil
		case "held":
			l.token, l.renewed, l.tried = token, began, began
			if !s.keepUp(l) {
				return nil, sessions.ErrClosed
			}
			return l, nil
		}
		if err := s.await(ctx, wake, min(left, 40*time.Millisecond+rand.N(80*time.Millisecond))); err != nil {
			return nil, err
		}
	}
}

// await waits a while, or until somebody gives the lease back.
func (s *Store) await(ctx context.Context, wake <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return sessions.ErrClosed
	}
	return nil
}

func (s *Store) acquireOnce(parent context.Context, l *lease, token, field string) (state string, left time.Duration, err error) {
	ctx, cancel := s.within(parent)
	defer cancel()
	c := call{scriptAcquire, []string{l.key}, []any{token, s.leaseFor.Milliseconds(), s.rest(), field}}
	if l.session != "" {
		c.keys = append(c.keys, s.sessionKey(l.session))
	}
	v, err := s.durable(ctx, c)
	if err != nil {
		return "", 0, err
	}
	list, _ := v.([]any)
	if len(list) < 2 {
		return "", 0, errAnswer
	}
	state, _ = list[0].(string)
	switch state {
	case "taken":
		ms, _ := list[1].(int64)
		return state, max(time.Millisecond, time.Duration(ms)*time.Millisecond), nil
	case "held":
		l.prev, _ = list[1].(string)
	}
	if l.session != "" {
		values, _ := list[len(list)-1].([]any)
		l.base, err = holdOf(fieldsOf([]string{fieldRevision, fieldSession, fieldOutbox, field}, values))
	}
	return state, 0, err
}

// rest is how long a lease's key stays, in ms: longer than any of its holders
// waits for a store that does not answer.
func (s *Store) rest() int64 { return (leaseRest + s.leaseFor).Milliseconds() }

func (s *Store) releaseCall(key, token string) call {
	return call{scriptRelease, []string{key}, []any{token, s.channel(), s.message(freed, key)}}
}

// keepUp renews a lease until it is given back, lost, or the store is closed.
func (s *Store) keepUp(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Go(func() {
		tick := time.NewTicker(s.leaseFor / 3)
		defer tick.Stop()
		for {
			select {
			case <-l.done:
				return
			case <-s.closing:
				l.lose()
				return
			case <-tick.C:
			}
			ctx, cancel := s.within(context.Background())
			_, err := l.renew(ctx)
			cancel()
			if err == sessions.ErrLeaseLost {
				return
			}
		}
	})
	return true
}

// renew makes sure that the lease is held; an error of another kind is unknown.
func (l *lease) renew(ctx context.Context) (until time.Time, err error) {
	began := time.Now()
	l.mu.Lock()
	retake := l.retake()
	l.mu.Unlock()
	v, err := l.s.run(ctx, call{scriptRenew, []string{l.key}, []any{l.token, l.prev, mark(retake), l.s.leaseFor.Milliseconds(), l.s.rest()}})
	l.mu.Lock()
	l.tried = began // of a holder that was stopped while it waited, the answer proves nothing
	if err != nil {
		l.mu.Unlock()
		return time.Time{}, l.s.fault(context.WithoutCancel(ctx), err) // the time-out is ours
	}
	ours := v == int64(1)
	if ours {
		l.renewed = began
	}
	l.mu.Unlock()
	if !ours {
		l.lose()
		return time.Time{}, sessions.ErrLeaseLost
	}
	return began.Add(l.s.leaseFor), nil
}

// retake says whether a lease that ran out, or that a failover lost, may be taken
// again where nobody had it since: its holder went on all the time and tried to
// renew it, so it was the store that was away. l.mu is held.
func (l *lease) retake() bool {
	now := time.Now()
	l.stopped = l.stopped || now.Sub(l.tried) >= l.s.leaseFor
	return !l.stopped && !l.gone && now.Sub(l.renewed) < outageFor
}

// under is the lease that a change is made under; nil is none.
func (s *Store) under(under sessions.Lease) (*lease, error) {
	if under == nil {
		return nil, nil
	}
	l, ok := under.(*lease)
	if !ok || l == nil || l.s != s {
		return nil, sessions.ErrLeaseLost
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released || l.gone {
		return nil, sessions.ErrLeaseLost
	}
	return l, nil
}

// takeBase is what was read when the lease was taken, once.
func (l *lease) takeBase(id sessions.ID) *held {
	if l == nil || l.session != id {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	base := l.base
	l.base = nil
	if base != nil && base.outbox != "" {
		return nil
	}
	return base
}

// guard is what a change brings along so that the lease is looked at in the same
// step; no key where that is not possible.
func (l *lease) guard(id sessions.ID) (key string, args []any) {
	if l == nil || l.session != id {
		return "", []any{"", "", "", 0, 0, "", ""}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	retake := mark(l.retake())
	if retake == "1" && l.last {
		retake = "2"
	}
	return l.key, []any{
		l.token, l.prev, retake, l.s.leaseFor.Milliseconds(), l.s.rest(), mark(l.last), l.s.message(freed, l.key),
	}
}

// provable is until when, by the clock of the session's server, a change may be
// made under a lease in another slot: the lease is renewed after that clock was
// read, so it lasts at least so long. 0: no such bound is needed.
func (l *lease) provable(ctx context.Context, id sessions.ID, at int64) (int64, error) {
	if l == nil || l.session == id {
		return 0, nil
	}
	if _, err := l.renew(ctx); err != nil {
		return 0, err
	}
	const margin = 10 // servers' clocks run at nearly one speed
	return at + l.s.leaseFor.Milliseconds()*(100-margin)/100, nil
}

// written follows a change that was made under it.
func (l *lease) written() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last && l.session != "" {
		l.gone = true
	}
}

func (l *lease) Lost() <-chan struct{} { return l.lost }

// Last lets the next change that is made under the lease give it back.
func (l *lease) Last() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = true
}

func (l *lease) lose() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.gone && !l.released {
		l.gone = true
		close(l.lost)
	}
}

// Release gives it back, without waiting for the store. The next one of this
// process tries when that is done.
func (l *lease) Release() {
	l.mu.Lock()
	if l.released {
		l.mu.Unlock()
		return
	}
	l.released = true
	gone := l.gone
	l.mu.Unlock()
	close(l.done)
	if gone || !l.s.behind(func(ctx context.Context) {
		defer l.next()
		_, _ = l.s.run(ctx, l.s.releaseCall(l.key, l.token))
	}) {
		l.next()
	}
}
