package ortengine

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// SessionQuery says which sessions an operator asks for. Empty fields ask nothing;
// those that are set have to fit together: a session is asked for where its issuer
// names the user to some client so, and where that issuer's client has a share of
// it (an ended session has no grants any more, but still knows its users' names).
type SessionQuery struct {
	Subject string
	Issuer  string
	Client  string
	// After is where a former page ended.
	After sessions.ID
	// Limit is the most sessions of a page, at least 1.
	Limit int
}

// ListedSession is a session with its grants.
type ListedSession struct {
	sessions.Session
	Grants []sessions.Grant
	// Gone is how and when it ended: also where a limit has passed and no sweep has
	// met it yet.
	Gone *sessions.End
}

// SessionPage is one page of a list. Next is empty where the list ends with it;
// with a filter a page may be empty and have a next one.
type SessionPage struct {
	Sessions []ListedSession
	Next     sessions.ID
}

const (
	scanStep = 200  // sessions that a filter reads at a time
	maxScan  = 2000 // and for one page
)

// Sessions is one page of the sessions that are asked for, ended ones too as long
// as their markers stay, in the order of their ids. An error is an [Error].
func (e *Engine) Sessions(ctx context.Context, q SessionQuery) (SessionPage, error) {
	page, err := e.page(ctx, &q)
	if err != nil {
		return SessionPage{}, AsError(err)
	}
	return page, nil
}

func (e *Engine) page(ctx context.Context, q *SessionQuery) (p SessionPage, err error) {
	if q.Subject != "" {
		return e.pageOfSubject(ctx, q)
	}
	step := q.Limit + 1 // one more tells whether there is a next page
	if q.Client != "" || q.Issuer != "" {
		step = scanStep
	}
	p.Next = q.After
	for scanned := 0; scanned < maxScan; scanned += step {
		list, err := e.Store.List(ctx, p.Next, step)
		if err != nil {
			return p, err
		}
		for i := range list {
			p.Next = list[i].ID
			if err := e.addTo(ctx, &p, list[i], q); err != nil {
				return p, err
			}
			if last := i == len(list)-1 && len(list) < step; !last && len(p.Sessions) == q.Limit {
				return p, nil
			}
		}
		if len(list) < step {
			p.Next = ""
			return p, nil
		}
	}
	return p, nil
}

// pageOfSubject reads all sessions of one user: few, also where markers of ended
// ones are among them.
func (e *Engine) pageOfSubject(ctx context.Context, q *SessionQuery) (p SessionPage, err error) {
	found, err := e.Store.Find(ctx, sessions.Finder{Subject: q.Subject})
	if err != nil {
		return p, err
	}
	slices.SortFunc(found, func(a, b sessions.Session) int { return cmp.Compare(a.ID, b.ID) })
	for i := range found {
		if found[i].ID <= q.After {
			continue
		}
		if len(p.Sessions) == q.Limit {
			p.Next = p.Sessions[q.Limit-1].ID
			return p, nil
		}
		if err := e.addTo(ctx, &p, found[i], q); err != nil {
			return p, err
		}
	}
	return p, nil
}

// addTo adds a session to a page where it is asked for.
func (e *Engine) addTo(ctx context.Context, p *SessionPage, s sessions.Session, q *SessionQuery) error {
	if !q.mayFit(&s) {
		return nil
	}
	l, err := e.listed(ctx, s)
	if errors.Is(err, sessions.ErrNotFound) { // gone meanwhile
		return nil
	}
	if err == nil && q.fits(&l) {
		p.Sessions = append(p.Sessions, l)
	}
	return err
}

// mayFit says whether it is worth reading a session's grants.
func (q *SessionQuery) mayFit(s *sessions.Session) bool {
	if q.Subject == "" {
		return s.End == nil || q.named(s)
	}
	return slices.ContainsFunc(s.Subjects, func(u sessions.Subject) bool { return q.isUser(&u) })
}

func (q *SessionQuery) isUser(u *sessions.Subject) bool {
	return u.Sub == q.Subject && (q.Issuer == "" || u.Issuer == q.Issuer)
}

func (q *SessionQuery) isClient(issuer, client string) bool {
	return (q.Client == "" || client == q.Client) && (q.Issuer == "" || issuer == q.Issuer)
}

