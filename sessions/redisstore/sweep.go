package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	sweepStep = 100              // sessions that are read in one round trip
	expireMax = 200              // transactions, ties and codes in one script
	claimFor  = 30 * time.Second // so long a replica that died keeps others from sweeping
	setAside  = time.Hour        // a session that cannot be read is looked at again

	clockApart = 5 * time.Minute // a clock that differs more ends nobody's sessions
)

// Sweep ends sessions whose limit has passed and removes records past their time.
// One replica at a time does it; notes go by themselves.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (out sessions.Swept, err error) {
	defer s.observe("sweep", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return out, err
	}
	if err = s.clockFits(ctx); err != nil {
		return out, err
	}
	token := newToken()
	within, cancel := s.within(ctx)
	ours, err := s.rdb.SetNX(within, s.sweepKey(), token, claimFor).Result()
	cancel()
	if err != nil || !ours {
		return out, s.fault(ctx, err)
	}
	defer func() {
		ctx, cancel := s.through(ctx)
		defer cancel()
		_, _ = s.run(ctx, call{scriptUnclaim, []string{s.sweepKey()}, []any{token}})
	}()
	w := &sweeper{Store: s, now: now, left: limit, out: &out}
	err = w.sweep(ctx)
	s.figures.stale()
	return out, s.fault(ctx, err)
}

// clockFits keeps a gateway whose clock is far ahead from ending the sessions of
// all others. One that was given a clock is asked for no other.
func (s *Store) clockFits(parent context.Context) error {
	if !s.ownClock {
		return nil
	}
	ctx, cancel := s.within(parent)
	defer cancel()
	theirs, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return s.fault(parent, err)
	}
	return apart(s.now(), theirs)
}

func apart(ours, theirs time.Time) error {
	if d := ours.Sub(theirs); d.Abs() > clockApart {
		return fmt.Errorf("this machine's clock and that of Redis are %v apart: no session is swept until one of them is set right", d.Abs().Round(time.Second))
	}
	return nil
}

// sweeper is one sweep under way.
type sweeper struct {
	*Store
	now  time.Time
	left int
	out  *sessions.Swept
}

func (w *sweeper) sweep(ctx context.Context) error {
	for w.left > 0 {
		want := min(w.left, expireMax)
		n, _, err := w.expire(ctx, want)
		if err != nil {
			return err
		}
		w.out.Removed += n
		w.left -= n
		if n < want {
			break
		}
	}
	for _, list := range []byte{'x', 'y'} { // those that end now are removed after that
		due, err := w.due(ctx, list)
		if err != nil {
			return err
		}
		for _, shard := range due {
			if err := w.shard(ctx, list, shard); err != nil {
				return err
			}
		}
	}
	if w.left > 0 {
		return nil
	}
	_, more, err := w.expire(ctx, 0)
	for _, list := range []byte{'x', 'y'} {
		if err != nil || more {
			break
		}
		var due []int
		due, err = w.due(ctx, list)
		more = len(due) > 0
	}
	w.out.More = more
	return err
}

// expire removes transactions, ties and codes; with 0 it looks alone.
func (w *sweeper) expire(parent context.Context, limit int) (n int, more bool, err error) {
	ctx, cancel := w.within(parent)
	defer cancel()
	v, err := w.run(ctx, w.waiting(scriptExpire, w.now.UnixMilli(), limit))
	if err != nil {
		return 0, false, err
	}
	list, _ := v.([]any)
	if len(list) != 2 {
		return 0, false, errAnswer
	}
	removed, _ := list[0].(int64)
	return int(removed), list[1] == int64(1), nil
}

// due are the shards of a list in which something is to be done.
func (w *sweeper) due(parent context.Context, list byte) (due []int, err error) {
	ctx, cancel := w.within(parent)
	defer cancel()
	pipe := w.rdb.Pipeline()
	cmds := make([]*redis.StringSliceCmd, shards)
	for k := range cmds {
		cmds[k] = pipe.ZRangeByScore(ctx, w.list(list, k), w.past(1))
	}
	_, _ = pipe.Exec(ctx)
	for k, cmd := range cmds {
		if cmd.Err() != nil {
			return nil, cmd.Err()
		}
		if len(cmd.Val()) > 0 {
			due = append(due, k)
		}
	}
	return due, nil
}

func (w *sweeper) past(limit int) *redis.ZRangeBy {
	return &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(w.now.UnixMilli(), 10), Count: int64(limit)}
}

