package ortengine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// maxGrants is how many grants a client holds in a session: each page load of an
// app that keeps its tokens in memory makes one. One more ends the one used
// longest ago.
const maxGrants = 32

// endedMemory is how long after single sign-on ended a code may still be under
// way that left the upstream before.
const endedMemory = 10 * time.Minute

// errSessionEnded: the session ended while a grant was about to join it.
var errSessionEnded = errors.New("the session ended meanwhile")

// join puts a new grant into the session of its login: the one that lives in
// this browser, else the one that its `sid` names, else a new one.
type join struct {
	*Engine
	place      string
	browser    sessions.BrowserID
	cookies    []sessions.CookieHash // login cookies that were seen with its code
	leftAt     time.Time             // when the code left the upstream, zero: unseen
	asked      time.Time             // when its authorization request was recorded
	login      *Login
	grant      sessions.Grant
	credential string
}

// run is atomic against other joins of the same login: two apps that start at
// once in one browser come into one session.
func (j *join) run(ctx context.Context) (sessions.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, j.Upstream) // other joins take no longer than their writes
	defer cancel()
	for _, key := range j.keys() {
		l, err := j.Store.Lease(ctx, key)
		if err != nil {
			return sessions.Session{}, err
		}
		defer l.Release()
	}
	for {
		s, err := j.once(ctx)
		if errors.Is(err, errSessionEnded) {
			continue
		}
		if err == nil {
			j.loggedIn(ctx)
			err = j.renewed(ctx, &s)
		}
		return s, err
	}
}

// keys are what other joins of the same login have too. They are in an order that
// all joins share, so that none waits for another in a circle.
func (j *join) keys() (keys []string) {
	if j.browser != "" {
		keys = append(keys, "browser:"+string(j.browser))
	}
	if j.login != nil && j.login.SID != "" {
		keys = append(keys, "sid:"+j.login.Issuer+"\x00"+j.login.SID)
	}
	return keys
}

func (j *join) once(ctx context.Context) (sessions.Session, error) {
	here, err := j.inBrowser(ctx)
	if err != nil {
		return sessions.Session{}, err
	}
	switch ended, err := j.over(ctx, here); {
	case err != nil:
		return sessions.Session{}, err
	case ended:
		return sessions.Session{}, loginEnded()
	}
	target, err := j.choose(ctx, here)
	if err != nil {
		return sessions.Session{}, err
	}
	if target != "" {
		return j.enter(ctx, target)
	}
	s, err := j.create(ctx)
	if err != nil {
		return s, err
	}
	return s, j.endedBeside(ctx, &s)
}

// over says whether the login that the code came of has ended since.
func (j *join) over(ctx context.Context, here []sessions.Session) (bool, error) {
	if j.endedSince(here) {
		return true, nil
	}
	if left := j.left(); !left.IsZero() && j.renewals.overSince(j.cookies, left, j.now()) {
		return true, nil
	}
	return j.loggedOut(ctx)
}

func loginEnded() *Error {
	return refuseCode("refused_ended", "The login that this authorization code came of has ended")
}

// endedBeside looks again once a new session is kept: an end of the login that
// came while it was made did not see it.
func (j *join) endedBeside(ctx context.Context, s *sessions.Session) error {
	here, err := j.inBrowser(ctx)
	if err != nil {
		return err
	}
	ended, err := j.over(ctx, here)
	if err != nil || !ended {
		return err
	}
	if err := j.endSignOn(ctx, s.ID, sessions.EndLogout); err != nil {
		return err
	}
	return loginEnded()
}

// inBrowser are the sessions of this browser at this place, ended ones too.
func (j *join) inBrowser(ctx context.Context) ([]sessions.Session, error) {
	if j.browser == "" {
		return nil, nil
	}
	found, err := j.Store.Find(ctx, sessions.Finder{Browser: j.browser})
	return slices.DeleteFunc(found, func(s sessions.Session) bool { return s.Place != j.place }), err
}

// endedSince says whether single sign-on ended in this browser after the code
// left the upstream: then the code belongs to a login that is over.
func (j *join) endedSince(here []sessions.Session) bool {
	left := j.left()
	if left.IsZero() {
		return false
	}
	return slices.ContainsFunc(here, func(s sessions.Session) bool {
		return s.End != nil && s.End.SingleSignOn && !left.After(s.End.At) && j.now().Sub(s.End.At) < endedMemory
	})
}

// left is when the code left the upstream, as far as that is known.
func (j *join) left() time.Time {
	if j.leftAt.IsZero() && j.login != nil && !j.login.AuthTime.IsZero() {
		return j.login.AuthTime.Add(time.Second - time.Millisecond) // auth_time is in whole seconds
	}
	return j.leftAt
}

// choose finds the session to enter, and ends those of another user. A login
// joins no other where nobody can say whose it is, nor where nobody saw a browser
// of it: who sends a link with a challenge of his own ties nobody to his login.
func (j *join) choose(ctx context.Context, here []sessions.Session) (sessions.ID, error) {
	if j.login == nil || j.browser == "" && len(j.cookies) == 0 {
		return "", nil
	}
	var target sessions.ID
	for _, s := range here {
		if !j.alive(&s) {
			continue
		}
		switch who(&s, &j.grant, j.login) {
		case sameUser:
			if target == "" {
				target = s.ID
			}
		case otherUser:
			if err := j.end(ctx, s.ID, sessions.End{At: j.now(), Reason: sessions.EndUserSwitch}); err != nil {
				return "", err
			}
		}
	}
	if target != "" {
		return target, nil
	}
	finders := make([]sessions.Finder, 0, len(j.cookies)+1)
	for _, c := range j.cookies {
		finders = append(finders, sessions.Finder{Cookie: c})
	}
	if j.login.SID != "" {
		finders = append(finders, sessions.Finder{Upstream: sessions.UpstreamSession{Issuer: j.login.Issuer, SID: j.login.SID}})
	}
	for _, by := range finders {
		found, err := j.Store.Find(ctx, by)
		if err != nil {
			return "", err
		}
		for _, s := range found {
			if s.Place == j.place && j.alive(&s) && who(&s, &j.grant, j.login) == sameUser {
				return s.ID, nil
			}
		}
	}
	return "", nil
}

