package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Provider is what one issuer publishes of itself (OIDC Discovery section 3, RFC
// 8414 section 2). URLs are as published.
type Provider struct {
	Issuer               string   `json:"issuer"`
	Authorization        string   `json:"authorization_endpoint"`
	Token                string   `json:"token_endpoint"`
	Revocation           string   `json:"revocation_endpoint"`
	Introspection        string   `json:"introspection_endpoint"`
	PushedAuthorization  string   `json:"pushed_authorization_request_endpoint"`
	DeviceAuthorization  string   `json:"device_authorization_endpoint"`
	EndSession           string   `json:"end_session_endpoint"`
	Userinfo             string   `json:"userinfo_endpoint"`
	JWKS                 string   `json:"jwks_uri"`
	ChallengeMethods     []string `json:"code_challenge_methods_supported"`
	SubjectTypes         []string `json:"subject_types_supported"`
	IssParameter         bool     `json:"authorization_response_iss_parameter_supported"`
	TokenEndpointMethods []string `json:"token_endpoint_auth_methods_supported"`

	// Documents are the published bytes by their path, for the discovery endpoint.
	Documents map[string]Document `json:"-"`
}

// Document is a discovery document as the upstream served it.
type Document struct {
	Body   []byte
	Header http.Header
}

// S256 says whether the issuer takes S256 code challenges (RFC 7636); one that
// does not say is believed to.
func (p *Provider) S256() bool {
	if len(p.ChallengeMethods) == 0 {
		return true
	}
	for _, m := range p.ChallengeMethods {
		if m == "S256" {
			return true
		}
	}
	return false
}

// PublicSubjects says whether every client knows a user by the same subject (OIDC
// Core section 8).
func (p *Provider) PublicSubjects() bool {
	return len(p.SubjectTypes) == 1 && p.SubjectTypes[0] == "public"
}

// DiscoveryPaths are the paths of an issuer's documents: OIDC Discovery's first,
// then RFC 8414's, which puts the well-known part before the issuer's path, then
// the form after it that some providers have.
func DiscoveryPaths(issuer *url.URL) []string {
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	paths := []string{
		path + "/.well-known/openid-configuration",
		"/.well-known/oauth-authorization-server" + path,
	}
	if path != "" {
		paths = append(paths, path+"/.well-known/oauth-authorization-server")
	}
	return paths
}

// MetadataConfig is what a Metadata needs.
type MetadataConfig struct {
	Issuers  []string
	Upstream *url.URL // where the upstream listens
	Client   http.RoundTripper
	Refresh  time.Duration // how often it is fetched again; 0: half an hour
	Now      func() time.Time
	Logger   *slog.Logger
	// Changed is called after each fetch that brought something new, and once at the
	// first; never twice at once.
	Changed func(*State)
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
	m.up.Store(up)
	if m.cfg.Up != nil {
		m.cfg.Up(up)
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

// document is one that was fetched before.
func (p *Provider) document(path string) (Document, bool) {
	if p == nil {
		return Document{}, false
	}
	d, ok := p.Documents[path]
	return d, ok
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

// parseProvider reads a document. A member of another type than it should have is
// as if it were missing.
func parseProvider(body []byte) (*Provider, error) {
	p := new(Provider)
	var mistyped *json.UnmarshalTypeError
	if err := json.Unmarshal(body, p); err != nil && (!errors.As(err, &mistyped) || mistyped.Field == "") {
		return nil, err
	}
	return p, nil
}

// statusError is the status of a document that is not there.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// isGone says whether a document is taken back, and not out of reach.
func isGone(err error) bool {
	var status statusError
	return errors.As(err, &status) && (status == http.StatusNotFound || status == http.StatusGone)
}

// merge takes from another document what is missing.
func (p *Provider) merge(o *Provider) {
	for _, f := range []struct{ to, from *string }{
		{&p.Issuer, &o.Issuer}, {&p.Authorization, &o.Authorization}, {&p.Token, &o.Token}, {&p.Revocation, &o.Revocation},
		{&p.Introspection, &o.Introspection}, {&p.PushedAuthorization, &o.PushedAuthorization},
		{&p.DeviceAuthorization, &o.DeviceAuthorization}, {&p.EndSession, &o.EndSession}, {&p.Userinfo, &o.Userinfo}, {&p.JWKS, &o.JWKS},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	for _, f := range []struct{ to, from *[]string }{
		{&p.ChallengeMethods, &o.ChallengeMethods}, {&p.SubjectTypes, &o.SubjectTypes}, {&p.TokenEndpointMethods, &o.TokenEndpointMethods},
	} {
		if len(*f.to) == 0 {
			*f.to = *f.from
		}
	}
	p.IssParameter = p.IssParameter || o.IssParameter
}

// maxDocument bounds a discovery document, in bytes.
const maxDocument = 1 << 20

// fetchTimeout bounds the fetch of one document.
const fetchTimeout = 10 * time.Second

func (m *Metadata) document(ctx context.Context, issuer *url.URL, path string) (Document, error) {
	return get(ctx, m.cfg.Client, m.cfg.Upstream, issuer, path)
}

// get fetches a JSON document of the upstream, under its public name.
func get(ctx context.Context, client http.RoundTripper, at, public *url.URL, path string) (Document, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Scheme+"://"+at.Host+path, nil)
	if err != nil {
		return Document{}, err
	}
	PublicName(r, public)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := client.RoundTrip(r)
	if err != nil {
		return Document{}, fmt.Errorf("%s: %w", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return Document{}, fmt.Errorf("%s: %w", path, err)
	case resp.StatusCode != http.StatusOK:
		return Document{}, fmt.Errorf("%s: %w", path, statusError(resp.StatusCode))
	case len(body) > maxDocument:
		return Document{}, fmt.Errorf("%s: longer than %d bytes", path, maxDocument)
	}
	return Document{Body: body, Header: resp.Header}, nil
}

// PublicName makes a request of the gateway's own one that was made to the
// public origin: upstreams build their links from these headers.
func PublicName(r *http.Request, public *url.URL) {
	r.Host = public.Host
	port := public.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[public.Scheme]
	}
	r.Header.Set("X-Forwarded-Proto", public.Scheme)
	r.Header.Set("X-Forwarded-Host", public.Host)
	r.Header.Set("X-Forwarded-Port", port)
	r.Header.Set("User-Agent", "ort-gateway")
}
