package sessions

import (
	"bytes"
	"errors"
	"slices"
)

// Errors of CheckChange.
var (
	errRenamed = errors.New("a session keeps its id")
	errRevived = errors.New("an ended session stays as it ended, but for its login cookies and what is settled")
	errDead    = errors.New("an ended session has no grants")
	errOwes    = errors.New("a session that lives owes nothing")
)

// CheckChange is for backends: what a change may not do to a session (was, is),
// with the grants that it puts.
func CheckChange(was, is *Session, put []Grant) error {
	switch {
	case is.ID != was.ID:
		return errRenamed
	case is.End == nil && len(is.Owed) > 0:
		return errOwes
	case is.End != nil && len(put) > 0:
		return errDead
	case was.End != nil && !onlySettled(was, is):
		return errRevived
	}
	return nil
}

// onlySettled says whether an ended session has changed in its login cookies
// alone, and in credentials that it owes no more.
func onlySettled(was, is *Session) bool {
	rest := *is
	rest.Cookies, rest.Owed = was.Cookies, was.Owed
	if !bytes.Equal(EncodeSession(&rest), EncodeSession(was)) {
		return false
	}
	owed := was.Owed
	for _, o := range is.Owed {
		i := slices.IndexFunc(owed, func(w Owed) bool { return sameOwed(w, o) })
		if i < 0 {
			return false
		}
		owed = owed[i+1:]
	}
	return true
}

func sameOwed(a, b Owed) bool {
	return a.Grant == b.Grant && a.Client == b.Client && a.Issuer == b.Issuer && bytes.Equal(a.Credential, b.Credential)
}

// Apart is for backends: a copy of a session that shares nothing with it that a
// caller may change in place.
func (s Session) Apart() Session {
	s.Browsers, s.Upstream, s.Subjects = slices.Clone(s.Browsers), slices.Clone(s.Upstream), slices.Clone(s.Subjects)
	s.Cookies, s.Owed = slices.Clone(s.Cookies), slices.Clone(s.Owed)
	if s.End != nil {
		end := *s.End
		s.End = &end
	}
	return s
}
