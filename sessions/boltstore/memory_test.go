package boltstore

import (
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// TestMemoryBounded floods a store whose disk takes nothing: whatever strangers
// can cause stays bounded.
func TestMemoryBounded(t *testing.T) {
	const limit = 100
	m := newMemory(limit)
	now := time.Now()
	for i := range 20_000 {
		hash := sessions.HashCode(string(rune(i)))
		tx := waitingTransaction1(now, i)
		if _, _, err := m.addTransaction(tx, now); err != nil {
			t.Fatal(err)
		}
		m.tie(sessions.RequestURIHash(hash), tx.Key, now.Add(time.Hour))
		m.addCode(sessions.Code{Hash: hash, Until: now.Add(time.Hour)}, now)
		if i%100 == 0 {
			m.unflushed(m.flush(maxFlush))
		}
	}
	for what, n := range map[string]int{
		"transactions": len(m.transactions.items), "deadlines": len(m.transactions.byTime.items), "addresses": len(m.addresses),
		"ties": len(m.ties.items), "codes": len(m.seen.items),
	} {
		if n > limit {
			t.Errorf("%d %s, limit %d", n, what, limit)
		}
	}
	if n := len(m.unwritten.order) + len(m.unwritten.transactions) + len(m.unwritten.others); n > 10*limit+3*maxFlush {
		t.Errorf("%d records wait to be written", n)
	}
	m.expire(now.Add(48*time.Hour), 1<<20)
	if n := len(m.transactions.items) + len(m.addresses) + len(m.most.items) + len(m.ties.items) + len(m.seen.items); n != 0 {
		t.Errorf("%d records are kept after their time", n)
	}
}

// TestExchangedWhileFlushing: what is seen of a code while its exchange commits
// is merged, never lost to it, and the mark never to what is written behind.
func TestExchangedWhileFlushing(t *testing.T) {
	m := newMemory(10)
	now := time.Now()
	hash := sessions.HashCode("c")
	m.exchanged(sessions.Code{Hash: hash, Exchanged: true, Until: exact(now.Add(time.Minute))}, now)
	if n := m.waits(); n != 0 {
		t.Errorf("a mark that is on the disk waits to be written (%d)", n)
	}
	m.addCode(sessions.Code{Hash: hash, Browser: "b", Until: exact(now.Add(time.Second))}, now)
	f := m.flush(10)
	got, err := sessions.DecodeCode(f.writes[0].value)
	want := sessions.Code{Hash: hash, Browser: "b", Exchanged: true, Until: exact(now.Add(time.Minute))}
	if err != nil || !sameCode(got, want) {
		t.Errorf("got %+v, error %v, want %+v", got, err, want)
	}
}
