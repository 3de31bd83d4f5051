package sessions

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Finder names what sessions are found by; one field is set.
type Finder struct {
	Browser  BrowserID
	Upstream UpstreamSession
	Subject  string // as any client knows it
	Cookie   CookieHash
}

// Finds says whether a session is what the finder asks for.
func (by Finder) Finds(s *Session) bool {
	switch {
	case by.Browser != "":
		return slices.Contains(s.Browsers, by.Browser)
	case by.Upstream != (UpstreamSession{}):
		return slices.Contains(s.Upstream, by.Upstream)
	case by.Cookie != "":
		return slices.Contains(s.Cookies, by.Cookie)
	}
	return slices.ContainsFunc(s.Subjects, func(u Subject) bool { return u.Sub == by.Subject })
}

// IndexKey is for backends: the kind of a finder, and a hash of its value. Both
// keep their length, so no value can pose as another. A hash that two values
// shared would do no harm: who finds a session by it asks Finds.
type IndexKey [17]byte

// IndexKey is the finder's; false: it asks for nothing.
func (by Finder) IndexKey() (key IndexKey, ok bool) {
	switch {
	case by.Browser != "":
		return indexKey('b', string(by.Browser)), true
	case by.Upstream != (UpstreamSession{}):
		return indexKey('u', by.Upstream.Issuer, by.Upstream.SID), true
	case by.Subject != "":
		return indexKey('s', by.Subject), true
	case by.Cookie != "":
		return indexKey('c', string(by.Cookie)), true
	}
	return IndexKey{}, false
}

func indexKey(kind byte, parts ...string) (key IndexKey) {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	key[0] = kind
	copy(key[1:], h.Sum(nil))
	return key
}

// IndexKeys are those that find a session, in their order and each once: two
// clients may know the user by the same subject.
func (s *Session) IndexKeys() []IndexKey {
	keys := make([]IndexKey, 0, len(s.Browsers)+len(s.Upstream)+len(s.Subjects)+len(s.Cookies))
	add := func(by Finder) {
		if key, ok := by.IndexKey(); ok {
			keys = append(keys, key)
		}
	}
	for _, b := range s.Browsers {
		add(Finder{Browser: b})
	}
	for _, u := range s.Upstream {
		add(Finder{Upstream: u})
	}
	for _, u := range s.Subjects {
		add(Finder{Subject: u.Sub})
	}
	for _, c := range s.Cookies {
		add(Finder{Cookie: c})
	}
	slices.SortFunc(keys, func(a, b IndexKey) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(keys)
}
