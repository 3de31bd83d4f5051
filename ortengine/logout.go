package ortengine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// logoutMemory is how long a logout that began at the end-session endpoint may
// take until the upstream has ended the login: its confirmation page waits for
// the user.
const logoutMemory = 10 * time.Minute

// LogoutBegan marks the sessions that a logout request is about: those of the
// browser that sent it and of the login cookies that came with it. An
// id_token_hint marks none: anybody may send one that he has once seen.
func (e *Engine) LogoutBegan(ctx context.Context, places []string, b sessions.BrowserID, cookies []sessions.CookieHash) error {
	now := e.now()
	living, err := e.livingOf(ctx, places, b, cookies)
	if err != nil {
		return err
	}
	for _, s := range living {
		_, err := e.Store.AddNote(ctx, sessions.Note{Kind: sessions.NoteLogoutMark, Key: string(s.ID), At: now, Until: now.Add(logoutMemory)})
		if err != nil {
			return storeDown(err)
		}
	}
	return nil
}

// livingOf are the living sessions of a browser at some places (nil: at any), and
// those that have had one of the login cookies.
func (e *Engine) livingOf(ctx context.Context, places []string, b sessions.BrowserID, cookies []sessions.CookieHash) (living []sessions.Session, err error) {
	finders := make([]sessions.Finder, 0, len(cookies)+1)
	if b != "" {
		finders = append(finders, sessions.Finder{Browser: b})
	}
	for _, c := range cookies {
		finders = append(finders, sessions.Finder{Cookie: c})
	}
	for _, f := range finders {
		found, err := e.Store.Find(ctx, f)
		if err != nil {
			return nil, storeDown(err)
		}
		for _, s := range found {
			known := slices.ContainsFunc(living, func(o sessions.Session) bool { return o.ID == s.ID })
			if s.End == nil && (places == nil || slices.Contains(places, s.Place)) && !known {
				living = append(living, s)
			}
		}
	}
	return living, nil
}

// CookiesExpired ends the sessions whose login cookies an answer expired and did
// not replace: those that a logout has marked, or every one of them where the
// request was for the end-session endpoint or below it. Where they are nobody's,
// they are those of the browser's marked sessions of which no cookie was seen: the
// redirect with their code was none.
func (e *Engine) CookiesExpired(ctx context.Context, b sessions.BrowserID, sent []sessions.CookieHash, atEndSession bool) error {
	if atEndSession {
		e.renewals.note(sent, nil, e.now()) // a code of theirs may be on its way
	}
	living, err := e.livingOf(ctx, nil, "", sent)
	if err == nil && len(living) == 0 && b != "" {
		atEndSession = false
		living, err = e.livingOf(ctx, nil, b, nil)
		living = slices.DeleteFunc(living, func(s sessions.Session) bool { return len(s.Cookies) > 0 })
	}
	if err != nil {
		return err
	}
	for _, s := range living {
		if !atEndSession {
			_, err := e.Store.Note(ctx, sessions.NoteLogoutMark, string(s.ID))
			if errors.Is(err, sessions.ErrNotFound) {
				continue
			} else if err != nil {
				return storeDown(err)
			}
		}
		if err := e.endSignOn(ctx, s.ID, sessions.EndLogout); err != nil {
			return storeDown(err)
		}
	}
	return nil
}

// Hint is what a verified id_token_hint says; its SID may be empty.
type Hint struct{ Issuer, Subject, SID string }

// LogoutRedirected ends the sessions of a browser whose logout request the
// upstream answered with a redirect to the client at once: where a verified hint
// is of that session, or where neither a hint nor a login cookie went up, for
// then the upstream knows no login here any more.
func (e *Engine) LogoutRedirected(ctx context.Context, places []string, b sessions.BrowserID, cookies []sessions.CookieHash, hint *Hint, hinted bool) error {
	if hinted && hint == nil || !hinted && len(cookies) > 0 {
		return nil
	}
	living, err := e.livingOf(ctx, places, b, cookies)
	if err != nil {
		return err
	}
	for _, s := range living {
		if hint != nil && !hint.of(&s) {
			continue
		}
		if err := e.endSignOn(ctx, s.ID, sessions.EndLogout); err != nil {
			return storeDown(err)
		}
	}
	return nil
}

// of says whether a hint is of a session's user, and login where it names one.
func (h *Hint) of(s *sessions.Session) bool {
	if h.SID != "" && !slices.Contains(s.Upstream, sessions.UpstreamSession{Issuer: h.Issuer, SID: h.SID}) {
		return false
	}
	return hasSubject(s, h.Issuer, h.Subject)
}

func hasSubject(s *sessions.Session, issuer, subject string) bool {
	return slices.ContainsFunc(s.Subjects, func(k sessions.Subject) bool { return k.Issuer == issuer && k.Sub == subject })
}

// LogoutToken is a back-channel logout token whose signature and form were
// checked (OIDC Back-Channel Logout 1.0 section 2.6).
type LogoutToken struct {
	Issuer    string
	Place     string // where that issuer's users log in
	Audiences []string
	Subject   string
	SID       string
	ID        string // jti
	IssuedAt  time.Time
	Expires   time.Time // until when the token could come again
}

// endsAtOnce is how many sessions end at a time: their writes share commits.
const endsAtOnce = 64

