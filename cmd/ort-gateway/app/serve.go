package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/metrics"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/proxy"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// serve puts the gateway together and runs it until ctx ends (the first signal); hurry is the
// second.
func serve(ctx context.Context, s *Settings, log *slog.Logger, hurry <-chan struct{}) error {
	memory := newMemory(log)
	if memory != nil {
		memory.adjust()
	}
	g, err := assemble(ctx, s, log)
	if err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	g.start(background, &running)
	if memory != nil {
		running.Go(func() {
			tick, stop := every(memoryEvery)
			defer stop()
			memory.follow(background, tick)
		})
	}
	if tunesCollector() {
		debug.SetGCPercent(collectorMost)
		running.Go(func() {
			tick, stop := every(collectorEvery)
			defer stop()
			followHeap(background, tick, debug.SetGCPercent)
		})
	}
	srv := newServer(s, log, g.ready, hooks{
		drain: g.gateway.Close,
		flush: g.engine.Close,
		close: func() error {
			stop()
			running.Wait()
			return g.store.Close()
		},
	}, hurry)
	return srv.run(ctx, g.gateway, g.metrics.Counted("admin", proxy.Admin(proxy.AdminConfig{
		Live: g.ready.livez, Ready: g.ready.readyz, Metrics: metrics.Handler(g.registry),
		Sessions: proxy.AdminSessions{
			Engine: g.engine, Token: func() string { return *g.adminToken.Load() }, Backup: backupOf(g.store), Busy: busy,
		},
	})))
}

// parts is the gateway put together.
type parts struct {
	settings *Settings
	log      *slog.Logger
	ready    *readiness
	registry *prometheus.Registry
	metrics  *metrics.Metrics
	keys     *seal.Keyring
	store    sessions.Store
	engine   *ortengine.Engine
	metadata *upstream.Metadata
	returner *upstream.Returner
	gateway  *proxy.Gateway

	adminToken atomic.Pointer[string] // in force; empty: the session API is off
}

// assemble makes every part, from those that need no other up.
func assemble(ctx context.Context, s *Settings, log *slog.Logger) (_ *parts, err error) {
	p := &parts{settings: s, log: log, ready: newReadiness(log), registry: prometheus.NewRegistry()}
	token := s.AdminToken.Reveal()
	p.adminToken.Store(&token)
	if p.keys, err = sealingKeys(s); err != nil {
		return nil, err
	}
	p.store, err = openStore(ctx, s, log, func(op string, err error, d time.Duration) { p.metrics.StoreOperation(op, err, d) })
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.store.Close()
		}
	}()
	replay := newReplay(p.store, s, p.ownNonces())
	p.metrics = p.newMetrics(replay)
	p.metrics.SealingKeys(p.keys.IDs())
	p.engine, err = ortengine.New(ortengine.Config{
		Store: p.store, Keys: p.keys, Idle: s.SessionIdleTimeout, Absolute: s.SessionAbsoluteTimeout,
		Login: s.LoginTimeout, Upstream: s.UpstreamTimeout,
		Policy: ortengine.Policy{
			Clients: s.Clients, Audiences: s.Audiences, Confidential: s.ConfidentialClients, OnlineOnly: s.OnlineOnlyClients,
		},
		Logger: log, Metrics: p.metrics,
	})
	if err != nil {
		return nil, err
	}
	return p, p.assembleProxy(replay)
}

// refreshEvery is how often the discovery documents are fetched again, which also
// shows whether the upstream is up.
const refreshEvery = 30 * time.Second

// upstreamConnect is how long a connection to the upstream may take.
const upstreamConnect = 5 * time.Second

