package sessions

import (
	"errors"
	"fmt"
)

// How records are written, the same for every backend: one letter for the
// kind, one byte for the version, then the fields in a fixed order. Numbers are
// varints; texts and lists have their length in front; a time is milliseconds
// since 1970, shifted by one so that 0 stands for no time.
//
// A new field goes to the end and raises the version of its record; a decoder
// knows which fields older versions had. Golden files of every version that was
// ever written stay in testdata. What a newer gateway wrote is refused with
// [ErrVersion]: a field that is not understood may be one that ends a session.
const (
	kindSession     = 'S'
	kindGrant       = 'G'
	kindTransaction = 'T'
	kindCode        = 'C'

	sessionVersion     = 2 // 2: login cookies, owed credentials
	grantVersion       = 1
	transactionVersion = 1
	codeVersion        = 2 // 2: login cookies
)

// Errors of the decoders. Both mean unknown, never gone.
var (
	// ErrVersion: a newer version of the gateway wrote the record.
	ErrVersion = errors.New("written by a newer version of the gateway")
	// ErrDamaged: the bytes are no record.
	ErrDamaged = errors.New("damaged record")
)

// EncodeSession is the stored form of a session.
func EncodeSession(s *Session) []byte {
	w := newWriter(kindSession, sessionVersion, 256)
	w.text(string(s.ID))
	w.text(s.Place)
	w.count(len(s.Browsers))
	for _, b := range s.Browsers {
		w.text(string(b))
	}
	w.count(len(s.Upstream))
	for _, u := range s.Upstream {
		w.text(u.Issuer)
		w.text(u.SID)
	}
	w.count(len(s.Subjects))
	for _, u := range s.Subjects {
		w.text(u.Issuer)
		w.text(u.Client)
		w.text(u.Sub)
	}
	w.time(s.Created)
	w.time(s.AuthTime)
	w.time(s.Start)
	w.time(s.LastUsed)
	w.time(s.Idle)
	w.time(s.Absolute)
	w.bool(s.End != nil)
	if s.End != nil {
		w.time(s.End.At)
		w.text(string(s.End.Reason))
		w.bool(s.End.SingleSignOn)
	}
	w.cookies(s.Cookies)
	w.count(len(s.Owed))
	for _, o := range s.Owed {
		w.text(string(o.Grant))
		w.text(o.Client)
		w.text(o.Issuer)
		w.bytes(o.Credential)
	}
	return w.b
}

// DecodeSession reads what [EncodeSession] wrote.
func DecodeSession(b []byte) (Session, error) {
	r := newReader(b, kindSession, sessionVersion)
	s := Session{ID: ID(r.text()), Place: r.text()}
	if n := r.count(1); n > 0 {
		s.Browsers = make([]BrowserID, n)
		for i := range s.Browsers {
			s.Browsers[i] = BrowserID(r.text())
		}
	}
	if n := r.count(2); n > 0 {
		s.Upstream = make([]UpstreamSession, n)
		for i := range s.Upstream {
			s.Upstream[i] = UpstreamSession{Issuer: r.text(), SID: r.text()}
		}
	}
	if n := r.count(3); n > 0 {
		s.Subjects = make([]Subject, n)
		for i := range s.Subjects {
			s.Subjects[i] = Subject{Issuer: r.text(), Client: r.text(), Sub: r.text()}
		}
	}
	s.Created, s.AuthTime, s.Start = r.time(), r.time(), r.time()
	s.LastUsed, s.Idle, s.Absolute = r.time(), r.time(), r.time()
	if r.bool() {
		s.End = &End{At: r.time(), Reason: EndReason(r.text()), SingleSignOn: r.bool()}
	}
	if r.version >= 2 {
		s.Cookies = r.cookies()
		if n := r.count(4); n > 0 {
			s.Owed = make([]Owed, n)
			for i := range s.Owed {
				s.Owed[i] = Owed{Grant: GrantID(r.text()), Client: r.text(), Issuer: r.text(), Credential: r.bytes()}
			}
		}
	}
	if err := r.end(); err != nil {
		return Session{}, fmt.Errorf("reading a session: %w", err)
	}
	return s, nil
}

