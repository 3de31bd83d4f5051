package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// replicas are gateways behind one public name, on one Redis.
type replicas struct {
	*stack
	listen, admins [3]string
	processes      [3]*process
	redis          *redisServers
}

// startReplicas starts three gateways. What is sent to the public origin comes to
// one of them at random, and to another where that one does not listen.
func startReplicas(t *testing.T, provider providerConfig) *replicas {
	t.Helper()
	r := &replicas{redis: startSentinels(t)}
	r.stack = startStack(t, setup{provider: provider, env: map[string]string{
		"ORT_STORE_URL": r.redis.url, "ORT_SEALING_KEYS": newSealingKey(t),
	}})
	r.listen[0], r.admins[0], r.processes[0] = r.env["ORT_LISTEN_ADDR"], r.env["ORT_ADMIN_ADDR"], r.gateway
	for n := 1; n < 3; n++ {
		r.listen[n], r.admins[n] = proctest.FreeAddress(t), proctest.FreeAddress(t)
		r.startReplica(n)
	}
	r.http.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != r.listen[0] {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		var conn net.Conn
		var err error
		for _, n := range rand.Perm(3) {
			if conn, err = (&net.Dialer{}).DialContext(ctx, network, r.listen[n]); err == nil {
				break
			}
		}
		return conn, err
	}
	r.http.DisableKeepAlives = true // each request finds its own way
	return r
}

