package ortengine

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/metrics"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// Config is what an Engine needs. Durations are positive.
type Config struct {
	Store sessions.Store
	Keys  *seal.Keyring

	Idle     time.Duration // how long a session lives without an exchange
	Absolute time.Duration // how long a session lives
	Login    time.Duration // how long a transaction waits for its code
	Upstream time.Duration // how long a client waits for an answer of the upstream

	Policy  Policy
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: nothing is logged
	Metrics *metrics.Metrics // nil: nothing is counted
}

// Engine applies the rules. It is safe for concurrent use.
type Engine struct {
	Config
	orts, credentials, verifiers, subjects *seal.Box

	mu      sync.Mutex     // guards closed, and work against a Close that waits already
	closed  bool           // no more calls begin
	work    sync.WaitGroup // calls that are seen through
	stop    chan struct{}  // closed when no more work may wait
	stopped sync.Once
	// ailing says that the store refused a write: before the next call that may
	// rotate a credential, it is asked whether it can write.
	ailing atomic.Bool
	owing  chan struct{} // a session owes credentials
	met    sync.Map      // clients of which the store knows that they held a grant

	renewals renewals // of login cookies
}

// New checks the configuration.
func New(c Config) (*Engine, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("ortengine: Store is missing")
	case c.Keys == nil:
		return nil, errors.New("ortengine: Keys is missing")
	case c.Idle <= 0, c.Absolute <= 0, c.Login <= 0, c.Upstream <= 0:
		return nil, errors.New("ortengine: Idle, Absolute, Login and Upstream must be positive")
	case c.Idle > c.Absolute:
		return nil, errors.New("ortengine: Idle is longer than Absolute")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = BoundLog(c.Logger, c.Now)
	return &Engine{
		Config:      c,
		orts:        c.Keys.Box("ort"),
		credentials: c.Keys.Box("credential"),
		verifiers:   c.Keys.Box("verifier"),
		subjects:    c.Keys.Box("subject"),
		stop:        make(chan struct{}),
		owing:       make(chan struct{}, 1),
	}, nil
}

// Close lets no more calls begin and waits until every one that was sent upstream
// is seen through and what came of it is kept, or the context ends. The store
// stays open. Twice is fine.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	done := make(chan struct{})
	go func() {
		e.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	e.stopped.Do(func() { close(e.stop) })
	return ctx.Err()
}

// now is the time as records keep it: UTC, to the millisecond.
func (e *Engine) now() time.Time { return e.Now().UTC().Truncate(time.Millisecond) }

// subjectHash stands for a user in the log: keyed, so that who reads the log
// cannot try names.
func (e *Engine) subjectHash(s *sessions.Session) string {
	if len(s.Subjects) == 0 {
		return ""
	}
	return e.hashOf(s.Subjects[0].Issuer, s.Subjects[0].Sub)
}

// hashOf is subjectHash of a user as an issuer names it.
func (e *Engine) hashOf(issuer, sub string) string {
	mac, ok := e.subjects.MAC(e.subjects.KeyID(), []byte(issuer+"\x00"+sub))
	if !ok {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(mac[:12])
}

// equal compares without telling by its time where two strings differ.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
