package dpop

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	defaultProofLifetime = 60 * time.Second
	defaultFuture        = 5 * time.Second
)

// Config is what a Verifier needs. Replay is required, all else works at zero.
type Config struct {
	// Algs are the JWS algorithms to allow. Nil: ES256, ES384, ES512, EdDSA,
	// Ed25519, PS256, RS256, which are all there are.
	Algs []string
	// Nonces makes proofs carry a nonce of ours. Nil: none is asked for, a
	// nonce claim is ignored, and iat is held against the clock.
	Nonces *Nonces
	// Replay remembers the proofs that were taken.
	Replay ReplayCache
	// ProofLifetime is how far iat may lie in the past where no nonce of ours
	// tells the time. 0: 60 s.
	ProofLifetime time.Duration
	// Future is how far iat may then lie in the future. 0: 5 s.
	Future time.Duration
	// NotBefore refuses, where no nonce tells the time, proofs with an earlier
	// iat. Set it to the start of the process where Replay does not survive a
	// restart. A proof from the future is then taken only once its time has come:
	// the request of a client whose clock is ahead waits, at most Future, so that no
	// proof that was taken before a start has an iat after it.
	NotBefore time.Time
	// Now is the clock. Nil: that of Nonces, else time.Now.
	Now func() time.Time
	// Observe, where set, gets iat minus now of every proof with a good
	// signature. It must not block.
	Observe func(offset time.Duration)
}

// Verifier checks proofs. It is safe for concurrent use.
type Verifier struct {
	c        Config
	allowed  []*algorithm
	algs     string // space-separated, as in a challenge
	algsList string
}

// New returns a Verifier, or an error that names the field that is wrong.
func New(c Config) (*Verifier, error) {
	v := &Verifier{c: c}
	if c.Algs == nil {
		for i := range algorithms {
			c.Algs = append(c.Algs, algorithms[i].name)
		}
	}
	for _, name := range c.Algs {
		a := findAlgorithm(name)
		if a == nil {
			return nil, fmt.Errorf("dpop: Algs: %q is not supported", name)
		}
		v.allowed = append(v.allowed, a)
	}
	switch {
	case len(v.allowed) == 0:
		return nil, errors.New("dpop: Algs: no algorithm")
	case c.Replay == nil:
		return nil, errors.New("dpop: Replay is required")
	case c.ProofLifetime < 0:
		return nil, errors.New("dpop: ProofLifetime is negative")
	case c.Future < 0:
		return nil, errors.New("dpop: Future is negative")
	}
	if c.Nonces != nil {
		if err := c.Nonces.validate(); err != nil {
			return nil, fmt.Errorf("dpop: %w", err)
		}
	}
	if v.c.ProofLifetime == 0 {
		v.c.ProofLifetime = defaultProofLifetime
	}
	if v.c.Future == 0 {
		v.c.Future = defaultFuture
	}
	if v.c.Now == nil {
		v.c.Now = time.Now
		if c.Nonces != nil {
			v.c.Now = c.Nonces.now
		}
	}
	v.c.Algs = slices.Clone(c.Algs)
	v.algs, v.algsList = strings.Join(c.Algs, " "), strings.Join(c.Algs, ", ")
	return v, nil
}

// Request is what a proof is held against.
type Request struct {
	// Proofs are all values of the DPoP header field.
	Proofs []string
	// Method is the request's method.
	Method string
	// URL is the public URL of the endpoint as the client called it; query and
	// fragment are ignored. Never build it from the Host header alone: then the
	// sender of a stolen proof says what it was for.
	URL string
	// Thumbprint is the jkt that the proof's key must have. Empty: any key.
	Thumbprint string
	// AccessToken, where set, must be the token that ath is the hash of.
	AccessToken string
	// IgnoreNonce neither looks at a nonce nor asks for one; iat is held
	// against the clock instead.
	IgnoreNonce bool
}

// Proof is a proof that passed every check.
type Proof struct {
	Thumbprint string    // jkt: RFC 7638 thumbprint of the key
	ID         string    // jti
	Algorithm  string    // alg
	Method     string    // htm
	URI        string    // htu, normalised, without query and fragment
	IssuedAt   time.Time // iat; with a nonce the client's clock may be wrong
}

