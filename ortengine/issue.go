package ortengine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// CodeExchange is a token request whose transaction asked for online_access.
type CodeExchange struct {
	Transaction sessions.Transaction
	Issuer      string
	Client      string
	Code        string
	// Thumbprint is the key of the proof that came with it, empty where none did.
	Thumbprint string
	Send       Send
}

// Issued is a code exchange that the upstream answered.
type Issued struct {
	Answer Answer
	// Token is the ORT, empty where none was issued: then the answer passes without
	// a refresh token.
	Token   string
	Session sessions.Session
	result  string // the metric's label
}

// usedCodeLife is how long a code that was exchanged is known, so that it is
// never sent again.
const usedCodeLife = 10 * time.Minute

// CheckCode makes the checks that come before any proof is looked at: the client
// is the transaction's, the verifier is one (RFC 7636 section 4.1: the upstream
// does not see it), and no resource is asked for that the authorization request
// did not name and that is not listed.
func (e *Engine) CheckCode(t *sessions.Transaction, client, verifier string, audiences []string) error {
	switch {
	case t.Client != client:
		return refuseCode("refused_client", "The authorization code belongs to another client")
	case !isVerifier(verifier):
		return refuseCode("refused_transaction", "code_verifier must have 43 to 128 unreserved characters")
	case !t.None && !e.Policy.allowsExchange(audiences, t.Audiences):
		return invalidTarget("refused_transaction")
	}
	return nil
}

// ExchangeCode redeems a code. Where the transaction allows no ORT, the
// upstream's answer comes back as it is, for its refresh token to be taken out.
// An error is an [Error].
func (e *Engine) ExchangeCode(ctx context.Context, x CodeExchange) (Issued, error) {
	verifier, ok := e.verifier(&x.Transaction)
	if !ok {
		return Issued{}, refuseCode("refused_transaction", "The authorization request is too old: its sealing key is gone")
	}
	if err := e.writable(ctx); err != nil {
		return Issued{}, err
	}
	hash := sessions.HashCode(x.Code)
	lease, err := e.leaseOf(ctx, "code:"+string(hash[:]),
		Unavailable("upstream_unavailable", "Another exchange of this code is still waiting for the identity provider", nil))
	if err != nil {
		return Issued{}, err
	}
	code, err := e.Store.Code(ctx, hash)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		code = sessions.Code{Hash: hash}
	case err != nil:
		lease.Release()
		return Issued{}, storeDown(err)
	case code.Exchanged:
		lease.Release()
		return Issued{}, UsedCode()
	}
	send := func(ctx context.Context) (Answer, error) { return x.Send(ctx, verifier) }
	issued, err := seeThrough(ctx, e, lease, send, func(ctx context.Context, reply Answer, answer func(Issued, error)) {
		answer(e.redeemed(ctx, x, code, reply))
	})
	if err != nil {
		return Issued{}, err
	}
	e.issued(ctx, &issued, x.Client)
	return issued, nil
}

// CodeUsed says whether a code was exchanged for an ORT, once an exchange of it
// that is under way is over: it must not be sent again with any verifier.
func (e *Engine) CodeUsed(ctx context.Context, code string) (bool, error) {
	hash := sessions.HashCode(code)
	lease, err := e.leaseOf(ctx, "code:"+string(hash[:]),
		Unavailable("upstream_unavailable", "Another exchange of this code is still waiting for the identity provider", nil))
	if err != nil {
		return false, err
	}
	defer lease.Release()
	c, err := e.Store.Code(ctx, hash)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return false, nil
	case err != nil:
		return false, storeDown(err)
	}
	return c.Exchanged, nil
}

// UsedCode is the refusal of a code that was exchanged before.
func UsedCode() error {
	return refuseCode("refused_code_used", "The authorization code was used already")
}

// redeemed turns the upstream's answer to a code into an ORT.
func (e *Engine) redeemed(ctx context.Context, x CodeExchange, code sessions.Code, reply Answer) (Issued, error) {
	if reply.Status == 200 {
		e.used(ctx, code.Hash)
	}
	plain := func(result string) (Issued, error) { return Issued{Answer: reply, result: result}, nil }
	switch {
	case reply.Status != 200:
		return plain("upstream_refused")
	case reply.Malformed:
		return Issued{}, badAnswer()
	case x.Transaction.None:
		return plain("none_not_allowed")
	case reply.Credential == "":
		e.Logger.LogAttrs(ctx, slog.LevelWarn, "no ORT issued: the upstream sent no refresh token; see ORT_UPSTREAM_SCOPE, ORT_UPSTREAM_CONSENT and the client's grants at the upstream",
			slog.String("client", x.Client))
		return plain("none_no_refresh_token")
	}
	now := e.now()
	if l := reply.Login; l != nil && !l.AuthTime.IsZero() && !now.Before(l.AuthTime.Add(e.Absolute)) {
		e.Logger.LogAttrs(ctx, slog.LevelWarn, "no ORT issued: the login at the upstream is older than ORT_SESSION_ABSOLUTE_TIMEOUT",
			slog.String("client", x.Client))
		if b := browserOf(code, &x.Transaction); b != "" { // the next request brings a new login
			if _, err := e.Store.AddNote(ctx, e.forcedLogin(x.Transaction.Place, b, now)); err != nil {
				return Issued{}, storeDown(err)
			}
		}
		return plain("none_login_too_old")
	}
	grant := sessions.Grant{
		ID: sessions.NewGrantID(), Client: x.Client, Issuer: x.Issuer, Thumbprint: x.Thumbprint,
		Scope: x.Transaction.Scope, Audiences: x.Transaction.Audiences, GatewayScopes: x.Transaction.GatewayScopes,
		CodeHash: code.Hash, Created: now, LastUsed: now,
	}
	j := join{Engine: e, place: x.Transaction.Place, browser: browserOf(code, &x.Transaction), leftAt: code.LeftAt,
		cookies: code.Cookies, asked: x.Transaction.Created, login: reply.Login, grant: grant, credential: reply.Credential}
	session, err := j.run(ctx)
	if err != nil {
		// No token names the credential, so nobody misses it: the user comes back by
		// single sign-on.
		if unknown(err) {
			e.ailing.Store(true)
		}
		return Issued{}, AsError(err)
	}
	e.meetClient(ctx, x.Issuer, x.Client)
	token := e.mint(ORT{Issuer: x.Issuer, Session: session.ID, Grant: j.grant.ID, Client: x.Client, Thumbprint: x.Thumbprint, Issued: now})
	return Issued{Answer: reply, Token: token, Session: session, result: "ok"}, nil
}

// used marks a code that the upstream took: sent twice, it would make upstreams
// end the client's other tokens (RFC 6749 section 4.1.2).
func (e *Engine) used(ctx context.Context, hash sessions.CodeHash) {
	err := e.Store.AddCode(ctx, sessions.Code{Hash: hash, Exchanged: true, Until: e.now().Add(usedCodeLife)})
	if err != nil {
		e.Logger.LogAttrs(ctx, slog.LevelWarn, "marking a code as used", slog.Any("error", err))
	}
}

func badAnswer() *Error {
	return &Error{Status: 502, Code: ServerError, Description: "The identity provider's answer is not a JSON object", Result: "bad_answer"}
}

// browserOf is the browser of a login: that whose request was answered with the
// code; where no such answer was seen, the one browser that asked.
func browserOf(code sessions.Code, t *sessions.Transaction) sessions.BrowserID {
	if !code.LeftAt.IsZero() {
		return code.Browser
	}
	return t.Browser
}
