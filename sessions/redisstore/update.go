package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var errConflict = errors.New("the session was changed meanwhile")

// change is what an update keeps.
type change struct {
	was, is *sessions.Session // was is nil for a new one
	put     []sessions.Grant
	dropped []sessions.GrantID
	index   []string // keys that find it newly
	outbox  string
	token   string
	filed   string // score of its entry in list x, where it was filed for this change
}

// Update changes one session and its grants: it reads them, runs f, and writes
// where nothing changed meanwhile, else begins again.
func (s *Store) Update(ctx context.Context, id sessions.ID, under sessions.Lease, f func(*sessions.Draft) error) (err error) {
	own := false // the error is f's
	defer func(start time.Time) {
		fault := err
		if own {
			fault = nil
		}
		s.observe("update", start, &fault)
	}(time.Now())
	if err := s.begin(ctx); err != nil {
		return err
	}
	if !validName(string(id)) {
		return sessions.ErrNotFound
	}
	l, err := s.under(under)
	if err != nil {
		return err
	}
	// One after the other in this process, so that they do not chase each other.
	turn, err := s.turns.Take(ctx, s.closing, string(id))
	if err != nil {
		return err
	}
	defer turn()
	base := l.takeBase(id)
	for {
		if base == nil {
			if base, err = s.read(ctx, id, l); err != nil {
				return err
			}
		}
		own, err = s.try(ctx, base, l, f)
		if !errors.Is(err, errConflict) {
			return err
		}
		base = nil
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
}

// pause lets others through, for a few milliseconds.
func (s *Store) pause(ctx context.Context) error {
	t := time.NewTimer(time.Duration(rand.Int64N(int64(4 * time.Millisecond))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return sessions.ErrClosed
	}
}

// read reads a session for a change, after what an earlier one left in its outbox
// is delivered.
func (s *Store) read(ctx context.Context, id sessions.ID, l *lease) (*held, error) {
	for {
		h, err := s.readTimed(ctx, id, l)
		if err = orNotFound(h, err); err != nil {
			return nil, err
		}
		if h.outbox == "" {
			return h, nil
		}
		within, cancel := s.within(ctx)
		err = s.deliver(within, &h.ses, h.outbox, "")
		cancel()
		if err != nil {
			return nil, err
		}
	}
}

// readTimed takes the server's time with it where the lease is in another slot.
func (s *Store) readTimed(parent context.Context, id sessions.ID, l *lease) (*held, error) {
	if l == nil || l.session == id {
		return s.whole(parent, id)
	}
	ctx, cancel := s.within(parent)
	defer cancel()
	v, err := s.run(ctx, call{scriptRead, []string{s.sessionKey(id)}, nil})
	if err != nil {
		return nil, s.fault(parent, err)
	}
	list, _ := v.([]any)
	if len(list) != 2 {
		return nil, s.fault(parent, errAnswer)
	}
	fields := map[string]string{}
	pairs, _ := list[1].([]any)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		fields[name], _ = pairs[i+1].(string)
	}
	h, err := holdOf(fields)
	if h != nil {
		h.whole = true
		h.at, _ = list[0].(int64)
	}
	return h, err
}

// try runs f on what was read and writes what it changed.
func (s *Store) try(ctx context.Context, base *held, l *lease, f func(*sessions.Draft) error) (own bool, err error) {
	id := base.ses.ID
	d := sessions.NewDraft(base.ses.Apart(),
		func(g sessions.GrantID) (sessions.Grant, bool, error) {
			if _, ok := base.grants[g]; !ok {
				if err := s.complete(ctx, base); err != nil {
					return sessions.Grant{}, false, err
				}
			}
			found, ok := base.grants[g]
			return found, ok, nil
		},
		func() ([]sessions.Grant, error) {
			err := s.complete(ctx, base)
			return base.list(), err
		})
	own, err = s.call(f, d)
	put, dropped, used, fault := d.Changes()
	switch {
	case fault != nil: // a read inside f: what f made of it means nothing
		return false, fault
	case err != nil:
		return own, err
	}
	if err := sessions.CheckChange(&base.ses, &d.Session, put); err != nil {
		return false, err
	}
	for _, g := range put {
		if !validName(string(g.ID)) {
			return false, errName
		}
	}
	c := &change{was: &base.ses, is: &d.Session, put: put, dropped: dropped, token: newToken()}
	b := outbox{Token: c.token}
	for _, n := range d.Notes() {
		b.note(n)
	}
	for _, u := range used {
		b.use(u)
	}
	c.outbox = b.pack()
	if is := s.indexKeys(c.is); d.Session.Absolute.After(base.ses.Absolute) {
		c.index = is // each lives as long as the session
	} else {
		was := s.indexKeys(c.was)
		c.index = slices.DeleteFunc(is, func(k string) bool { return slices.Contains(was, k) })
	}
	return false, s.commit(ctx, id, base, c, l)
}

// call runs f; its panic is an error like any other.
func (s *Store) call(f func(*sessions.Draft) error, d *sessions.Draft) (own bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("changing a session panicked", "fault", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("changing a session: it panicked: %v", p)
		}
	}()
	err = f(d)
	return err != nil, err
}