// Verify makes all checks of RFC 9449 §4.3 on one request's proof, in the order
// of the package documentation. The error is an *Error where the proof is
// refused, or wraps ErrUnavailable where the replay memory cannot answer.
//
// Verify changes nothing but the replay memory, and that as the last step: a
// proof that is refused can be sent again.
func (v *Verifier) Verify(ctx context.Context, r Request) (*Proof, error) {
	var p proof
	var a acceptance
	if v.c.Nonces != nil && !r.IgnoreNonce && v.c.Replay.Generation() == UnknownGeneration {
		return nil, fmt.Errorf("%w: the generation of nonces is not known yet", ErrUnavailable)
	}
	now := v.c.Now()
	switch {
	case !p.single(r.Proofs): // §4.3 (1)
	case !p.header(): // (2) size, three parts, base64url, JSON
	case !p.hasType(): // (4)
	case !p.hasNoCrit(): // RFC 7515 §4.1.11
	case !p.hasAlg(v.allowed, v.algsList): // (5)
	case !p.hasJWK(): // (3)
	case !p.hasPublicKey(): // (7)
	case !p.hasFittingKey(): // (6): key and algorithm belong together
	case !p.hasValidKey(): // (6): the key is one
	case !p.claims(): // (2) of the payload
	case !p.hasID(): // (3) jti
	case !p.hasIssuedAt(): // (3) iat
	case !p.hasMethod(r.Method): // (8)
	case !p.hasURI(r.URL): // (9)
	case !p.hasAccessToken(r.AccessToken): // (12) ath
	case !v.inTime(ctx, &p, &a, r, now): // (10), (11)
	case !p.hasSignature(): // (6)
	case !v.observe(&p, now):
	case !p.hasThumbprint(r.Thumbprint): // (12) key
	default:
		if err := v.await(ctx, &p, a); err != nil {
			return nil, err
		}
		return v.remember(ctx, &p, a)
	}
	return nil, p.refused
}

// Nonce returns a fresh nonce for the DPoP-Nonce header field (RFC 9449 §8);
// empty where the verifier issues none, or cannot now.
func (v *Verifier) Nonce() string {
	if v.c.Nonces == nil {
		return ""
	}
	generation := v.c.Replay.Generation()
	if generation == UnknownGeneration {
		return ""
	}
	return v.c.Nonces.issue(generation, v.c.Now())
}

// Algs returns the allowed algorithms, for dpop_signing_alg_values_supported.
func (v *Verifier) Algs() []string { return slices.Clone(v.c.Algs) }

func (p *proof) hasURI(url string) bool {
	want, ok := normalizeURI(url)
	if !ok {
		return p.refuse(ReasonURI, "URL of the request cannot be compared with htu")
	}
	if p.htu == url {
		p.uri = want
	} else if p.uri, ok = normalizeURI(p.htu); !ok || p.uri != want {
		return p.refuse(ReasonURI, "htu of the DPoP proof is not the URL of the request")
	}
	return true
}

func (p *proof) hasAccessToken(token string) bool {
	if token == "" {
		return true
	}
	if p.ath == "" {
		return p.refuse(ReasonAccessToken, "DPoP proof has no ath")
	}
	if subtle.ConstantTimeCompare([]byte(p.ath), []byte(AccessTokenHash(token))) != 1 {
		return p.refuse(ReasonAccessToken, "ath of the DPoP proof is not the hash of the access token")
	}
	return true
}

// AccessTokenHash returns the ath of an access token (RFC 9449 §4.2).
func AccessTokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return b64.EncodeToString(sum[:])
}

// acceptance is how long a proof could be accepted, and by which nonces.
type acceptance struct {
	until      time.Time
	generation uint64 // 0: its time is told by iat
	nonces     bool
}

// inTime holds the proof against the clock: by its nonce where we issue them,
// else by iat.
func (v *Verifier) inTime(ctx context.Context, p *proof, a *acceptance, r Request, now time.Time) bool {
	if v.c.Nonces == nil || r.IgnoreNonce {
		return v.issuedInTime(p, a, now)
	}
	a.nonces = true
	if p.nonce == "" {
		return p.askNonce(ReasonNoNonce, "DPoP proof must carry the nonce of the DPoP-Nonce header")
	}
	switch why := v.checkNonce(ctx, p.nonce, a, now); why {
	case "":
		return true
	case ReasonStaleNonce:
		return p.askNonce(why, "nonce of the DPoP proof is no longer good, use the one of the DPoP-Nonce header")
	default:
		return p.askNonce(why, "nonce of the DPoP proof is not from here, use the one of the DPoP-Nonce header")
	}
}

