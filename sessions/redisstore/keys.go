package redisstore

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	shards  = 16 // of the lists of all sessions, each in a slot of its own
	maxName = 128

	fieldRevision = "r"
	fieldSession  = "s"
	fieldOutbox   = "o"
	fieldGrant    = "g" // then the grant's id

	revisionSize = 16
)

// validName says whether a name can be part of a key. Names are made by
// sessions.NewID and NewGrantID; braces would move a key to another slot.
func validName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsAny(name, "\x00{}")
}

func (s *Store) sessionKey(id sessions.ID) string { return s.prefix + "s:{" + string(id) + "}" }

// grantLeaseKey is in the slot of its session, so that a change and its lease are
// looked at in one step.
func (s *Store) grantLeaseKey(id sessions.ID, g sessions.GrantID) string {
	return s.prefix + "l:{" + string(id) + "}:" + string(g)
}

// leaseKey hashes: a lease's name may be any text.
func (s *Store) leaseKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return s.prefix + "l:{" + base64.RawURLEncoding.EncodeToString(sum[:16]) + "}"
}

func (s *Store) noteKey(kind sessions.NoteKind, hash sessions.NoteHash) string {
	return s.prefix + "n:" + string(rune(kind)) + base64.RawURLEncoding.EncodeToString(hash[:])
}

// list names one of the lists of all sessions: x those that live and y those that
// ended, by deadline; i all, o those that owe, by id.
func (s *Store) list(kind byte, shard int) string {
	return s.prefix + string(rune(kind)) + ":{" + strconv.Itoa(shard) + "}"
}

func (s *Store) listOf(kind byte, id sessions.ID) string { return s.list(kind, shardOf(id)) }

func shardOf(id sessions.ID) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % shards)
}

func (s *Store) waitingKey() string { return s.prefix + "w:{w}:" }
func (s *Store) replayKey() string  { return s.prefix + "p:{p}:" }
func (s *Store) metaKey() string    { return s.prefix + "meta" }
func (s *Store) readyKey() string   { return s.prefix + "ready" }
func (s *Store) sweepKey() string   { return s.prefix + "sweep" }
func (s *Store) channel() string    { return s.prefix + "changes" }

func (s *Store) indexKey(k sessions.IndexKey) string {
	return s.prefix + "f:" + string(rune(k[0])) + base64.RawURLEncoding.EncodeToString(k[1:])
}

// indexKeys are all keys that find a session.
func (s *Store) indexKeys(ses *sessions.Session) []string {
	keys := make([]string, 0, len(ses.Browsers)+len(ses.Upstream)+len(ses.Subjects)+len(ses.Cookies))
	for _, k := range ses.IndexKeys() {
		keys = append(keys, s.indexKey(k))
	}
	return keys
}

func millis(t time.Time) int64 { return max(0, t.UnixMilli()) }

// due is when the sweeper has something to do with a session.
func due(s *sessions.Session) int64 { return millis(s.Due()) }

// newToken is a name that nothing else has: 96 random bits.
func newToken() string {
	var b [12]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hexOf(b [32]byte) string { return hex.EncodeToString(b[:]) }

// The time that keys outlive what is in them: what stands in them is judged by the
// gateway's clock, and Redis only sweeps up what no gateway has.
const (
	slackSession = 24 * time.Hour // the sweeper tells of ends, so it comes first
	slackOther   = time.Hour
)

// ttl is the life of a key that is needed until a moment, in ms.
func (s *Store) ttl(until time.Time, slack time.Duration) int64 {
	return max(0, until.Sub(s.now()).Milliseconds()) + slack.Milliseconds()
}
