package ortengine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Exchange is a token request with an ORT, whose client and proof were checked.
type Exchange struct {
	ORT ORT
	// Audiences are the values of audience and resource in the request.
	Audiences []string
	Send      Send
	Waits     *Waits // nil: not measured
}

// Exchanged is an ORT exchange that the upstream answered, with a success or a
// refusal of its own that passes.
type Exchanged struct {
	Answer  Answer
	Session sessions.Session
	Grant   sessions.Grant
}

// CheckClient refuses an ORT of another client (RFC 6749 section 6).
func (e *Engine) CheckClient(o *ORT, client string) error {
	if !equal(o.Client, client) {
		return refuseToken("wrong_client", "it belongs to another client")
	}
	return nil
}

// InvalidToken is the refusal of a token that is no ORT of this gateway.
func InvalidToken() error {
	return refuseToken("invalid_token", "it was not issued here, or its sealing key is gone")
}

// UnboundToken refuses a token that is bound to no key and whose client the upstream
// does not authenticate any more: by a new login it gets one that is.
func UnboundToken() error {
	return refuseToken("invalid_token", "it is bound to no key, and its client is no confidential one")
}

// invalidTarget is RFC 8707 section 2's refusal.
func invalidTarget(result string) error {
	return &Error{Status: 400, Code: InvalidTarget, Result: result,
		Description: "audience or resource is neither that of the authorization request nor allowed here"}
}

// Exchange gets a new access token for an ORT. An error is an [Error].
func (e *Engine) Exchange(ctx context.Context, x Exchange) (Exchanged, error) {
	s, g, err := e.living(ctx, &x.ORT)
	done := Exchanged{}
	if err == nil {
		done, err = e.exchange(ctx, &x, g)
	}
	if err != nil {
		why := *AsError(err)
		why.subject = e.subjectHash(&s)
		return Exchanged{}, &why
	}
	if done.Session.ID == "" { // the upstream refused
		done.Session = s
	}
	return done, nil
}

func (e *Engine) exchange(ctx context.Context, x *Exchange, g sessions.Grant) (Exchanged, error) {
	if !e.Policy.allowsExchange(x.Audiences, g.Audiences) {
		return Exchanged{}, invalidTarget("invalid_target")
	}
	if err := e.writable(ctx); err != nil {
		return Exchanged{}, err
	}
	lease, g, credential, err := e.credential(ctx, x)
	if err != nil {
		return Exchanged{}, err
	}
	send := func(ctx context.Context) (Answer, error) {
		x.Waits.begin(e.Now())
		defer func() { x.Waits.end(e.Now()) }()
		return x.Send(ctx, credential)
	}
	return seeThrough(ctx, e, lease, send, func(ctx context.Context, reply Answer, answer func(Exchanged, error)) {
		e.refreshed(ctx, g, lease, reply, answer)
	})
}

// credential takes the lease of an ORT's grant, reads the grant under it, for its
// holder before may have rotated the credential or found it dead, and opens it.
func (e *Engine) credential(ctx context.Context, x *Exchange) (_ sessions.Lease, g sessions.Grant, credential string, err error) {
	var s sessions.Session
	x.Waits.begin(e.Now())
	lease, err := e.lease(ctx, Unavailable("busy", "Another exchange of this token is still waiting for the identity provider", nil),
		func(ctx context.Context) (l sessions.Lease, err error) {
			l, s, g, err = e.Store.LeaseGrant(ctx, x.ORT.Session, x.ORT.Grant)
			return l, err
		})
	x.Waits.end(e.Now())
	missing := errors.Is(err, sessions.ErrNotFound)
	if err != nil && !missing {
		return nil, g, "", err
	}
	if lease != nil {
		defer func() {
			if err != nil {
				lease.Release()
			}
		}()
	}
	if s, g, err = e.judge(ctx, &x.ORT, s, g, err); err != nil {
		return nil, g, "", err
	}
	if missing { // it is there after all, but not held
		return nil, g, "", Unavailable("busy", "The session was changed meanwhile", nil)
	}
	if err := e.writable(ctx); err != nil { // the one before could not keep what it got
		return nil, g, "", err
	}
	opened, err := e.credentials.Open(g.Credential, grantName(&g))
	if err != nil {
		e.Logger.LogAttrs(ctx, slog.LevelError, "the upstream credential of a grant does not open: its key is not in ORT_SEALING_KEYS any more",
			slog.String("session", string(s.ID)), slog.String("client", g.Client))
		return nil, g, "", refuseToken("invalid_token", "the key of its credential is gone")
	}
	return lease, g, string(opened), nil
}