// shard works through the entries of one list that are due, the longest due first.
func (w *sweeper) shard(parent context.Context, list byte, shard int) error {
	for w.left > 0 {
		want := min(w.left, sweepStep)
		ctx, cancel := w.within(parent)
		entries, err := w.rdb.ZRangeByScoreWithScores(ctx, w.list(list, shard), w.past(want)).Result()
		cancel()
		if err != nil {
			return err
		}
		for _, e := range entries {
			w.left--
			id, _ := e.Member.(string)
			if err := w.entry(parent, list, sessions.ID(id), e.Score); err != nil {
				return err
			}
		}
		if len(entries) < want {
			return nil
		}
	}
	return nil
}

// entry deals with one session.
func (w *sweeper) entry(parent context.Context, list byte, id sessions.ID, score float64) error {
	ctx, cancel := w.within(parent)
	defer cancel()
	h, err := w.whole(ctx, id)
	switch {
	case errors.Is(err, sessions.ErrDamaged), errors.Is(err, sessions.ErrVersion):
		// Unknown is not gone: it is kept, and does not hold up the others.
		w.unreadable(string(id), err)
		return w.refile(ctx, list, id, score, w.now.Add(setAside).UnixMilli())
	case err != nil:
		return err
	case h == nil:
		return w.strike(ctx, list, id, score)
	case h.outbox != "":
		if err := w.deliver(ctx, &h.ses, h.outbox, ""); err != nil {
			return err
		}
	}
	_, passed := h.ses.Deadline(w.now)
	switch {
	case h.ses.End == nil && passed && list == 'x':
		return w.finish(ctx, id)
	case h.ses.End == nil && list == 'x':
		return w.refile(ctx, list, id, score, due(&h.ses))
	case h.ses.End == nil: // its end is being written, or was not
		return w.refile(ctx, list, id, score, w.now.Add(lookAgain).UnixMilli())
	case w.now.Before(h.ses.Absolute):
		if _, err := w.run(ctx, w.file('y', id, millis(h.ses.Absolute), h.ses.Absolute, "")); err != nil || list == 'y' {
			return err
		}
		return w.refile(ctx, 'x', id, score, "")
	}
	return w.remove(ctx, h)
}

// finish ends a session whose limit has passed, unless it was used meanwhile.
// Where its marker is of no use any more, it goes at once.
func (w *sweeper) finish(ctx context.Context, id sessions.ID) error {
	var ended *sessions.Session
	err := w.Update(ctx, id, nil, func(d *sessions.Draft) error {
		ended = nil
		why, passed := d.Session.Deadline(w.now)
		if passed && d.EndSession(sessions.End{At: time.UnixMilli(w.now.UnixMilli()).UTC(), Reason: why}) {
			ses := d.Session.Apart()
			ended = &ses
		}
		return nil
	})
	if errors.Is(err, sessions.ErrNotFound) {
		return nil
	}
	if err != nil || ended == nil {
		return err
	}
	w.out.Ended = append(w.out.Ended, *ended)
	if w.now.Before(ended.Absolute) {
		return nil
	}
	h, err := w.whole(ctx, id)
	if err != nil || h == nil {
		return err
	}
	return w.remove(ctx, h)
}

func (w *sweeper) refile(ctx context.Context, list byte, id sessions.ID, score float64, due any) error {
	_, err := w.run(ctx, w.refiling(list, id, strconv.FormatFloat(score, 'f', -1, 64), due))
	return err
}

// strike takes an id out of the lists whose session is not there.
func (w *sweeper) strike(ctx context.Context, list byte, id sessions.ID, score float64) error {
	if err := w.refile(ctx, list, id, score, ""); err != nil {
		return err
	}
	_, err := w.runAll(ctx, w.strikes("iyo", id))
	return err
}

func (w *sweeper) strikes(lists string, id sessions.ID) (calls []call) {
	for _, list := range []byte(lists) {
		calls = append(calls, call{scriptDrop, []string{w.listOf(list, id)}, []any{string(id), anyAge}})
	}
	return calls
}

// remove takes a session out that is over, and what leads to it before that: what
// is cut off in between is found again by its entry in list y.
func (w *sweeper) remove(ctx context.Context, h *held) error {
	id := h.ses.ID
	calls := w.strikes("io", id)
	for _, key := range w.indexKeys(&h.ses) {
		calls = append(calls, call{scriptDrop, []string{key}, []any{string(id), anyAge}})
	}
	if _, err := w.runAll(ctx, calls); err != nil {
		return err
	}
	v, err := w.run(ctx, call{scriptRemove, []string{w.sessionKey(id)}, []any{h.revision}})
	if err != nil || v != int64(1) {
		return err
	}
	w.out.Removed++
	_, err = w.runAll(ctx, w.strikes("xy", id))
	return err
}
