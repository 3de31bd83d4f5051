package redisstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// lost lets a change under a lease, its last, be made while its answer is lost for
// good.
func lost(t *testing.T, c *cutter, s *Store, id sessions.ID, g sessions.GrantID, l sessions.Lease) {
	t.Helper()
	c.swallow.Store(1000)
	unknown(t, "Update", use(t.Context(), s, id, g, l))
	c.swallow.Store(0)
	if _, got, err := s.Grant(t.Context(), id, g); err != nil || got.Uses != 2 {
		t.Fatalf("the grant was used %d times, error %v", got.Uses, err)
	}
}

// TestAChangeIsTriedAgain: who holds what exists nowhere else tries again after an
// unknown outcome. A first attempt that counted gave the lease back; still nobody
// else had it.
func TestAChangeIsTriedAgain(t *testing.T) {
	c := newCutter(t, sharedServer(t).addr())
	s := closing(t, openAt(t, c.url(), Config{}, t.Name()))
	for _, taken := range []bool{false, true} {
		ses, g := login(t, s, 1)
		if err := use(t.Context(), s, ses.ID, g.ID, nil); err != nil { // now the server knows the script
			t.Fatal(err)
		}
		l, _, _, err := s.LeaseGrant(t.Context(), ses.ID, g.ID)
		if err != nil {
			t.Fatal(err)
		}
		l.Last()
		lost(t, c, s, ses.ID, g.ID, l)
		if taken {
			other := closing(t, openAt(t, sharedServer(t).url(), Config{}, t.Name()))
			l, _, _, err := other.LeaseGrant(t.Context(), ses.ID, g.ID)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Release()
		}
		if err := use(t.Context(), s, ses.ID, g.ID, l); (err == sessions.ErrLeaseLost) != taken || !taken && err != nil {
			t.Errorf("taken %t: got error %v", taken, err)
		}
		l.Release()
	}
}

// TestTriedAgainUntilReplicasHaveIt: the second attempt is not refused for the
// first, which counted at the master alone.
func TestTriedAgainUntilReplicasHaveIt(t *testing.T) {
	srv := newServer(t)
	replica := newServer(t, "--replicaof", "127.0.0.1", fmt.Sprint(srv.port))
	linked(t, replica)
	s := closing(t, openAt(t, srv.url()+"?wait_replicas=1", Config{}, t.Name()))
	ses, g := login(t, s, 1)
	l, _, _, err := s.LeaseGrant(t.Context(), ses.ID, g.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	l.Last()
	replica.stop()
	unknown(t, "Update", use(t.Context(), s, ses.ID, g.ID, l))
	replica.start(t)
	linked(t, replica)
	if err := use(t.Context(), s, ses.ID, g.ID, l); err != nil {
		t.Errorf("got error %v", err)
	}
}

// clockOf sets the clock of the server, as far as leases see it: what stands in a
// key is moved the other way.
func clockOf(t *testing.T, srv *server, key string, by time.Duration) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: srv.addr(), DisableIdentity: true})
	defer c.Close()
	if err := c.HIncrBy(context.Background(), key, "u", -by.Milliseconds()).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestTheServersClockIsSet: a holder that went on keeps its lease, and one that
// died holds up nobody for longer than the lease.
func TestTheServersClockIsSet(t *testing.T) {
	srv := sharedServer(t)
	s := closing(t, openAt(t, srv.url(), Config{}, t.Name()))
	other := closing(t, openAt(t, srv.url(), Config{leaseFor: 500 * time.Millisecond}, t.Name()))
	ses, g := login(t, s, 1)
	l, _, _, err := s.LeaseGrant(t.Context(), ses.ID, g.ID)
	if err != nil {
		t.Fatal(err)
	}
	clockOf(t, srv, s.grantLeaseKey(ses.ID, g.ID), time.Hour)
	if err := use(t.Context(), s, ses.ID, g.ID, l); err != nil {
		t.Errorf("set forward: got error %v", err)
	}
	clockOf(t, srv, s.grantLeaseKey(ses.ID, g.ID), -time.Hour)
	within(t, 3*time.Second, "somebody else's turn", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		l, _, _, err := other.LeaseGrant(ctx, ses.ID, g.ID)
		if err == nil {
			l.Release()
		}
		return err == nil
	})
	l.Release()
}