func (p *parts) assembleProxy(replay replayMemory) error {
	s := p.settings
	transport := proxy.Quiet(proxy.NewTransport(s.UpstreamCAs, upstreamConnect))
	verifier, err := p.verifier(replay)
	if err != nil {
		return err
	}
	p.metadata, err = upstream.NewMetadata(upstream.MetadataConfig{
		Issuers: s.Issuers, Upstream: s.UpstreamURL, Client: p.timed("discovery", transport), Refresh: refreshEvery, Logger: p.log,
		Changed: func(state *upstream.State) { p.gateway.Learn(state) },
		Reached: p.engine.GiveBackSoon, // what is owed waited for the endpoints, or for the end of an outage
		Up:      p.metrics.UpstreamUp,
	})
	if err != nil {
		return err
	}
	var scope []string
	if s.UpstreamScope != nil {
		scope = append([]string{}, strings.Fields(*s.UpstreamScope)...)
	}
	keys := &upstream.Keys{Upstream: s.UpstreamURL, Client: p.timed("jwks", transport), Now: time.Now, Logger: p.log}
	p.returner = &upstream.Returner{
		Metadata: p.metadata, Mode: s.UpstreamEnd, Confidential: s.ConfidentialClients, Public: s.PublicOrigin,
		Upstream: s.UpstreamURL, Client: p.metrics.Timed(transport, p.returnedAt), Logger: p.log,
	}
	p.gateway, err = proxy.New(proxy.Config{
		Public: s.PublicOrigin, Issuers: s.Issuers, Upstream: s.UpstreamURL, Transport: transport, TrustedProxies: s.TrustedProxies,
		Engine: p.engine, Metadata: p.metadata, Keys: keys, Cookies: p.keys.Box("cookie"), Verifier: verifier,
		LoginCookies: s.UpstreamLoginCookies,
		DPoPUpstream: s.DPoPAuthority == "upstream", DPoPAlgs: s.DPoPAlgs,
		Absolute: s.SessionAbsoluteTimeout, UpstreamTimeout: s.UpstreamTimeout,
		UpstreamScope: scope, UpstreamConsent: s.UpstreamConsent, CORSOrigins: s.CORSOrigins, MaxStreams: halfOfFiles(),
		Auth0:  proxy.Auth0{Paths: s.Auth0Paths, AudienceAsResource: s.Auth0Audience == "resource"},
		Logger: p.log, Metrics: p.metrics,
	})
	return err
}

// ownNonces says whether the gateway asks proofs for a nonce of its own.
func (p *parts) ownNonces() bool {
	return p.settings.DPoPNonceRequired && p.settings.DPoPAuthority == "gateway"
}

func (p *parts) verifier(replay dpop.ReplayCache) (*dpop.Verifier, error) {
	s := p.settings
	c := dpop.Config{
		Algs: s.DPoPAlgs, Replay: replay, ProofLifetime: s.DPoPProofLifetime, Observe: p.metrics.ClockOffset,
	}
	var epoch []byte // none where the replay memory, and with it every nonce, is that of all replicas
	if !s.StoreURL.IsSet() {
		// The replay memory dies with the process, and so does every nonce: no proof of
		// the time before is taken.
		c.NotBefore = time.Now()
		epoch = make([]byte, 16)
		rand.Read(epoch)
	}
	if p.ownNonces() {
		c.Nonces = dpop.NewNonces(dpop.NoncesConfig{Keys: p.keys.Box("nonce").Subkeys, Lifetime: s.DPoPNonceLifetime, Epoch: epoch})
	}
	return dpop.New(c)
}