func (j *join) alive(s *sessions.Session) bool {
	_, past := s.Deadline(j.now())
	return s.End == nil && !past
}

// relation is how a login stands to a session of its browser.
type relation int

const (
	apart     relation = iota // beside it: nothing says that it is the same user
	sameUser                  // it joins
	otherUser                 // the session's user is gone
)

// who compares the users. One client's word on its own subject always counts;
// another client's only where every client knows the user by the same one
// (OIDC Core section 8). Elsewhere the login itself must be the same.
func who(s *sessions.Session, g *sessions.Grant, l *Login) relation {
	same := func(known sessions.Subject) relation {
		if known.Sub == l.Subject {
			return sameUser
		}
		return otherUser
	}
	for _, known := range s.Subjects {
		if known.Issuer == l.Issuer && known.Client == g.Client {
			return same(known)
		}
	}
	for _, known := range s.Subjects {
		if known.Issuer == l.Issuer && l.PublicSubjects {
			return same(known)
		}
	}
	if l.SID != "" && slices.Contains(s.Upstream, sessions.UpstreamSession{Issuer: l.Issuer, SID: l.SID}) {
		return sameUser
	}
	if !l.AuthTime.IsZero() && l.AuthTime.Equal(s.AuthTime) {
		return sameUser
	}
	return apart
}

func (j *join) create(ctx context.Context) (sessions.Session, error) {
	now := j.now()
	s := sessions.Session{ID: sessions.NewID(), Place: j.place, Created: now, Start: now}
	if l := j.login; l != nil && !l.AuthTime.IsZero() {
		s.Start = earlier(l.AuthTime, now) // a clock ahead of ours gives nobody more time
	}
	j.meet(&s)
	j.seal(s.ID)
	if err := j.Store.Create(ctx, s, j.grant, now.Add(usedCodeLife)); err != nil {
		return s, err
	}
	j.Logger.LogAttrs(ctx, slog.LevelInfo, "session_started", slog.String("session", string(s.ID)),
		slog.String("client", j.grant.Client), slog.String("subject", j.subjectHash(&s)))
	return s, nil
}

func (j *join) enter(ctx context.Context, id sessions.ID) (s sessions.Session, err error) {
	j.seal(id)
	err = j.Store.Update(ctx, id, nil, func(d *sessions.Draft) error {
		if !j.alive(&d.Session) {
			return errSessionEnded
		}
		j.meet(&d.Session)
		makeRoom(d, j.grant.Client)
		d.Put(j.grant)
		d.UseCode(j.grant.CodeHash, j.now().Add(usedCodeLife))
		s = d.Session
		return nil
	})
	return s, err
}

// seal puts the credential into the grant, readable there alone.
func (j *join) seal(id sessions.ID) {
	j.grant.Session = id
	j.grant.Credential = j.credentials.Seal([]byte(j.credential), grantName(&j.grant))
}

// grantName ties a sealed credential to its grant: moved to another, it does not
// open.
func grantName(g *sessions.Grant) []byte { return []byte(string(g.Session) + "/" + string(g.ID)) }

// meet tells a session of this login.
func (j *join) meet(s *sessions.Session) {
	now := j.now()
	if j.browser != "" && !slices.Contains(s.Browsers, j.browser) {
		s.Browsers = appendBounded(s.Browsers, j.browser)
	}
	s.Cookies = newest(s.Cookies, j.cookies)
	if l := j.login; l != nil {
		if l.SID != "" {
			named := sessions.UpstreamSession{Issuer: l.Issuer, SID: l.SID}
			if !slices.Contains(s.Upstream, named) {
				s.Upstream = appendBounded(s.Upstream, named)
			}
		}
		subject := sessions.Subject{Issuer: l.Issuer, Client: j.grant.Client, Sub: l.Subject}
		if !slices.Contains(s.Subjects, subject) {
			s.Subjects = append(s.Subjects, subject)
		}
		// Only a new login moves the start, never back. One in the future counts as now,
		// once: it is kept as it was told, to be known again; but where a login of today
		// comes after it, that one counts.
		at := l.AuthTime
		wrong := s.AuthTime.After(now) && !at.After(now) && at.After(s.Start)
		if at.After(s.AuthTime) || wrong {
			s.AuthTime = at
			if start := earlier(at, now); start.After(s.Start) {
				s.Start = start
			}
		}
	}
	s.Absolute = s.Start.Add(j.Absolute)
	s.LastUsed = now
	s.Idle = earlier(now.Add(j.Idle), s.Absolute)
}

// maxNames bounds the browsers and upstream sessions that a session keeps; the
// oldest go first.
const maxNames = 64

func appendBounded[T any](list []T, v T) []T {
	if len(list) >= maxNames {
		list = slices.Clone(list[1:])
	}
	return append(slices.Clip(list), v)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// makeRoom drops the grants of a client that were used longest ago, so that one
// more fits.
func makeRoom(d *sessions.Draft, client string) {
	grants := slices.DeleteFunc(d.Grants(), func(g sessions.Grant) bool { return g.Client != client })
	slices.SortFunc(grants, func(a, b sessions.Grant) int { return a.LastUsed.Compare(b.LastUsed) })
	for len(grants) >= maxGrants {
		d.Drop(grants[0].ID)
		grants = grants[1:]
	}
}