// LoggedOut ends the sessions that a logout token names, by its sid where it has
// one, else by its subject. Unknown or ended ones are no error.
func (e *Engine) LoggedOut(ctx context.Context, t LogoutToken) error {
	named, err := e.named(ctx, &t)
	if err != nil {
		return err
	}
	if err := e.checkAudience(ctx, &t, named); err != nil {
		return err
	}
	tokenNote := sessions.NoteKey(t.Issuer, t.ID)
	switch _, err := e.Store.Note(ctx, sessions.NoteLogoutToken, tokenNote); {
	case err == nil:
		return &Error{Status: 400, Code: InvalidRequest, Description: "This logout token was used before", Result: "other"}
	case !errors.Is(err, sessions.ErrNotFound):
		return storeDown(err)
	}
	if err := e.noteLoggedOut(ctx, &t); err != nil {
		return storeDown(err)
	}
	if err := e.endNamed(ctx, &t, named); err != nil {
		return storeDown(err)
	}
	if _, err := e.Store.AddNote(ctx, sessions.Note{Kind: sessions.NoteLogoutToken, Key: tokenNote, At: e.now(), Until: t.Expires}); err != nil {
		return storeDown(err)
	}
	return nil
}

// named are the sessions that a token names, ended ones too. A subject beside a
// sid must be the session's.
func (e *Engine) named(ctx context.Context, t *LogoutToken) ([]sessions.Session, error) {
	by := sessions.Finder{Subject: t.Subject}
	if t.SID != "" {
		by = sessions.Finder{Upstream: sessions.UpstreamSession{Issuer: t.Issuer, SID: t.SID}}
	}
	found, err := e.Store.Find(ctx, by)
	if err != nil {
		return nil, storeDown(err)
	}
	if t.SID == "" {
		return slices.DeleteFunc(found, func(s sessions.Session) bool { return !hasSubject(&s, t.Issuer, t.Subject) }), nil
	}
	if t.Subject != "" && len(found) > 0 && !slices.ContainsFunc(found, func(s sessions.Session) bool { return hasSubject(&s, t.Issuer, t.Subject) }) {
		return nil, &Error{Status: 400, Code: InvalidRequest, Description: "sub is not the subject of this sid", Result: "other"}
	}
	return found, nil
}

// checkAudience refuses a token for clients that never came by here.
func (e *Engine) checkAudience(ctx context.Context, t *LogoutToken, named []sessions.Session) error {
	for _, client := range t.Audiences {
		for _, s := range named {
			if slices.ContainsFunc(s.Subjects, func(k sessions.Subject) bool { return k.Client == client }) {
				return nil
			}
		}
		known, err := e.knows(ctx, t.Issuer, client)
		if err != nil {
			return storeDown(err)
		}
		if known {
			return nil
		}
	}
	return &Error{Status: 400, Code: InvalidRequest, Description: "aud names no client of this gateway", Result: "other"}
}

// meetClient notes that a client holds a grant, once.
func (e *Engine) meetClient(ctx context.Context, issuer, client string) {
	key := sessions.NoteKey(issuer, client)
	if _, met := e.met.LoadOrStore(key, true); met {
		return
	}
	now := e.now()
	if _, err := e.Store.AddNote(ctx, sessions.Note{Kind: sessions.NoteClient, Key: key, At: now, Until: now.Add(deadCookieLife)}); err != nil {
		e.met.Delete(key)
	}
}

// knows says whether a client holds or held a grant, or waits for a code.
func (e *Engine) knows(ctx context.Context, issuer, client string) (bool, error) {
	_, err := e.Store.Note(ctx, sessions.NoteClient, sessions.NoteKey(issuer, client))
	if errors.Is(err, sessions.ErrNotFound) {
		return e.Store.Waits(ctx, client)
	}
	return err == nil, err
}

// noteLoggedOut lets a code exchange that is under way know (join.loggedOut).
func (e *Engine) noteLoggedOut(ctx context.Context, t *LogoutToken) error {
	now := e.now()
	n := sessions.Note{Kind: sessions.NoteEndedSID, Key: sessions.NoteKey(t.Issuer, t.SID), At: now, Until: now.Add(endedMemory)}
	if t.SID == "" {
		n.Kind, n.Key = sessions.NoteEndedSubject, sessions.NoteKey(t.Issuer, t.Subject)
	}
	_, err := e.Store.AddNote(ctx, n)
	return err
}

// endNamed ends those that began before the token was made: a sid may be used
// again by a later login.
func (e *Engine) endNamed(ctx context.Context, t *LogoutToken, named []sessions.Session) error {
	var ids []sessions.ID
	for _, s := range named {
		if s.End == nil && !beganAfter(&s, t.IssuedAt) {
			ids = append(ids, s.ID)
		}
	}
	_, err := e.endEach(ctx, ids, sessions.EndBackchannelLogout)
	return err
}

// clockSkew is how far the upstream's clock may be from ours.
const clockSkew = time.Minute

// beganAfter says whether a session's login is newer than a moment by the
// upstream's clock. An auth_time in the future makes no login newer.
func beganAfter(s *sessions.Session, at time.Time) bool {
	if s.AuthTime.IsZero() {
		return s.Created.After(at.Add(clockSkew))
	}
	return s.Start.After(at)
}

// loggedOut says whether a logout token came for this login after its code left
// the upstream.
func (j *join) loggedOut(ctx context.Context) (bool, error) {
	if j.login == nil {
		return false, nil
	}
	left := j.left()
	for _, n := range []struct {
		kind sessions.NoteKind
		name string
	}{{sessions.NoteEndedSID, j.login.SID}, {sessions.NoteEndedSubject, j.login.Subject}} {
		if n.name == "" {
			continue
		}
		note, err := j.Store.Note(ctx, n.kind, sessions.NoteKey(j.login.Issuer, n.name))
		if errors.Is(err, sessions.ErrNotFound) {
			continue
		} else if err != nil {
			return false, err
		}
		if !left.IsZero() && !left.After(note.At) {
			return true, nil
		}
	}
	return false, nil
}