// checkNonce finds the nonce's generation and end, or the reason why it is not good.
func (v *Verifier) checkNonce(ctx context.Context, nonce string, a *acceptance, now time.Time) (why Reason) {
	a.generation = v.c.Replay.Generation()
	a.until, why = v.c.Nonces.check(nonce, a.generation, now)
	follower, others := v.c.Replay.(Follower)
	if why != ReasonWrongNonce || !others {
		return why
	}
	follower.Follow(ctx)
	if newest := v.c.Replay.Generation(); newest != a.generation {
		a.generation = newest
		a.until, why = v.c.Nonces.check(nonce, newest, now)
	}
	return why
}

func (v *Verifier) issuedInTime(p *proof, a *acceptance, now time.Time) bool {
	a.until = p.issuedAt.Add(v.c.ProofLifetime)
	switch offset := p.issuedAt.Sub(now); {
	case offset < -v.c.ProofLifetime:
		return p.refuse(ReasonTooOld, fmt.Sprintf(
			"iat of the DPoP proof is %s in the past (at most %s): the client's clock is behind by that much, or the proof is old",
			seconds(-offset), seconds(v.c.ProofLifetime)))
	case offset > v.c.Future:
		return p.refuse(ReasonTooEarly, fmt.Sprintf(
			"iat of the DPoP proof is %s in the future (at most %s): the client's clock is ahead by that much",
			seconds(offset), seconds(v.c.Future)))
	case !v.c.NotBefore.IsZero() && p.issuedAt.Before(v.c.NotBefore):
		return p.refuse(ReasonBeforeStart, "DPoP proof was made before this server started, make a new one")
	}
	return true
}

// await lets the time of a proof from the future come, where a start could make
// the replay memory forget that it was taken.
func (v *Verifier) await(ctx context.Context, p *proof, a acceptance) error {
	early := p.issuedAt.Sub(v.c.Now())
	if a.nonces || v.c.NotBefore.IsZero() || early <= 0 {
		return nil
	}
	t := time.NewTimer(early)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// seconds writes a duration so that a difference never looks like the bound it
// is beyond: whole seconds, rounded up.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%d s", (d+time.Second-1)/time.Second)
}

func (p *proof) hasSignature() bool {
	if err := p.algorithm.method.Verify(p.signed, p.sig, p.public); err != nil {
		return p.refuse(ReasonSignature, "signature of the DPoP proof does not verify")
	}
	return true
}

func (v *Verifier) observe(p *proof, now time.Time) bool {
	if v.c.Observe != nil {
		v.c.Observe(p.issuedAt.Sub(now))
	}
	return true
}

func (p *proof) hasThumbprint(want string) bool {
	p.thumbprint = p.jwk.thumbprint()
	if want != "" && subtle.ConstantTimeCompare([]byte(p.thumbprint), []byte(want)) != 1 {
		return p.refuse(ReasonOtherKey, "DPoP proof is by another key than the one this is bound to")
	}
	return true
}

// remember is the last check, so that nobody burns another's jti with a proof
// that is refused for something else.
func (v *Verifier) remember(ctx context.Context, p *proof, a acceptance) (*Proof, error) {
	result, err := v.c.Replay.Remember(ctx, a.generation, replayKey(p.thumbprint, p.id, p.uri), a.until)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch result {
	case Fresh:
		return &Proof{
			Thumbprint: p.thumbprint, ID: p.id, Algorithm: p.algorithm.name,
			Method: p.htm, URI: p.uri, IssuedAt: p.issuedAt,
		}, nil
	case StaleGeneration:
		p.askNonce(ReasonStaleNonce, "nonce of the DPoP proof is no longer good, use the one of the DPoP-Nonce header")
	case Repeated:
		// An honest client may repeat a request whose answer was lost. With a
		// fresh nonce it recovers by itself; a thief cannot sign one.
		p.refuse(ReasonRepeated, "DPoP proof was used before, make a new one for each request")
		p.refused.useNonce = a.nonces
	default:
		return nil, fmt.Errorf("%w: unknown answer %d", ErrUnavailable, result)
	}
	return nil, p.refused
}

// replayKey hashes the three with their lengths: jti alone would let one client
// burn another's (RFC 9449 §11.1 speaks of the context of the htu).
func replayKey(parts ...string) [32]byte {
	buf := make([]byte, 0, 512)
	for _, s := range parts {
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	return sha256.Sum256(buf)
}