// refreshed keeps what the upstream's answer brought, first of all.
func (e *Engine) refreshed(ctx context.Context, g sessions.Grant, lease sessions.Lease, reply Answer, answer func(Exchanged, error)) {
	var s sessions.Session
	lease.Last()
	switch {
	case reply.Status == 200:
		after := refuseUnless(reply)
		e.keep(ctx, func(err error) {
			switch {
			case err != nil:
				answer(Exchanged{}, keptError(err))
			case after != nil:
				answer(Exchanged{}, after)
			default:
				answer(Exchanged{Answer: reply, Session: s, Grant: g}, nil)
			}
		}, func() error {
			return e.Store.Update(ctx, g.Session, lease, func(d *sessions.Draft) error {
				return e.rotate(d, &s, &g, reply, after == nil)
			})
		})
	case reply.Status >= 500 || reply.Status < 400:
		answer(Exchanged{}, Unavailable("upstream_unavailable", "The identity provider has a fault", nil))
	case reply.Error == InvalidGrant:
		end, err := e.endGrant(ctx, g.Session, g.ID, lease)
		switch {
		case err != nil:
			answer(Exchanged{}, keptError(err))
		case end != nil: // it ended during the call, and the upstream's login with it
			answer(Exchanged{}, refuseToken("ended_meanwhile", endedText(end.Reason)))
		default:
			answer(Exchanged{}, refuseToken("upstream_invalid_grant", "the identity provider ended this grant"))
		}
	default:
		answer(Exchanged{Answer: reply, Grant: g}, nil)
	}
}

// refuseUnless is what a 200 is refused for, after its credential was kept.
func refuseUnless(reply Answer) error {
	if reply.Malformed {
		return badAnswer()
	}
	return nil
}

// rotate puts a new credential into its grant and moves the idle deadline. A
// session that ended meanwhile takes neither: the credential goes with it.
func (e *Engine) rotate(d *sessions.Draft, s *sessions.Session, g *sessions.Grant, reply Answer, used bool) error {
	if d.Session.End != nil {
		return refuseToken("ended_meanwhile", endedText(d.Session.End.Reason))
	}
	stored, ok := d.Grant(g.ID)
	if !ok {
		return refuseToken("ended_meanwhile", "its grant ended")
	}
	now := e.now()
	if !now.Before(d.Session.Absolute) { // the next sweep ends it
		return refuseToken("ended_meanwhile", endedText(sessions.EndAbsolute))
	}
	if reply.Credential != "" {
		stored.Credential = e.credentials.Seal([]byte(reply.Credential), grantName(&stored))
	}
	if used {
		stored.LastUsed, stored.Uses = now, stored.Uses+1
		d.Session.LastUsed = now
		d.Session.Idle = earlier(now.Add(e.Idle), d.Session.Absolute)
	}
	d.Put(stored)
	*s, *g = d.Session, stored
	return nil
}

// keptError is what the client of a credential that could not be kept is told.
func keptError(err error) error {
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return refuseToken("ended_meanwhile", "its session is gone")
	case errors.Is(err, sessions.ErrLeaseLost):
		return Unavailable("busy", "Another exchange of this token took over", err)
	}
	return AsError(err)
}

// living is the session and the grant of an ORT, or why it is dead. A session
// whose limit has passed ends here.
func (e *Engine) living(ctx context.Context, o *ORT) (sessions.Session, sessions.Grant, error) {
	s, g, err := e.Store.Grant(ctx, o.Session, o.Grant)
	return e.judge(ctx, o, s, g, err)
}

// judge says what a store's answer about the session and the grant of an ORT means.
func (e *Engine) judge(ctx context.Context, o *ORT, s sessions.Session, g sessions.Grant, err error) (sessions.Session, sessions.Grant, error) {
	missing := errors.Is(err, sessions.ErrNotFound)
	switch {
	case err != nil && !missing:
		return s, g, storeDown(err)
	case s.ID == "":
		return s, g, refuseToken("unknown_session", "its session is unknown")
	case s.End != nil:
		return s, g, endedError(s.End.Reason)
	}
	if why, past := s.Deadline(e.now()); past {
		moved, err := e.expire(ctx, s.ID)
		if moved {
			return e.living(ctx, o)
		}
		if err != nil {
			e.Logger.LogAttrs(ctx, slog.LevelWarn, "ending a session whose limit has passed", slog.Any("error", err))
		}
		return s, g, endedError(why)
	}
	if missing {
		return s, g, refuseToken("ended", "its grant ended")
	}
	return s, g, nil
}

func endedError(why sessions.EndReason) *Error {
	result := "ended"
	if why == sessions.EndIdle || why == sessions.EndAbsolute {
		result = string(why)
	}
	return refuseToken(result, endedText(why))
}

func endedText(why sessions.EndReason) string {
	switch why {
	case sessions.EndRevoked:
		return "the session ended by revocation"
	case sessions.EndLogout, sessions.EndBackchannelLogout:
		return "the user logged out"
	case sessions.EndAdmin:
		return "the session was ended by an administrator"
	case sessions.EndUserSwitch:
		return "another user signed in"
	case sessions.EndIdle:
		return "the session was idle for too long"
	case sessions.EndAbsolute:
		return "the session reached its maximum age"
	}
	return "the session ended"
}

// Left is how long a session has, in whole seconds, never negative.
func (e *Engine) Left(s *sessions.Session) (idle, absolute int64) {
	now := e.now()
	return seconds(s.Idle.Sub(now)), seconds(s.Absolute.Sub(now))
}

func seconds(d time.Duration) int64 { return int64(max(0, d) / time.Second) }
