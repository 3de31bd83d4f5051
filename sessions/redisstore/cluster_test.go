package redisstore

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

// newCluster starts three nodes that share the slots.
func newCluster(t *testing.T) []*server {
	t.Helper()
	var nodes []*server
	args := []string{"--cluster", "create"}
	for range 3 {
		s := &server{port: freePort(t), dir: t.TempDir()}
		for s.port+10000 > 65535 { // its bus
			s.port = freePort(t)
		}
		s.args = []string{"--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(freePort(t)), "--cluster-node-timeout", "2000"}
		s.start(t)
		t.Cleanup(s.stop)
		nodes, args = append(nodes, s), append(args, s.addr())
	}
	path, err := exec.LookPath("redis-cli")
	if err != nil {
		proctest.Missing(t, "no redis-cli: apt-get install redis-tools")
	}
	if out, err := exec.Command(path, append(args, "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("making a Cluster: %v: %s", err, out)
	}
	within(t, 20*time.Second, "the Cluster is whole", func() bool {
		for _, n := range nodes {
			info, _ := n.cli(t, "cluster", "info").(string)
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	return nodes
}

// TestCluster: the whole of storetest where keys lie on three servers.
func TestCluster(t *testing.T) {
	nodes := newCluster(t)
	url := nodes[0].url() + "?addr=" + nodes[1].addr()
	t.Run("store", func(t *testing.T) { storetest.Run(t, checkedAt(url)) })
	t.Run("durability", func(t *testing.T) { storetest.RunDurability(t, at(url), nil) })
	t.Run("events", func(t *testing.T) {
		a, b := closing(t, openAt(t, url, Config{}, t.Name())), closing(t, openAt(t, nodes[2].url()+"?addr="+nodes[1].addr(), Config{}, t.Name()))
		for n := range 8 { // in other slots
			ses, _ := login(t, a, n)
			word, stop := b.Watch(ses.ID)
			within(t, 5*time.Second, "b hears of a", func() bool {
				_ = a.Update(t.Context(), ses.ID, nil, func(d *sessions.Draft) error { d.Session.LastUsed = time.Now(); return nil })
				return signalled(word, 50*time.Millisecond)
			})
			stop()
		}
	})
	t.Run("one node as if it were alone", func(t *testing.T) {
		refused(t, "a node of a Cluster", nodes[0].url()+"?key_prefix=x:", "part of a Cluster")
	})
	t.Run("moving", func(t *testing.T) {
		storetest.RunMoving(t, storetest.Moving{
			Open: at(url),
			Fill: func(t testing.TB, c storetest.Config) sessions.Store {
				return openAt(t, url, Config{Now: c.Now, ForImport: true}, c.Place)
			},
			Kill: func(t testing.TB, _ string) string { // keys of one server cannot be copied to another: only marked
				other := t.TempDir()
				s := openAt(t, url, Config{}, other)
				defer s.Close()
				if err := s.rdb.HSet(t.Context(), s.metaKey(), importing, "died").Err(); err != nil {
					t.Fatal(err)
				}
				return other
			},
			Refusal: func(t testing.TB, place string) error {
				s, err := Open(t.Context(), Config{URL: urlAt(url, place)})
				if err != nil {
					return err
				}
				return s.Close()
			},
		})
	})
}
