package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// MetadataConfig is what a Metadata needs.
type MetadataConfig struct {
	Issuers  []string
	Upstream *url.URL // where the upstream listens
	Client   http.RoundTripper
	Refresh  time.Duration // how often it is fetched again; 0: half an hour
	Now      func() time.Time
	Logger   *slog.Logger
	// Changed is called after each fetch that brought something new, and once at the
	// first, before State shows it; never twice at once.
	Changed func(*State)
	// Reached is called when the upstream can do what it could not before: once State
	// shows what is new, and when the upstream answers again.
	Reached func()
	// Up is told after each fetch whether the upstream answered.
	Up func(bool)
}

// State is what is known of all issuers at one moment. A nil State: nothing.
type State struct {
	Providers []*Provider // in the order of the issuers, nil where nothing is known
}

// Complete says whether every issuer is known.
func (s *State) Complete() bool {
	if s == nil {
		return false
	}
	for _, p := range s.Providers {
		if p == nil {
			return false
		}
	}
	return true
}

// Metadata keeps what the issuers publish. It is safe for concurrent use.
type Metadata struct {
	cfg     MetadataConfig
	issuers []*url.URL
	state   atomic.Pointer[State]
	up      atomic.Bool
	fetch   sync.Mutex // one fetch at a time
	tried   time.Time  // the last fetch, under fetch
	told    bool       // the log has a fault of the start, under fetch
}

// NewMetadata checks the configuration; nothing is fetched yet.
func NewMetadata(c MetadataConfig) (*Metadata, error) {
	if c.Upstream == nil || c.Client == nil || len(c.Issuers) == 0 {
		return nil, errors.New("upstream: Issuers, Upstream and Client must be set")
	}
	if c.Refresh == 0 {
		c.Refresh = 30 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Metadata{cfg: c}
	for _, i := range c.Issuers {
		u, err := url.Parse(i)
		if err != nil {
			return nil, fmt.Errorf("upstream: issuer %q: %w", i, err)
		}
		m.issuers = append(m.issuers, u)
	}
	return m, nil
}

// State is what is known now, nil before the first fetch that succeeded.
func (m *Metadata) State() *State { return m.state.Load() }

// Up says whether the last fetch was answered.
func (m *Metadata) Up() bool { return m.up.Load() }

// The pauses between fetches while not every issuer is known.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Run fetches until the context ends: soon again while something is missing,
// then at each refresh.
func (m *Metadata) Run(ctx context.Context) {
	for pause := firstPause; ; {
		m.Fetch(ctx)
		wait := m.cfg.Refresh
		if !m.State().Complete() || !m.Up() {
			wait = pause
			pause = min(2*pause, lastPause)
		} else {
			pause = firstPause
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// Fetch fetches all documents now. What cannot be fetched stays as it was.
func (m *Metadata) Fetch(ctx context.Context) {
	m.fetch.Lock()
	defer m.fetch.Unlock()
	m.tried = m.cfg.Now()
	old := m.State()
	next := &State{Providers: make([]*Provider, len(m.issuers))}
	up, changed := true, false
	for i, issuer := range m.issuers {
		var known *Provider
		if old != nil {
			known = old.Providers[i]
		}
		p, err := m.provider(ctx, m.cfg.Issuers[i], issuer, known)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			up = false
			level := slog.LevelDebug // said once, not at each try
			if old == nil && !m.told || m.Up() {
				level, m.told = slog.LevelWarn, true
			}
			m.cfg.Logger.LogAttrs(ctx, level, "fetching the discovery documents of an issuer",
				slog.String("issuer", m.cfg.Issuers[i]), slog.Any("error", err))
		}
		if p == nil {
			p = known
		}
		next.Providers[i] = p
		changed = changed || p != nil && !same(p, known)
	}
	// Whoever is ready by it must have learned of it: told first, then shown.
	if changed {
		if m.cfg.Changed != nil {
			m.cfg.Changed(next)
		}
		m.state.Store(next)
	}
	was := m.up.Swap(up)
	if m.cfg.Up != nil {
		m.cfg.Up(up)
	}
	if (changed || up && !was) && m.cfg.Reached != nil {
		m.cfg.Reached()
	}
}

// Retry fetches again if the last fetch is a while ago: for requests that come
// while nothing is known.
func (m *Metadata) Retry(ctx context.Context) {
	if !m.fetch.TryLock() {
		return // one is under way
	}
	soon := m.cfg.Now().Sub(m.tried) < time.Second
	m.fetch.Unlock()
	if !soon {
		m.Fetch(ctx)
	}
}

func same(a, b *Provider) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil || len(a.Documents) != len(b.Documents) {
		return false
	}
	for path, d := range a.Documents {
		if !bytes.Equal(d.Body, b.Documents[path].Body) {
			return false
		}
	}
	return true
}

// provider fetches one issuer's documents and puts them together. One that is not
// answered for now stays as it was: an endpoint that only it names would not be
// recognised meanwhile.
func (m *Metadata) provider(ctx context.Context, name string, issuer *url.URL, old *Provider) (*Provider, error) {
	p := &Provider{Documents: map[string]Document{}}
	fresh := false
	var faults []error
	for _, path := range DiscoveryPaths(issuer) {
		d, next, err := m.read(ctx, name, issuer, path)
		if err != nil {
			faults = append(faults, err)
			kept, ok := old.document(path)
			if !ok || isGone(err) {
				continue
			}
			if next, err = parseProvider(kept.Body); err != nil {
				continue
			}
			d = kept
		} else {
			fresh = true
		}
		p.Documents[path] = d
		p.merge(next)
	}
	switch {
	case !fresh:
		return nil, errors.Join(faults...)
	case p.Authorization == "" || p.Token == "":
		return nil, fmt.Errorf("the documents of %q name no authorization_endpoint or no token_endpoint", name)
	}
	return p, nil
}

// read fetches one document; one of another issuer is not used.
func (m *Metadata) read(ctx context.Context, name string, issuer *url.URL, path string) (Document, *Provider, error) {
	d, err := m.document(ctx, issuer, path)
	if err != nil {
		return d, nil, err
	}
	p, err := parseProvider(d.Body)
	switch {
	case err != nil:
		return d, nil, fmt.Errorf("%s: %w", path, err)
	case p.Issuer != name:
		return d, nil, fmt.Errorf("%s: its issuer is %q, not %q: set the identity provider's public URL, or ORT_ISSUER, so that both agree", path, p.Issuer, name)
	}
	return d, p, nil
}

func (m *Metadata) document(ctx context.Context, issuer *url.URL, path string) (Document, error) {
	return get(ctx, m.cfg.Client, m.cfg.Upstream, issuer, path)
}
