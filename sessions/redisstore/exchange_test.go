package redisstore

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// trips counts how often Redis was waited for.
type trips struct {
	mu   sync.Mutex
	list []string
}

func (c *trips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.add(cmd.Name() + " " + fmt.Sprint(cmd.Args()[1]))
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.add(fmt.Sprintf("pipeline of %d", len(cmds)))
		return next(ctx, cmds)
	}
}

func (c *trips) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, what)
}

func (c *trips) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

// engineOn is an engine over a store, and an ORT of it.
func engineOn(t testing.TB, s *Store) (*ortengine.Engine, ortengine.ORT) {
	t.Helper()
	keys, err := seal.ParseKeys(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	e, err := ortengine.New(ortengine.Config{Store: s, Keys: keys, Idle: time.Hour, Absolute: 2 * time.Hour, Login: time.Hour, Upstream: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	issued, err := e.ExchangeCode(t.Context(), ortengine.CodeExchange{
		Transaction: sessions.Transaction{Key: sessions.TransactionKey{1}, Place: "https://id.example/authorize", Client: "spa", KeyID: keys.IDs()[0], Created: now, Until: now.Add(time.Hour)},
		Issuer:      "https://id.example", Client: "spa", Code: "code", Thumbprint: "jkt",
		Send: func(context.Context, string) (ortengine.Answer, error) {
			return ortengine.Answer{Status: 200, Credential: "credential 0"}, nil
		},
	})
	if err != nil || issued.Token == "" {
		t.Fatalf("issuing: %v", err)
	}
	ort, err := e.Open(issued.Token)
	if err != nil {
		t.Fatal(err)
	}
	return e, ort
}

// TestRoundTripsOfAnExchange: the proof remembered, the grant looked at, its lease
// taken and the grant read under it, the rotated credential kept and the lease
// given back: four.
func TestRoundTripsOfAnExchange(t *testing.T) {
	s := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
	e, ort := engineOn(t, s)
	replay := s.Replay(ReplayConfig{Generations: true})
	count := &trips{}
	s.rdb.AddHook(count)
	exchange := func(n int) []string {
		count.take()
		var key [32]byte
		copy(key[:], fmt.Sprint("proof", n))
		if r, err := replay.Remember(t.Context(), replay.Generation(), key, time.Now().Add(time.Minute)); err != nil || r != dpop.Fresh {
			t.Fatalf("the proof: %v, error %v", r, err)
		}
		done, err := e.Exchange(t.Context(), ortengine.Exchange{ORT: ort, Send: func(_ context.Context, credential string) (ortengine.Answer, error) {
			if want := fmt.Sprint("credential ", n-1); credential != want {
				t.Errorf("got %q, want %q", credential, want)
			}
			return ortengine.Answer{Status: 200, Credential: fmt.Sprint("credential ", n)}, nil
		}})
		if err != nil || done.Grant.Uses != uint64(n) {
			t.Fatalf("exchange %d: %d uses, error %v", n, done.Grant.Uses, err)
		}
		within(t, time.Second, "the lease is given back", func() bool { // what goes on after the answer counts too
			return s.turns.Waiting() == 0
		})
		return count.take()
	}
	best := exchange(1) // scripts are known from here on
	for n := 2; n <= 4; n++ {
		list := exchange(n)
		if len(list) < len(best) {
			best = list // the background asks once in a second, too
		}
	}
	if len(best) > 4 {
		t.Errorf("%d round trips: %q", len(best), best)
	}
	t.Logf("%q", best)
}
