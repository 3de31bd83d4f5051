package ortengine

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Authorization is an authorization request that asked for online_access.
type Authorization struct {
	Place      string // the authorization endpoint's URL
	Client     string
	Scope      string   // as the client sent it
	Audiences  []string // values of audience and resource, in their order
	Challenge  string   // code_challenge
	Method     string   // code_challenge_method, empty: plain (RFC 7636 section 4.3)
	Thumbprint string   // dpop_jkt, or the key of a proof at PAR
	// GatewayScopes are those that only the gateway asks the upstream for.
	GatewayScopes []string
	Browser       sessions.BrowserID // empty at PAR
	Address       netip.Addr         // of who asked
}

// Begun is a recorded authorization request.
type Begun struct {
	Key       sessions.TransactionKey
	Challenge string // what goes to the upstream, S256
	None      bool   // no ORT may come of it
	Added     bool   // this request recorded it
}

// maxAsked bounds what one waiting transaction keeps of a stranger's request, in
// bytes.
const maxAsked = 4 << 10

// Begin records an authorization request. Its error is an [Error]: a challenge
// that is none, one that another request stands for, a store that is down.
func (e *Engine) Begin(ctx context.Context, a Authorization) (Begun, error) {
	if size := len(a.Client) + len(a.Scope) + len(strings.Join(a.Audiences, " ")); size > maxAsked {
		return Begun{}, &Error{Status: 400, Code: InvalidRequest, Description: "client_id, scope and resources are too long", Result: "refused_transaction"}
	}
	method, err := challengeMethod(a.Method, a.Challenge)
	if err != nil {
		return Begun{}, err
	}
	now := e.now()
	t := sessions.Transaction{
		Key: sessions.KeyOfChallenge(method, a.Challenge), Place: a.Place, Client: a.Client,
		Scope: a.Scope, Audiences: a.Audiences, Thumbprint: a.Thumbprint, GatewayScopes: a.GatewayScopes,
		KeyID:   e.verifiers.KeyID(),
		None:    !e.Policy.AllowsClient(a.Client) || !e.Policy.AllowsAudiences(a.Audiences),
		Browser: a.Browser, Address: network(a.Address), Created: now, Until: now.Add(e.Login),
	}
	if t.None {
		t.Browser = ""
		e.Logger.LogAttrs(ctx, slog.LevelWarn, "online_access dropped: ORT_CLIENTS or ORT_AUDIENCES do not allow it",
			slog.String("client", a.Client), slog.String("audiences", strings.Join(a.Audiences, " ")))
	}
	standing, added, err := e.Store.AddTransaction(ctx, t)
	switch {
	case errors.Is(err, sessions.ErrDifferent):
		return Begun{}, &Error{Status: 400, Code: InvalidRequest, Result: "refused_transaction",
			Description: "This code_challenge belongs to another authorization request"}
	case err != nil:
		return Begun{}, storeDown(err)
	}
	challenge, ok := e.Challenge(&standing)
	if !ok {
		return Begun{}, &Error{Status: 400, Code: InvalidRequest, Result: "refused_transaction",
			Description: "This code_challenge belongs to an authorization request whose sealing key is gone"}
	}
	return Begun{Key: standing.Key, Challenge: challenge, None: standing.None, Added: added}, nil
}

// challengeMethod checks a code_challenge as the upstream would have (RFC 7636
// sections 4.2 and 4.3): the gateway's own takes its place there.
func challengeMethod(method, challenge string) (string, error) {
	bad := func(why string) error {
		return &Error{Status: 400, Code: InvalidRequest, Description: why, Result: "refused_transaction"}
	}
	switch method {
	case "", "plain":
		if !isVerifier(challenge) {
			return "", bad("code_challenge must have 43 to 128 unreserved characters")
		}
		return "plain", nil
	case "S256":
		sum, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
		if err != nil || len(sum) != sha256.Size || !unreserved(challenge) { // base64 passes over line ends
			return "", bad("code_challenge is not the base64url form of a SHA-256 hash")
		}
		return method, nil
	}
	return "", bad("code_challenge_method must be S256 or plain")
}

