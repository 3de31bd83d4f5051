package boltstore

import (
	"encoding/binary"
	"errors"
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

	indexSize = len(sessions.IndexKey{}) // bytes in front of a session's id in bucket i
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

// due is when the sweeper has something to do with a session.
func due(s *sessions.Session) uint64 { return millis(s.Due()) }

// indexEntry finds a session by one of its index keys.
func indexEntry(key sessions.IndexKey, id sessions.ID) []byte { return append(key[:], id...) }

// filedAt is the deadline in front of a stored session.
func filedAt(v []byte) uint64 { return binary.BigEndian.Uint64(v) }