// complete reads the grants that a lease did not bring with it.
func (s *Store) complete(ctx context.Context, base *held) error {
	if base.whole {
		return nil
	}
	h, err := s.whole(ctx, base.ses.ID)
	switch {
	case err != nil:
		return err
	case h == nil || h.revision != base.revision:
		return errConflict
	}
	base.grants, base.whole = h.grants, true
	return nil
}

// commit writes a change. What others find the session by is there first: an entry
// without its session does no harm, Find looks.
func (s *Store) commit(parent context.Context, id sessions.ID, base *held, c *change, l *lease) error {
	if err := parent.Err(); err != nil {
		return err
	}
	ctx, cancel := s.through(parent)
	defer cancel()
	notAfter, err := l.provable(ctx, id, base.at)
	if err != nil {
		return err
	}
	if err := s.lead(ctx, c); err != nil {
		s.wrote(err)
		return s.fault(parent, err)
	}
	answer, err := s.durable(ctx, s.changeCall(id, base, c, l, notAfter))
	s.wrote(err)
	if err != nil {
		return s.fault(parent, err)
	}
	switch answer {
	case "ok":
	case "gone":
		return sessions.ErrNotFound
	case "lost":
		l.lose()
		return sessions.ErrLeaseLost
	case "conflict", "late":
		return errConflict
	default:
		return s.fault(parent, errAnswer)
	}
	l.written()
	s.recent.note(c, &outbox{}, s.now())
	s.watches.Send(id)
	s.figures.stale()
	if c.outbox != "" {
		if err := s.deliver(ctx, c.is, c.outbox, c.filed); err != nil {
			return err
		}
	}
	if calls := s.after(c); len(calls) > 0 {
		// What stays is found to be old by who reads it.
		_, _ = s.runAll(ctx, calls)
	}
	return nil
}

func (s *Store) changeCall(id sessions.ID, base *held, c *change, l *lease, notAfter int64) call {
	key := s.sessionKey(id)
	args := []any{
		base.revision, c.token, sessions.EncodeSession(c.is), s.ttl(c.is.Absolute, slackSession),
		s.channel(), s.message(changed, string(id)), mark(c.was.End == nil && c.is.End != nil), c.outbox,
	}
	lease, leaseArgs := l.guard(id)
	if lease == "" {
		lease = key
	}
	args = append(args, leaseArgs...)
	args = append(args, notAfter, len(c.put))
	for _, g := range c.put {
		args = append(args, fieldGrant+string(g.ID), sessions.EncodeGrant(&g))
	}
	for _, g := range c.dropped {
		args = append(args, fieldGrant+string(g))
	}
	return call{scriptChange, []string{key, lease}, args}
}

func mark(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// lookAgain is when the sweeper looks whether an outbox was delivered.
const lookAgain = 30 * time.Second

// lead writes what leads to a session.
func (s *Store) lead(ctx context.Context, c *change) error {
	calls := s.before(c)
	answers, err := s.runAll(ctx, calls)
	for i := range answers {
		if calls[i].keys[0] == s.listOf('x', c.is.ID) {
			c.filed, _ = answers[i].(string)
		}
	}
	return err
}

// before are the entries of other slots that lead to a session, each before what
// it leads to.
func (s *Store) before(c *change) (calls []call) {
	id, is := c.is.ID, c.is
	for _, key := range c.index {
		calls = append(calls, call{scriptPut, []string{key}, []any{"", string(id), s.ttl(is.Absolute, slackSession), ""}})
	}
	when := due(is)
	if c.was == nil {
		calls = append(calls, s.file('i', id, 0, is.Absolute, ""))
		if c.outbox != "" {
			when = min(when, s.now().Add(lookAgain).UnixMilli())
		}
		return append(calls, s.file('x', id, when, is.Absolute, ""))
	}
	if c.was.Absolute.Before(is.Absolute) {
		calls = append(calls, s.file('i', id, 0, is.Absolute, ""))
	}
	switch {
	case c.outbox != "", c.was.End == nil && is.End != nil:
		calls = append(calls, s.file('x', id, s.now().Add(lookAgain).UnixMilli(), is.Absolute, "LT"))
	case is.End == nil && (when < due(c.was) || c.was.Absolute.Before(is.Absolute)):
		calls = append(calls, s.file('x', id, when, is.Absolute, "LT"))
	}
	if c.was.End == nil && is.End != nil {
		calls = append(calls, s.file('y', id, millis(is.Absolute), is.Absolute, ""))
	}
	if len(c.was.Owed) == 0 && len(is.Owed) > 0 {
		calls = append(calls, s.file('o', id, 0, is.Absolute, ""))
	}
	return calls
}

// after takes out what leads to a session no more.
func (s *Store) after(c *change) (calls []call) {
	id := c.is.ID
	if c.is.End != nil && (c.was.End == nil || c.outbox != "") {
		calls = append(calls, s.refiling('x', id, c.filed, ""))
	}
	if len(c.was.Owed) > 0 && len(c.is.Owed) == 0 {
		calls = append(calls, call{scriptDrop, []string{s.listOf('o', id)}, []any{string(id), anyAge}})
	}
	is := s.indexKeys(c.is)
	for _, key := range s.indexKeys(c.was) {
		if !slices.Contains(is, key) {
			calls = append(calls, call{scriptDrop, []string{key}, []any{string(id), s.settle.Milliseconds()}})
		}
	}
	return calls
}

// anyAge drops an entry whatever its score says.
const anyAge = -1 << 52