// isVerifier says whether a text has the form of a code_verifier (RFC 7636 section
// 4.1), or of a plain challenge.
func isVerifier(s string) bool { return len(s) >= 43 && len(s) <= 128 && unreserved(s) }

func unreserved(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

// network is the unit by which waiting transactions are counted: an IPv6 host
// has a /64 to choose its addresses from.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// verifier derives the gateway's own code_verifier of a transaction. It is false
// where the sealing key that the transaction names is gone.
func (e *Engine) verifier(t *sessions.Transaction) (string, bool) {
	mac, ok := e.verifiers.MAC(t.KeyID, t.Key[:])
	if !ok {
		return "", false
	}
	return base64.RawURLEncoding.EncodeToString(mac), true
}

// Challenge is the code_challenge of a transaction that went to the upstream, S256.
// It is false where the sealing key that the transaction names is gone.
func (e *Engine) Challenge(t *sessions.Transaction) (string, bool) {
	verifier, ok := e.verifier(t)
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]), ok
}

// Failed forgets a transaction: the very answer to the request that recorded it
// was an error.
func (e *Engine) Failed(ctx context.Context, key sessions.TransactionKey) {
	if err := e.Store.DropTransaction(ctx, key); err != nil {
		e.Logger.LogAttrs(ctx, slog.LevelWarn, "forgetting a failed authorization request", slog.Any("error", err))
	}
}

// Pushed ties a pushed request to the request_uri that the upstream gave it (RFC
// 9126 section 2.2).
func (e *Engine) Pushed(ctx context.Context, uri string, key sessions.TransactionKey) error {
	if err := e.Store.TieRequestURI(ctx, sessions.HashRequestURI(uri), key, e.now().Add(e.Login)); err != nil {
		return storeDown(err)
	}
	return nil
}

// pushedMethod keeps the request_uris of pushed requests apart from challenges.
const pushedMethod = "request_uri"

// pushedLife is how long a pushed request can be used (RFC 9126 section 2.2 has ten
// minutes for the longest).
const pushedLife = 10 * time.Minute

// NotePushed keeps of a pushed request what an error needs to reach its client.
// One that is too long is not kept.
func (e *Engine) NotePushed(ctx context.Context, place, client, uri, answerTo string, from netip.Addr) error {
	if len(client)+len(answerTo) > maxAsked {
		return nil
	}
	now := e.now()
	_, _, err := e.Store.AddTransaction(ctx, sessions.Transaction{
		Key: sessions.KeyOfChallenge(pushedMethod, uri), Place: place, Client: client, Scope: answerTo, None: true,
		Address: network(from), Created: now, Until: now.Add(pushedLife),
	})
	if err != nil && !errors.Is(err, sessions.ErrDifferent) {
		return storeDown(err)
	}
	return nil
}

// PushedTo is what was kept of a pushed request, empty where nothing was.
func (e *Engine) PushedTo(ctx context.Context, uri string) (answerTo string, err error) {
	t, err := e.Store.Transaction(ctx, sessions.KeyOfChallenge(pushedMethod, uri))
	if errors.Is(err, sessions.ErrNotFound) {
		return "", nil
	} else if err != nil {
		return "", storeDown(err)
	}
	return t.Scope, nil
}

// UsePushed finds the transaction of a request_uri and notes the browser that
// used it. known is false where the request did not ask for an ORT.
func (e *Engine) UsePushed(ctx context.Context, uri string, browser sessions.BrowserID) (t sessions.Transaction, known bool, err error) {
	key, err := e.Store.RequestURI(ctx, sessions.HashRequestURI(uri))
	if errors.Is(err, sessions.ErrNotFound) {
		return t, false, nil
	} else if err != nil {
		return t, false, storeDown(err)
	}
	t, err = e.Store.Transaction(ctx, key)
	if errors.Is(err, sessions.ErrNotFound) {
		return t, false, nil
	} else if err != nil {
		return t, false, storeDown(err)
	}
	if t.None {
		return t, true, nil
	}
	t.Browser, t.Browsers = browser, false
	t, _, err = e.Store.AddTransaction(ctx, t)
	if err != nil {
		return t, false, storeDown(err)
	}
	return t, true, nil
}

