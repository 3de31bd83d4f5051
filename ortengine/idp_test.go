package ortengine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// idp is an upstream that rotates its refresh tokens at every use and ends the
// whole family where a used one comes again (RFC 9700 section 4.14.2), and that
// takes a code sent twice for an attack.
type idp struct {
	mu       sync.Mutex
	codes    map[string]*idpCode
	families map[string]*family // by every refresh token that they ever had
	made     int

	calls    int // answered or not
	reused   int // refresh tokens that came again
	repeated int // codes that came again
	open     int // calls under way for refresh tokens
	most     int // of them at once

	// disturb, where set, runs before a call is worked on; its error is that of the
	// network.
	disturb func(context.Context) error
	// distort, where set, changes an answer when everything is done.
	distort func(context.Context, *ortengine.Answer) error
}

type idpCode struct {
	challenge string
	login     *ortengine.Login
	refresh   bool
	taken     bool
}

type family struct {
	current string
	ended   bool
}

func newIDP() *idp { return &idp{codes: map[string]*idpCode{}, families: map[string]*family{}} }

// grants makes a code.
func (p *idp) grants(code, challenge string, l *ortengine.Login, refresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code] = &idpCode{challenge: challenge, login: l, refresh: refresh}
}

func (p *idp) with(disturb func(context.Context) error, distort func(context.Context, *ortengine.Answer) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disturb, p.distort = disturb, distort
}

func (p *idp) counts() (calls, reused, repeated, most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls, p.reused, p.repeated, p.most
}

// call is what all calls have in common.
func (p *idp) call(ctx context.Context, work func() ortengine.Answer) (ortengine.Answer, error) {
	p.mu.Lock()
	p.calls++
	disturb, distort := p.disturb, p.distort
	p.mu.Unlock()
	if disturb != nil {
		if err := disturb(ctx); err != nil {
			return ortengine.Answer{}, err
		}
	}
	p.mu.Lock()
	a := work()
	p.mu.Unlock()
	if distort != nil {
		if err := distort(ctx, &a); err != nil {
			return ortengine.Answer{}, err
		}
	}
	return a, nil
}

func refusal(code string) ortengine.Answer { return ortengine.Answer{Status: 400, Error: code} }

func (p *idp) redeem(code string) ortengine.Send {
	return func(ctx context.Context, verifier string) (ortengine.Answer, error) {
		return p.call(ctx, func() ortengine.Answer {
			c := p.codes[code]
			switch {
			case c == nil || c.challenge != s256(verifier):
				return refusal("invalid_grant")
			case c.taken:
				p.repeated++
				return refusal("invalid_grant")
			}
			c.taken = true
			a := ortengine.Answer{Status: 200, Login: c.login}
			if c.refresh {
				a.Credential = p.next(&family{})
			}
			return a
		})
	}
}

// next gives a family its next refresh token.
func (p *idp) next(f *family) string {
	p.made++
	f.current = fmt.Sprintf("upstream-credential-%d", p.made)
	p.families[f.current] = f
	return f.current
}

func (p *idp) refresh(ctx context.Context, credential string) (ortengine.Answer, error) {
	p.mu.Lock()
	p.open++
	p.most = max(p.most, p.open)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.open--
		p.mu.Unlock()
	}()
	return p.call(ctx, func() ortengine.Answer {
		f := p.families[credential]
		switch {
		case f == nil || f.ended:
			return refusal("invalid_grant")
		case f.current != credential:
			p.reused++
			f.ended = true
			return refusal("invalid_grant")
		}
		return ortengine.Answer{Status: 200, Credential: p.next(f)}
	})
}

// takes is an upstream that takes its time.
func takes(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answers replaces every answer.
func answers(a ortengine.Answer) func(context.Context, *ortengine.Answer) error {
	return func(_ context.Context, got *ortengine.Answer) error {
		*got = a
		return nil
	}
}

var errDown = errors.New("input/output error")

// faultyStore is a store whose disk may fail.
type faultyStore struct {
	sessions.Store
	full  atomic.Bool // writes fail
	blind atomic.Bool // reads fail
	panic atomic.Bool // writes panic
	tried atomic.Int64
	// damaged is the key of a note that cannot be read.
	damaged atomic.Value
	// before, where set, runs before each Update.
	before atomic.Pointer[func()]
}

func (s *faultyStore) write() error {
	if s.panic.Load() {
		panic("planted-secret-panic")
	}
	if s.full.Load() {
		s.tried.Add(1)
		return errDown
	}
	return nil
}

func (s *faultyStore) read() error {
	if s.blind.Load() {
		return errDown
	}
	return nil
}

func (s *faultyStore) Note(ctx context.Context, kind sessions.NoteKind, key string) (sessions.Note, error) {
	if key != "" && s.damaged.Load() == any(key) {
		return sessions.Note{}, errDown
	}
	return s.Store.Note(ctx, kind, key)
}

func (s *faultyStore) Create(ctx context.Context, ses sessions.Session, g sessions.Grant, until time.Time) error {
	if err := s.write(); err != nil {
		return err
	}
	return s.Store.Create(ctx, ses, g, until)
}

func (s *faultyStore) Update(ctx context.Context, id sessions.ID, under sessions.Lease, f func(*sessions.Draft) error) error {
	if before := s.before.Load(); before != nil {
		(*before)()
	}
	if err := s.write(); err != nil {
		return err
	}
	return s.Store.Update(ctx, id, under, f)
}

func (s *faultyStore) Ready(ctx context.Context) error {
	if err := s.write(); err != nil {
		return err
	}
	return s.Store.Ready(ctx)
}

func (s *faultyStore) Grant(ctx context.Context, id sessions.ID, grant sessions.GrantID) (sessions.Session, sessions.Grant, error) {
	if err := s.read(); err != nil {
		return sessions.Session{}, sessions.Grant{}, err
	}
	return s.Store.Grant(ctx, id, grant)
}

func (s *faultyStore) Find(ctx context.Context, by sessions.Finder) ([]sessions.Session, error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	return s.Store.Find(ctx, by)
}

func (s *faultyStore) Transaction(ctx context.Context, key sessions.TransactionKey) (sessions.Transaction, error) {
	if err := s.read(); err != nil {
		return sessions.Transaction{}, err
	}
	return s.Store.Transaction(ctx, key)
}

func (s *faultyStore) AddTransaction(ctx context.Context, t sessions.Transaction) (sessions.Transaction, bool, error) {
	if err := s.read(); err != nil {
		return sessions.Transaction{}, false, err
	}
	return s.Store.AddTransaction(ctx, t)
}

func (s *faultyStore) Code(ctx context.Context, hash sessions.CodeHash) (sessions.Code, error) {
	if err := s.read(); err != nil {
		return sessions.Code{}, err
	}
	return s.Store.Code(ctx, hash)
}

func (s *faultyStore) Sweep(ctx context.Context, now time.Time, limit int) (sessions.Swept, error) {
	if err := s.write(); err != nil {
		return sessions.Swept{}, err
	}
	return s.Store.Sweep(ctx, now, limit)
}