// only is a way to one replica.
func (r *replicas) only(n int) *http.Transport {
	t := r.http.Clone()
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == r.listen[0] {
			address = r.listen[n]
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return t
}

// startReplica starts one gateway and waits until it is ready.
func (r *replicas) startReplica(n int) {
	r.t.Helper()
	env := maps.Clone(r.env)
	env["ORT_LISTEN_ADDR"], env["ORT_ADMIN_ADDR"] = r.listen[n], r.admins[n]
	cmd := exec.Command(gatewayBinary(r.t))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=halt_on_error=0 exitcode=66"}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	r.processes[n] = start(r.t, fmt.Sprint("gateway ", n), r.out, cmd)
	if n == 0 {
		r.gateway = r.processes[n]
	}
	waitUntil(r.t, 30*time.Second, fmt.Sprintf("gateway %d is ready", n), func() bool {
		resp, err := http.Get("http://" + r.admins[n] + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// waitUntil waits for what another process does.
func waitUntil(t *testing.T, d time.Duration, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func newSealingKey(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(gatewayBinary(t), "keys").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// redisServers are a master, two replicas and three Sentinels.
type redisServers struct {
	t     *testing.T
	ports []string // of the servers, the first master first
	nodes []*process
	url   string
}

func startSentinels(t *testing.T) *redisServers {
	t.Helper()
	r := &redisServers{t: t}
	for n := range 3 {
		_, port, _ := net.SplitHostPort(proctest.FreeAddress(t))
		r.ports, r.nodes = append(r.ports, port), append(r.nodes, nil)
		r.startNode(n, 0)
	}
	waitUntil(t, 20*time.Second, "both Redis replicas have everything", func() bool {
		return strings.Count(r.ask(r.ports[0], "info", "replication"), "state=online") == 2
	})
	var addresses []string
	for n := range 3 {
		_, port, _ := net.SplitHostPort(proctest.FreeAddress(t))
		dir := t.TempDir()
		conf := filepath.Join(dir, "sentinel.conf")
		text := "port " + port + "\nbind 127.0.0.1\ndir " + dir + "\nlogfile " + dir + "/log\nsentinel monitor mymaster 127.0.0.1 " + r.ports[0] + " 2\n" +
			"sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.startServer(fmt.Sprint("sentinel ", n), port, conf, "--sentinel")
		addresses = append(addresses, "127.0.0.1:"+port)
		if n == 2 {
			waitUntil(t, 20*time.Second, "the Sentinels know each other and the replicas", func() bool {
				return strings.HasPrefix(r.ask(port, "sentinel", "ckquorum", "mymaster"), "OK 3") &&
					strings.Count(r.ask(port, "sentinel", "replicas", "mymaster"), "master-link-status\nok") == 2
			})
		}
	}
	r.url = "redis://" + addresses[0] + "?master_name=mymaster&addr=" + addresses[1] + "&addr=" + addresses[2] + "&wait_replicas=1"
	return r
}

// startNode starts a server, as a replica of another one or of none.
func (r *redisServers) startNode(n, of int) {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir())
	args := []string{"--port", r.ports[n], "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0", "--dir", dir, "--logfile", filepath.Join(dir, "log")}
	if n != of {
		args = append(args, "--replicaof", "127.0.0.1 "+r.ports[of])
	}
	r.nodes[n] = r.startServer(fmt.Sprint("redis ", n), r.ports[n], args...)
}

func (r *redisServers) startServer(name, port string, args ...string) *process {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		proctest.Missing(r.t, "no redis-server: apt-get install redis-server")
	}
	p := start(r.t, name, &proctest.Output{}, exec.Command(path, args...))
	waitUntil(r.t, 10*time.Second, name+" answers", func() bool {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

// ask is what redis-cli says.
func (r *redisServers) ask(port string, args ...string) string {
	r.t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-p", port}, args...)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		proctest.Missing(r.t, "no redis-cli: apt-get install redis-tools")
	}
	return string(out)
}

// failOver kills the master, waits for the next one, and starts the old one as its
// replica.
func (r *redisServers) failOver() {
	r.nodes[0].kill()
	next := -1
	waitUntil(r.t, 30*time.Second, "another Redis is master", func() bool {
		for n := 1; n < 3; n++ {
			if strings.Contains(r.ask(r.ports[n], "info", "replication"), "role:master") {
				next = n
			}
		}
		return next >= 0
	})
	r.startNode(0, next)
}

// A client is not logged out and no credential is lost while gateways are killed
// and started again, one after the other, and Redis fails over.
//
// A kill between the upstream's answer and the write of it loses that credential,
// and nobody can help it; see TestKilledUnderLoadLosesNothingThatWasAnswered for
// what the upstream does then, and for what is held against what.
func TestReplicasLoseNothing(t *testing.T) {
	clients, lasts := 50, time.Minute
	if testing.Short() || raceFlag != "" {
		clients, lasts = 20, 12*time.Second
	}
	r := startReplicas(t, providerConfig{Reuse: "unacknowledged"})
	load := make([]*loadedApp, clients)
	for i := range load {
		load[i] = &loadedApp{app: r.app([]string{"app-one", "app-two"}[i%2], nil)}
		load[i].last = load[i].login(t).AccessToken
	}
	var answered, unavailable atomic.Int64
	ctx, stop := context.WithTimeout(t.Context(), lasts)
	defer stop()
	var all sync.WaitGroup
	for i, a := range load {
		all.Go(func() {
			for ctx.Err() == nil {
				got, err := a.tokenContext(context.WithoutCancel(ctx), a.refreshForm(nil))
				switch {
				case err == nil && got.status == http.StatusOK:
					a.last = got.AccessToken
					answered.Add(1)
				case err == nil && got.status != http.StatusServiceUnavailable:
					t.Errorf("client %d: %v", i, got)
					return
				default: // cut off by a kill, or the store is away
					unavailable.Add(1)
				}
				time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond) // every answer and every token is searched for in the end
			}
		})
	}
	kills := 0
	for begun := time.Now(); ctx.Err() == nil; kills++ {
		if kills == 1 {
			all.Go(r.redis.failOver)
		}
		n := kills % 3
		if kills%2 == 0 {
			r.processes[n].kill()
		} else if err := r.processes[n].terminate(30 * time.Second); err != nil {
			t.Errorf("gateway %d: %v", n, err)
		}
		r.startReplica(n)
		select {
		case <-ctx.Done():
		case <-time.After(lasts / 8):
		}
		t.Logf("after %v: %d exchanges answered, %d not", time.Since(begun).Round(time.Second), answered.Load(), unavailable.Load())
	}
	all.Wait()
	if t.Failed() {
		return
	}
	now := make([]string, len(load))
	for i, a := range load {
		now[i] = a.works(t).AccessToken
	}
	exchanges := r.provider.seen(t)
	for i, a := range load {
		a.checkUsed(t, exchanges, i, now[i])
	}
	if answered.Load() < int64(2*clients) || kills < 3 {
		t.Errorf("only %d exchanges and %d kills", answered.Load(), kills)
	}
}

// An end at one replica is told to pages of another within a second, and is an end
// at each.
func TestAnEndIsToldByEveryReplica(t *testing.T) {
	r := startReplicas(t, providerConfig{})
	a, b := r.browser(), r.browser()
	a.Transport, b.Transport = r.only(0), r.only(1)
	one := r.app("app-one", a)
	one.login(t)
	b.Jar = a.Jar // the same browser, by another way
	two := r.app("app-two", b)
	two.login(t)
	stream := two.sessionRequest(t, "/_ort/session/events")
	if stream.StatusCode != http.StatusOK {
		t.Fatalf("events: %s", stream.Status)
	}
	began := time.Now()
	if got, err := one.revoke(); err != nil || got.status != http.StatusOK {
		t.Fatalf("revocation: %v %v", got, err)
	}
	text := readAll(stream.Body)
	if d := time.Since(began); !strings.Contains(text, "event: ended") || d > time.Second {
		t.Errorf("events after %v: %q", d, text)
	}
	for n := range 3 {
		a.Transport = r.only(n)
		one.dead(t)
	}
}
