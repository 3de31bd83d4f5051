package e2e

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
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

// replica is one gateway behind the load balancer.
type replica struct {
	*process
	admin  string
	proxy  *httputil.ReverseProxy
	served atomic.Int64
}

// balancer sends requests to its members in turn, as a Service of Kubernetes does: whoever is ready is in, and whoever is not
// any more is still sent to for the lag, until all nodes have heard of it. It never tries again.
type balancer struct {
	lag      time.Duration
	members  atomic.Pointer[[]*replica]
	turn     atomic.Int64
	failures atomic.Int64 // connections to members that failed
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	members := *b.members.Load()
	if len(members) == 0 {
		http.Error(w, "nobody is ready", http.StatusServiceUnavailable)
		return
	}
	m := members[int(b.turn.Add(1))%len(members)]
	m.served.Add(1)
	m.proxy.ServeHTTP(w, r)
}

// watch asks the replicas each 50 ms whether they are ready, until the context ends.
func (b *balancer) watch(ctx context.Context, replicas func() []*replica) {
	gone := map[*replica]time.Time{}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil {
		var in []*replica
		for _, m := range replicas() {
			resp, err := client.Get("http://" + m.admin + "/readyz")
			ready := err == nil && resp.StatusCode == http.StatusOK
			if err == nil {
				resp.Body.Close()
			}
			was := b.members.Load() != nil && slices.Contains(*b.members.Load(), m)
			switch {
			case ready:
				delete(gone, m)
			case was && gone[m].IsZero():
				gone[m] = time.Now()
			}
			if ready || was && time.Since(gone[m]) < b.lag {
				in = append(in, m)
			}
		}
		b.members.Store(&in)
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// rollout is a public origin with a load balancer, an IdP, and replicas that come and go.
type rollout struct {
	t        *testing.T
	origin   string
	upstream string
	delay    string
	balancer *balancer

	mu       sync.Mutex
	replicas []*replica
}

func startRollout(t *testing.T, delay string) *rollout {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ro := &rollout{t: t, origin: "http://" + listener.Addr().String(), delay: delay, balancer: &balancer{lag: 600 * time.Millisecond}}
	ro.upstream = startEmbedded(t, ro.origin, usualClients(ro.origin, [2]string{"http://one.localhost:3001", "http://two.localhost:3002"}), nil).url
	ro.balancer.members.Store(&[]*replica{})
	server := &http.Server{Handler: ro.balancer}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	running.Go(func() {
		ro.balancer.watch(ctx, func() []*replica {
			ro.mu.Lock()
			defer ro.mu.Unlock()
			return slices.Clone(ro.replicas)
		})
	})
	t.Cleanup(func() {
		cancel()
		server.Close()
		running.Wait()
	})
	return ro
}

// add starts a replica and waits until requests reach it.
func (ro *rollout) add() *replica {
	ro.t.Helper()
	listen, admin := proctest.FreeAddress(ro.t), proctest.FreeAddress(ro.t)
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "ORT_ISSUER": ro.origin, "ORT_UPSTREAM_URL": ro.upstream, "ORT_LISTEN_ADDR": listen, "ORT_ADMIN_ADDR": admin,
		"ORT_STORE_URL": "bolt:" + filepath.Join(ro.t.TempDir(), "sessions.db"), "ORT_SHUTDOWN_DELAY": ro.delay,
	}
	cmd := exec.Command(gatewayBinary(ro.t))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	out := &proctest.Output{}
	ro.t.Cleanup(func() { keepLog(ro.t, "gateway", out) })
	m := &replica{process: start(ro.t, "gateway", out, cmd), admin: admin}
	target := &url.URL{Scheme: "http", Host: listen}
	m.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			ro.balancer.failures.Add(1)
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	ro.mu.Lock()
	ro.replicas = append(ro.replicas, m)
	ro.mu.Unlock()
	ro.await("the new replica is not sent to", func() bool { return m.served.Load() > 0 })
	return m
}

func (ro *rollout) await(what string, done func() bool) {
	ro.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			ro.t.Fatal(what)
		}
	}
}

// load sends requests of several kinds until the context ends: a document that the gateway answers from memory, one that it
// forwards, and one that it reads and the IdP refuses. It counts what is not the usual answer.
func (ro *rollout) load(ctx context.Context, workers int) (sent, wrong *atomic.Int64, wait func()) {
	ro.t.Helper()
	sent, wrong = &atomic.Int64{}, &atomic.Int64{}
	var endpoints struct {
		Token string `json:"token_endpoint"`
		Keys  string `json:"jwks_uri"`
	}
	resp, err := http.Get(ro.origin + "/.well-known/openid-configuration")
	if err != nil {
		ro.t.Fatal(err)
	}
	err = json.NewDecoder(resp.Body).Decode(&endpoints)
	resp.Body.Close()
	if err != nil {
		ro.t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				want, method, address, body := http.StatusOK, http.MethodGet, ro.origin+"/.well-known/openid-configuration", ""
				switch i % 3 {
				case 1:
					address = endpoints.Keys
				case 2:
					want, method, address, body = http.StatusBadRequest, http.MethodPost, endpoints.Token, "grant_type=authorization_code&client_id=app-one&code=none&redirect_uri=http://one.localhost:3001/callback"
				}
				req, err := http.NewRequest(method, address, strings.NewReader(body))
				if err != nil {
					panic(err)
				}
				if body != "" {
					req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				}
				resp, err := client.Do(req)
				sent.Add(1)
				if err != nil {
					wrong.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != want && ctx.Err() == nil {
					wrong.Add(1)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return sent, wrong, running.Wait
}

// A rollout: the new replica is ready before the old one stops, and the old one goes on accepting for ORT_SHUTDOWN_DELAY, in
// which the load balancer still sends to it. No request fails. Without the delay some do, so the test would notice.
func TestRolloutWithoutAnError(t *testing.T) {
	for _, c := range []struct {
		delay string
		clean bool
	}{{"2s", true}, {"0s", false}} {
		t.Run("delay "+c.delay, func(t *testing.T) {
			ro := startRollout(t, c.delay)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { // one request now and then, until the first replica is there
				for ctx.Err() == nil {
					if resp, err := http.Get(ro.origin + "/.well-known/openid-configuration"); err == nil {
						resp.Body.Close()
					}
					time.Sleep(20 * time.Millisecond)
				}
			}()
			old := ro.add()
			sent, wrong, wait := ro.load(ctx, 8)
			next := ro.add()
			before := old.served.Load()
			stopped := time.Now()
			if err := old.terminate(20 * time.Second); err != nil {
				t.Errorf("ending the old replica: %v", err)
			}
			late := old.served.Load() - before
			ro.await("the new replica gets nothing more", func() bool { n := next.served.Load(); time.Sleep(50 * time.Millisecond); return next.served.Load() > n })
			cancel()
			wait()
			t.Logf("%d requests, %d of them to the old replica within %s after SIGTERM, %d wrong, %d connections failed",
				sent.Load(), late, time.Since(stopped).Round(time.Millisecond), wrong.Load(), ro.balancer.failures.Load())
			if failed := wrong.Load() + ro.balancer.failures.Load(); (failed == 0) != c.clean {
				t.Errorf("%d requests failed with a delay of %s", failed, c.delay)
			}
			if late == 0 {
				t.Error("nothing was sent to the old replica while it stopped: nothing was tried")
			}
		})
	}
}