// named says whether a client that was asked for knows the session's user.
func (q *SessionQuery) named(s *sessions.Session) bool {
	return q.Client == "" && q.Issuer == "" ||
		slices.ContainsFunc(s.Subjects, func(u sessions.Subject) bool { return q.isClient(u.Issuer, u.Client) })
}

func (q *SessionQuery) fits(l *ListedSession) bool {
	return q.mayFit(&l.Session) && (q.named(&l.Session) ||
		slices.ContainsFunc(l.Grants, func(g sessions.Grant) bool { return q.isClient(g.Issuer, g.Client) }))
}

// ListedSession is one session. An error is an [Error]; nil and no error: it is
// unknown.
func (e *Engine) ListedSession(ctx context.Context, id sessions.ID) (*ListedSession, error) {
	s, err := e.Store.Session(ctx, id)
	var l ListedSession
	if err == nil {
		l, err = e.listed(ctx, s)
	}
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, AsError(err)
	}
	return &l, nil
}

func (e *Engine) listed(ctx context.Context, s sessions.Session) (l ListedSession, err error) {
	l = ListedSession{Session: s, Gone: s.End}
	if s.End != nil {
		return l, nil
	}
	if why, past := s.Deadline(e.now()); past {
		l.Gone = &sessions.End{At: s.Idle, Reason: why}
		if why == sessions.EndAbsolute {
			l.Gone.At = s.Absolute
		}
	}
	l.Grants, err = e.Store.Grants(ctx, s.ID)
	return l, err
}

// EndByAdmin ends one session and its single sign-on, durably. It says whether it
// lived until now; an unknown or ended one is no error. An error is an [Error].
func (e *Engine) EndByAdmin(ctx context.Context, id sessions.ID) (ended bool, err error) {
	ended, err = e.endSignOnOnce(ctx, id, sessions.EndAdmin)
	if err != nil {
		return ended, AsError(err)
	}
	return ended, nil
}

// EndSubjectByAdmin ends all sessions of a user that are asked for, and their
// single sign-on, durably, and says how many lived until now. With an error, an
// [Error], some of them may have ended.
func (e *Engine) EndSubjectByAdmin(ctx context.Context, q SessionQuery) (ended int, err error) {
	if q.Subject == "" { // all sessions of a client, or of everybody, are too much for a slip
		return 0, &Error{Status: 400, Code: InvalidRequest, Description: "No subject was named", Result: "other"}
	}
	q.After, q.Limit = "", maxScan
	for {
		p, err := e.pageOfSubject(ctx, &q)
		if err != nil {
			return ended, AsError(err)
		}
		var ids []sessions.ID
		for _, s := range p.Sessions {
			if s.End == nil {
				ids = append(ids, s.ID)
			}
		}
		n, err := e.endEach(ctx, ids, sessions.EndAdmin)
		ended += n
		if err != nil {
			return ended, AsError(err)
		}
		if q.After = p.Next; q.After == "" {
			return ended, nil
		}
	}
}

// AdminAction is one request to the session API, for the audit log.
type AdminAction struct {
	Action string // what was asked for: list, show, end, backup
	Result string // ok, or why not
	Remote string // address of the peer
	// Session and Subject are what it was about, where it was one; Issuer is the
	// subject's, where it is known.
	Session         sessions.ID
	Issuer, Subject string
	Client          string
	Count           int // sessions listed, shown or ended; bytes of a backup
	Cause           error
}

// AdminActed tells the audit log.
func (e *Engine) AdminActed(ctx context.Context, a AdminAction) {
	attrs := []slog.Attr{
		slog.String("action", a.Action), slog.String("result", a.Result), slog.String("remote", a.Remote), slog.Int("count", a.Count),
	}
	if a.Session != "" {
		attrs = append(attrs, slog.String("session", string(a.Session)))
	}
	if a.Subject != "" {
		attrs = append(attrs, slog.String("subject", e.hashOf(a.Issuer, a.Subject)))
	}
	if a.Client != "" {
		attrs = append(attrs, slog.String("client", a.Client))
	}
	level := slog.LevelInfo
	if a.Result != "ok" {
		level = slog.LevelWarn
	}
	if a.Cause != nil {
		attrs = append(attrs, slog.Any("error", a.Cause))
	}
	e.Logger.LogAttrs(ctx, level, "admin_action", attrs...)
}
