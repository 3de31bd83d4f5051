package redisstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	recentMost = 20_000           // ends and notes that this replica remembers
	recentFor  = 50 * time.Minute // less than slackOther: a dropped note is still known to be so
	freshFor   = time.Minute      // looked after all the time
	freshEvery = 3 * time.Second
	oldEvery   = 30 * time.Second
)

// recent are the ends and the notes that this replica made: Redis acknowledges
// what its copies do not have yet, and a failover may lose it. As long as this
// process lives, it looks whether they are still there.
type recent struct {
	mu      sync.Mutex
	made    []*deed // the oldest first
	doubted chan struct{}
}

// deed is one end or one note.
type deed struct {
	at    time.Time
	id    sessions.ID // of a session that ended
	end   sessions.End
	owing bool
	note  outNote
	token string
	gone  bool // nobody needs it any more
}

// note remembers what was done. An end of just now that stood already counts too: its
// first attempt may have been this replica's, which got no answer.
func (r *recent) note(c *change, b *outbox, now time.Time) {
	var made []*deed
	if c != nil && c.was != nil && c.is.End != nil && (c.was.End == nil || now.Sub(c.is.End.At) < freshFor) {
		made = append(made, &deed{id: c.is.ID, end: *c.is.End, owing: len(c.is.Owed) > 0})
	}
	for _, n := range b.Notes {
		if n.Until > now.UnixMilli() && n.Kind != sessions.NoteLogoutMark {
			made = append(made, &deed{note: n, token: b.Token})
		}
	}
	if len(made) == 0 {
		return
	}
	at := time.Now()
	for _, d := range made {
		d.at = at
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made = append(r.made, made...)
	if n := len(r.made) - recentMost; n > 0 {
		r.made = slices.Delete(r.made, 0, n)
	}
}

// forget is for a note that is dropped.
func (r *recent) forget(kind sessions.NoteKind, hash sessions.NoteHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.made {
		if d.id == "" && d.note.Kind == kind && d.note.Hash == hash {
			d.gone = true
		}
	}
}

// knows is a note that this replica made, as far as it remembers.
func (r *recent) knows(kind sessions.NoteKind, hash sessions.NoteHash, now time.Time) (outNote, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range slices.Backward(r.made) {
		if d.id == "" && d.note.Kind == kind && d.note.Hash == hash {
			return d.note, !d.gone && d.note.Until > now.UnixMilli()
		}
	}
	return outNote{}, false
}

// doubt says that the store may have changed its mind.
func (r *recent) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.doubted <- struct{}{}:
	default: // a doubt is pending, or nobody looks yet
	}
}

func (r *recent) watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubted = make(chan struct{}, 1)
	return r.doubted
}

// since are the deeds that are younger than this.
func (r *recent) since(age time.Duration) (list []*deed) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made = slices.DeleteFunc(r.made, func(d *deed) bool { return d.gone || now.Sub(d.at) > recentFor })
	for _, d := range r.made {
		if now.Sub(d.at) <= age {
			list = append(list, d)
		}
	}
	return list
}

// assert looks whether deeds are still there, and does again what was lost. It
// says whether it could look.
func (s *Store) assert(parent context.Context, list []*deed) error {
	for page := range slices.Chunk(list, readMost) {
		ctx, cancel := s.within(parent)
		pipe := s.rdb.Pipeline()
		cmds := make([]*redis.StringCmd, len(page))
		for i, d := range page {
			if d.id != "" {
				cmds[i] = pipe.HGet(ctx, s.sessionKey(d.id), fieldSession)
			} else {
				cmds[i] = pipe.Get(ctx, s.noteKey(d.note.Kind, d.note.Hash))
			}
		}
		_, _ = pipe.Exec(ctx)
		cancel()
		for i, d := range page {
			text, err := cmds[i].Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			if err := s.again(parent, d, text, err == nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) again(ctx context.Context, d *deed, text string, there bool) error {
	if d.id == "" {
		if there || d.note.Until <= s.now().UnixMilli() {
			return nil
		}
		s.log.Warn("a note that was lost is written again", "kind", string(rune(d.note.Kind)))
		within, cancel := s.within(ctx)
		defer cancel()
		_, err := s.durable(within, s.noteCall(d.note.Kind, d.note.Hash, d.note.At, d.note.Until, d.token))
		return err
	}
	if !there {
		return nil
	}
	if ses, err := sessions.DecodeSession([]byte(text)); err != nil || ses.End != nil {
		return nil // what cannot be read is told of elsewhere
	}
	err := s.Update(ctx, d.id, nil, func(draft *sessions.Draft) error {
		if d.owing {
			draft.EndSessionOwing(d.end)
		} else {
			draft.EndSession(d.end)
		}
		return nil
	})
	if errors.Is(err, sessions.ErrNotFound) {
		return nil
	}
	if err == nil {
		s.log.Warn("the end of a session that was lost is written again", "session", string(d.id), "reason", string(d.end.Reason))
	}
	return err
}

const (
	lookEvery = time.Second
	metaEvery = 10 * time.Second
)

// look does what has to be done all the time: it comes back to a store that was
// away, follows the generation of nonces, and looks after what this replica did.
func (s *Store) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	doubted := s.recent.watch()
	var fresh, all, meta time.Time // when each is due
	var doubt []time.Duration      // looks that are still to come after a doubt
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-doubted:
			since, doubt = time.Now(), []time.Duration{0, 5 * time.Second, 15 * time.Second, time.Minute}
			meta = time.Time{}
		case <-tick.C:
		}
		now := time.Now()
		if !s.laid.Load() || now.After(meta) {
			s.relay(ctx)
			meta = now.Add(metaEvery)
		}
		if r := s.replay.Load(); r != nil {
			r.follow(ctx)
		}
		var list []*deed
		switch {
		case len(doubt) > 0 && now.Sub(since) >= doubt[0]:
			list, doubt = s.recent.since(recentFor), doubt[1:]
		case now.After(all):
			list = s.recent.since(recentFor)
			all = now.Add(oldEvery)
		case now.After(fresh):
			list = s.recent.since(freshFor)
		default:
			continue
		}
		fresh = now.Add(freshEvery)
		if err := s.assert(ctx, list); err != nil && len(doubt) == 0 {
			since, doubt = now, []time.Duration{lookEvery, 5 * time.Second, 15 * time.Second} // when it is back
		}
	}
}

// relay looks at the format again: a store that lost everything gets it anew, and
// nobody works on half an import.
func (s *Store) relay(ctx context.Context) {
	was := s.laid.Load() // and stays so meanwhile, and where it is away
	err := s.lay(ctx)
	switch {
	case err == nil && !was:
		s.log.Info("the session store answers")
	case isFault(err):
		s.laid.Store(false)
		s.log.Error("the session store cannot be used", "error", err.Error())
	}
}