// codeLife is how long what was seen of a code is kept: longer than upstreams
// let codes live (RFC 6749 section 4.1.2 recommends 10 minutes at most).
const codeLife = time.Hour

// SawCode notes which browser's request was answered with a code, and which login
// cookies came with it, before the redirect with the code leaves.
func (e *Engine) SawCode(ctx context.Context, code string, browser sessions.BrowserID, cookies []sessions.CookieHash) error {
	now := e.now()
	err := e.Store.AddCode(ctx, sessions.Code{Hash: sessions.HashCode(code), Browser: browser, LeftAt: now, Cookies: newest(nil, cookies), Until: now.Add(codeLife)})
	if err != nil {
		return storeDown(err)
	}
	return nil
}

// TransactionOf finds the transaction that a code_verifier belongs to (RFC 7636
// section 4.6), at one of the places. known is false where the code was not
// asked for with online_access, or its transaction is gone: then the upstream
// decides, and refuses the latter.
func (e *Engine) TransactionOf(ctx context.Context, verifier string, places []string) (t sessions.Transaction, known bool, err error) {
	if verifier == "" {
		return t, false, nil
	}
	for _, key := range sessions.KeysOfVerifier(verifier) {
		t, err := e.Store.Transaction(ctx, key)
		if errors.Is(err, sessions.ErrNotFound) {
			continue
		} else if err != nil {
			return t, false, storeDown(err)
		}
		for _, p := range places {
			if p == t.Place {
				return t, true, nil
			}
		}
	}
	return t, false, nil
}

// deviceMethod keeps device codes apart from code challenges.
const deviceMethod = "device_code"

// NoteDevice notes that a device authorization request asked for online_access:
// no refresh token may come of it (RFC 8628 section 3.2).
func (e *Engine) NoteDevice(ctx context.Context, place, client, deviceCode string, from netip.Addr) error {
	now := e.now()
	_, _, err := e.Store.AddTransaction(ctx, sessions.Transaction{
		Key: sessions.KeyOfChallenge(deviceMethod, deviceCode), Place: place, Client: client, None: true,
		Address: network(from), Created: now, Until: now.Add(e.Login),
	})
	if err != nil && !errors.Is(err, sessions.ErrDifferent) {
		return storeDown(err)
	}
	return nil
}

// messageMethod keeps the states of web_message requests apart from challenges.
const messageMethod = "web_message"

// NoteWebMessage notes where the answer of a request with that state is to be
// posted.
func (e *Engine) NoteWebMessage(ctx context.Context, place, client, state, redirectURI string, from netip.Addr) error {
	if len(client)+len(redirectURI) > maxAsked {
		return &Error{Status: 400, Code: InvalidRequest, Description: "client_id and redirect_uri are too long", Result: "refused_transaction"}
	}
	now := e.now()
	_, _, err := e.Store.AddTransaction(ctx, sessions.Transaction{
		Key: sessions.KeyOfChallenge(messageMethod, state), Place: place, Client: client, Scope: redirectURI, None: true,
		Address: network(from), Created: now, Until: now.Add(e.Login),
	})
	switch {
	case errors.Is(err, sessions.ErrDifferent):
		return &Error{Status: 400, Code: InvalidRequest, Description: "This state belongs to another request", Result: "refused_transaction"}
	case err != nil:
		return storeDown(err)
	}
	return nil
}

// WebMessageTo is the redirect_uri whose origin the answer with a state is posted
// to; not ok where it is an ordinary redirect.
func (e *Engine) WebMessageTo(ctx context.Context, state string) (redirectURI string, ok bool, err error) {
	t, err := e.Store.Transaction(ctx, sessions.KeyOfChallenge(messageMethod, state))
	if errors.Is(err, sessions.ErrNotFound) {
		return "", false, nil
	} else if err != nil {
		return "", false, storeDown(err)
	}
	return t.Scope, true, nil
}

// DeviceAsked says whether the request that a device code came of asked for
// online_access.
func (e *Engine) DeviceAsked(ctx context.Context, deviceCode string) (bool, error) {
	_, err := e.Store.Transaction(ctx, sessions.KeyOfChallenge(deviceMethod, deviceCode))
	if errors.Is(err, sessions.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, storeDown(err)
	}
	return true, nil
}
