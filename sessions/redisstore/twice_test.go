package redisstore

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// twice sends every script twice and goes by the second answer, as go-redis does
// where the first one was lost.
type twice struct{}

func (twice) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (twice) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil || cmd.Name() != "evalsha" {
			return err
		}
		return next(ctx, cmd)
	}
}

func (twice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := next(ctx, cmds); err != nil || cmds[0].Name() != "evalsha" {
			return err
		}
		return next(ctx, cmds)
	}
}

// TestEveryCallIsSentTwice: what was done once already is not done again, and does
// not read as somebody else's.
func TestEveryCallIsSentTwice(t *testing.T) {
	s := closing(t, openAt(t, sharedServer(t).url(), Config{}, newToken()))
	s.rdb.AddHook(twice{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	until := time.Now().Add(time.Hour)
	ses, g := login(t, s, 1) // Create
	if first, err := s.AddNote(ctx, sessions.Note{Kind: 't', Key: "a", Until: until}); err != nil || !first {
		t.Errorf("AddNote: first %t, error %v", first, err)
	}
	if _, added, err := s.AddTransaction(ctx, sessions.Transaction{Key: sessions.TransactionKey{1}, Until: until}); err != nil || !added {
		t.Errorf("AddTransaction: added %t, error %v", added, err)
	}
	r := s.Replay(ReplayConfig{Generations: true})
	if got, err := r.Remember(ctx, r.Generation(), [32]byte{1}, until); err != nil || got != dpop.Fresh {
		t.Errorf("Remember: %v, error %v", got, err)
	}
	for range 3 {
		l, _, _, err := s.LeaseGrant(ctx, ses.ID, g.ID)
		if err != nil {
			t.Fatal(err)
		}
		l.Last()
		if err := use(ctx, s, ses.ID, g.ID, l); err != nil {
			t.Error(err)
		}
		l.Release()
	}
	runs := 0
	err := s.Update(ctx, ses.ID, nil, func(d *sessions.Draft) error {
		runs++
		d.Session.LastUsed = until
		return nil
	})
	if err != nil || runs != 1 {
		t.Errorf("a change ran %d times, error %v", runs, err)
	}
	if _, got, err := s.Grant(ctx, ses.ID, g.ID); err != nil || got.Uses != 3 {
		t.Errorf("used %d times, error %v, want 3", got.Uses, err)
	}
	if first, err := endIt(ctx, s, ses.ID); err != nil || !first {
		t.Errorf("the end: first %t, error %v", first, err)
	}
}

// TestReplicasLoseNoUpdate: changes of one session by several replicas at once are
// all there in the end.
func TestReplicasLoseNoUpdate(t *testing.T) {
	const replicas, changes = 3, 50
	url := sharedServer(t).url()
	var stores []*Store
	for range replicas {
		stores = append(stores, closing(t, openAt(t, url, Config{}, t.Name())))
	}
	ses, g := login(t, stores[0], 1)
	var all sync.WaitGroup
	for _, s := range stores {
		all.Go(func() {
			for range changes {
				if err := use(t.Context(), s, ses.ID, g.ID, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if _, got, err := stores[0].Grant(t.Context(), ses.ID, g.ID); err != nil || got.Uses != replicas*changes {
		t.Errorf("used %d times, error %v, want %d", got.Uses, err, replicas*changes)
	}
}