func (p *parts) newMetrics(replay replayMemory) *metrics.Metrics {
	reasons := make([]string, 0, len(dpop.Reasons()))
	for _, r := range dpop.Reasons() {
		reasons = append(reasons, string(r))
	}
	build := thisBuild()
	var free func() float64 // of the embedded store alone
	if path := p.settings.StorePath; path != "" {
		free = func() float64 { return diskFree(filepath.Dir(path)) }
	}
	return metrics.New(p.registry, metrics.Config{
		Version: build.version, Revision: build.revision, GoVersion: build.goVersion,
		Store: storeName(p.settings), DPoPAuthority: p.settings.DPoPAuthority, DPoPReasons: reasons,
		NotFound:            func(err error) bool { return errors.Is(err, sessions.ErrNotFound) },
		SessionsActive:      func() float64 { return float64(p.store.Stats().Active) },
		TransactionsWaiting: func() float64 { return float64(p.store.Stats().Transactions) },
		SessionsOwing:       func() float64 { return float64(p.store.Stats().Owing) },
		StoreSize:           func() float64 { return float64(p.store.Stats().Bytes) },
		StoreDiskFree:       free,
		ReplayEntries:       func() float64 { return float64(replay.Len()) },
		EventsStreams:       func() float64 { return float64(p.gateway.Streams()) },
	})
}

// sweepEvery is how often old records are looked for.
const sweepEvery = 10 * time.Second

// giveBackEvery is how often credentials that the upstream did not take back are
// tried again.
const giveBackEvery = 30 * time.Second

// start runs what goes on in the background until the context ends.
func (p *parts) start(ctx context.Context, running *sync.WaitGroup) {
	p.ready.add("store", p.store.Ready)
	if !p.ownNonces() && !p.settings.StoreURL.IsSet() {
		// iat is in whole seconds: those of this one cannot be told from proofs of the
		// time before the start, and are refused.
		begins := time.Now().Truncate(time.Second).Add(time.Second)
		p.ready.add("proofs", func(context.Context) error {
			if time.Now().Before(begins) {
				return errors.New("no proof can be taken in the second of the start")
			}
			return nil
		})
	}
	p.ready.add("upstream", func(context.Context) error {
		switch {
		case !p.metadata.State().Complete():
			return errors.New("no discovery document of every issuer was fetched yet")
		case !p.metadata.Up():
			return errors.New("the last fetch of the discovery documents failed")
		}
		return nil
	})
	running.Go(func() { p.metadata.Run(ctx) })
	running.Go(func() {
		sweep, stop := every(sweepEvery)
		defer stop()
		p.engine.Sweep(ctx, sweep)
	})
	running.Go(func() {
		again, stop := every(giveBackEvery)
		defer stop()
		p.engine.GiveBackOwed(ctx, again, p.returner.Return)
	})
	running.Go(func() { p.countPushedOut(ctx) })
	running.Go(func() { watchAdminToken(ctx, p.settings, p.log, func(token string) { p.adminToken.Store(&token) }) })
	running.Go(func() {
		watchSealingKeys(ctx, p.settings, p.log, func(text string) error {
			keys, err := seal.ParseKeys(text)
			if err != nil {
				return err
			}
			p.keys.Replace(keys)
			p.metrics.SealingKeys(p.keys.IDs())
			return nil
		})
	})
}

func every(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// countPushedOut carries the store's count of transactions that were pushed out
// over to the metric.
func (p *parts) countPushedOut(ctx context.Context) {
	tick, stop := every(time.Second)
	defer stop()
	for told := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if n := p.store.Stats().PushedOut; n > told {
			p.metrics.TransactionPushedOut(n - told)
			p.log.Warn("transactions were pushed out: more than ORT_MAX_TRANSACTIONS wait", "pushed_out", n-told)
			told = n
		}
	}
}

// keyFileSuffix is where the embedded store's own sealing key is kept, beside it.
const keyFileSuffix = ".key"

func sealingKeys(s *Settings) (*seal.Keyring, error) {
	if s.SealingKeys.IsSet() {
		return seal.ParseKeys(s.SealingKeys.Reveal())
	}
	keys, err := seal.LoadOrCreate(s.StorePath + keyFileSuffix)
	if err != nil {
		return nil, fmt.Errorf("ORT_STORE_URL: the sealing key beside the store: %w", err)
	}
	return keys, nil
}

// halfOfFiles is half of the file descriptors that the process may open: event
// streams leave the rest to everything else.
func halfOfFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 512
	}
	return int(min(limit.Cur, 1<<20) / 2)
}
