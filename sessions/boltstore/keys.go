package boltstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

var (
	bucketMeta     = []byte("meta")
	bucketSessions = []byte("s")
	bucketIndex    = []byte("i")
	bucketDue      = []byte("d")
	bucketWaiting  = []byte("w")
	bucketNotes    = []byte("n")
	bucketNotesDue = []byte("e")
	bucketOwing    = []byte("o")
	buckets        = [][]byte{bucketMeta, bucketSessions, bucketIndex, bucketDue, bucketWaiting, bucketNotes, bucketNotesDue, bucketOwing}

	keyFormat    = []byte("format")
	keyReady     = []byte("ready")
	keyImporting = []byte("importing") // an import is under way, or was left in the middle
)

// bucketsOf are the buckets that a format has.
func bucketsOf(version int) [][]byte {
	if version == 1 {
		return buckets[:5]
	}
	return buckets
}

const (
	waitingTransaction = 't'
	waitingCode        = 'c'
	waitingTie         = 'r'

	indexHash = 16 // bytes of the hash in an index key
	maxName   = 128
)

var errName = errors.New("a session's or grant's name is empty, too long or has a zero byte")

// validName says whether a name can be part of a key. Names are made by
// sessions.NewID and NewGrantID; this keeps a key from meaning two records.
func validName(name string) bool {
	return name != "" && len(name) <= maxName && strings.IndexByte(name, 0) < 0
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func sessionKey(id sessions.ID) []byte { return []byte(id) }

func grantPrefix(id sessions.ID) []byte {
	return append(append(make([]byte, 0, len(id)+1+32), id...), 0)
}

func grantKey(id sessions.ID, g sessions.GrantID) []byte { return append(grantPrefix(id), g...) }

// dueKey orders by time. Times before 1970 count as 1970: long past.
func dueKey(ms uint64, id sessions.ID) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(id)), ms), id...)
}

func millis(t time.Time) uint64 { return uint64(max(0, t.UnixMilli())) }

// deadline is when the sweeper has something to do with a session.
func deadline(s *sessions.Session) uint64 {
	if s.End == nil && s.Idle.Before(s.Absolute) {
		return millis(s.Idle)
	}
	return millis(s.Absolute)
}

// finderPrefix begins the index keys of whatever the finder names; kind and
// hash keep their length, so no value can pose as another. A hash that two
// values shared would do no harm: Find reads the session to be sure.
func finderPrefix(by sessions.Finder) ([]byte, bool) {
	switch {
	case by.Browser != "":
		return indexPrefix('b', string(by.Browser)), true
	case by.Upstream != (sessions.UpstreamSession{}):
		return indexPrefix('u', by.Upstream.Issuer, by.Upstream.SID), true
	case by.Subject != "":
		return indexPrefix('s', by.Subject), true
	case by.Cookie != "":
		return indexPrefix('c', string(by.Cookie)), true
	}
	return nil, false
}

func indexPrefix(kind byte, parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	key := make([]byte, 0, 1+sha256.Size+32)
	key = h.Sum(append(key, kind))
	return key[:1+indexHash]
}

// indexKeys are all index entries of a session, as a set: two clients may know
// the user by the same subject.
func indexKeys(s *sessions.Session) map[string]struct{} {
	keys := make(map[string]struct{}, len(s.Browsers)+len(s.Upstream)+len(s.Subjects)+len(s.Cookies))
	add := func(by sessions.Finder) {
		if prefix, ok := finderPrefix(by); ok {
			keys[string(prefix)+string(s.ID)] = struct{}{}
		}
	}
	for _, b := range s.Browsers {
		add(sessions.Finder{Browser: b})
	}
	for _, u := range s.Upstream {
		add(sessions.Finder{Upstream: u})
	}
	for _, u := range s.Subjects {
		add(sessions.Finder{Subject: u.Sub})
	}
	for _, c := range s.Cookies {
		add(sessions.Finder{Cookie: c})
	}
	return keys
}

// found says whether a session is what a finder asks for.
func found(s *sessions.Session, by sessions.Finder) bool {
	switch {
	case by.Browser != "":
		return slices.Contains(s.Browsers, by.Browser)
	case by.Upstream != (sessions.UpstreamSession{}):
		return slices.Contains(s.Upstream, by.Upstream)
	case by.Cookie != "":
		return slices.Contains(s.Cookies, by.Cookie)
	}
	return slices.ContainsFunc(s.Subjects, func(u sessions.Subject) bool { return u.Sub == by.Subject })
}

// filedAt is the deadline in front of a stored session.
func filedAt(v []byte) uint64 { return binary.BigEndian.Uint64(v) }