// EncodeGrant is the stored form of a grant.
func EncodeGrant(g *Grant) []byte {
	w := newWriter(kindGrant, grantVersion, 320+len(g.Credential))
	w.text(string(g.ID))
	w.text(string(g.Session))
	w.text(g.Client)
	w.text(g.Issuer)
	w.text(g.Thumbprint)
	w.bytes(g.Credential)
	w.text(g.Scope)
	w.list(g.Audiences)
	w.list(g.GatewayScopes)
	w.fixed(g.CodeHash)
	w.time(g.Created)
	w.time(g.LastUsed)
	w.number(g.Uses)
	return w.b
}

// DecodeGrant reads what [EncodeGrant] wrote.
func DecodeGrant(b []byte) (Grant, error) {
	r := newReader(b, kindGrant, grantVersion)
	g := Grant{
		ID: GrantID(r.text()), Session: ID(r.text()), Client: r.text(), Issuer: r.text(), Thumbprint: r.text(),
		Credential: r.bytes(), Scope: r.text(), Audiences: r.list(), GatewayScopes: r.list(),
		CodeHash: r.fixed(), Created: r.time(), LastUsed: r.time(), Uses: r.number(),
	}
	if err := r.end(); err != nil {
		return Grant{}, fmt.Errorf("reading a grant: %w", err)
	}
	return g, nil
}

// EncodeTransaction is the stored form of a transaction.
func EncodeTransaction(t *Transaction) []byte {
	w := newWriter(kindTransaction, transactionVersion, 320)
	w.fixed(t.Key)
	w.text(t.Place)
	w.text(t.Client)
	w.text(t.Scope)
	w.list(t.Audiences)
	w.text(t.Thumbprint)
	w.list(t.GatewayScopes)
	w.text(t.KeyID)
	w.bool(t.None)
	w.text(string(t.Browser))
	w.bool(t.Browsers)
	w.prefix(t.Address)
	w.time(t.Created)
	w.time(t.Until)
	return w.b
}

// DecodeTransaction reads what [EncodeTransaction] wrote.
func DecodeTransaction(b []byte) (Transaction, error) {
	r := newReader(b, kindTransaction, transactionVersion)
	t := Transaction{
		Key: r.fixed(), Place: r.text(), Client: r.text(), Scope: r.text(), Audiences: r.list(),
		Thumbprint: r.text(), GatewayScopes: r.list(), KeyID: r.text(), None: r.bool(),
		Browser: BrowserID(r.text()), Browsers: r.bool(), Address: r.prefix(), Created: r.time(), Until: r.time(),
	}
	if err := r.end(); err != nil {
		return Transaction{}, fmt.Errorf("reading a transaction: %w", err)
	}
	return t, nil
}

// EncodeCode is the stored form of a code.
func EncodeCode(c *Code) []byte {
	w := newWriter(kindCode, codeVersion, 80)
	w.fixed(c.Hash)
	w.text(string(c.Browser))
	w.time(c.LeftAt)
	w.bool(c.Exchanged)
	w.time(c.Until)
	w.cookies(c.Cookies)
	return w.b
}

// DecodeCode reads what [EncodeCode] wrote.
func DecodeCode(b []byte) (Code, error) {
	r := newReader(b, kindCode, codeVersion)
	c := Code{Hash: r.fixed(), Browser: BrowserID(r.text()), LeftAt: r.time(), Exchanged: r.bool(), Until: r.time()}
	if r.version >= 2 {
		c.Cookies = r.cookies()
	}
	if err := r.end(); err != nil {
		return Code{}, fmt.Errorf("reading a code: %w", err)
	}
	return c, nil
}
