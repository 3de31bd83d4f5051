package boltstore

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

func BenchmarkStore(b *testing.B) { storetest.Bench(b, open) }

// floorRecord is what the yardstick keeps of a session: the least that an
// exchange has to read and write.
type floorRecord struct {
	ClientID, JKT, Sub, UpstreamToken, Scope string
	Created, LastUsed, Uses                  int64
}

// floor is the yardstick's store: JSON records in one bucket, one writer, group
// commit.
type floor struct {
	db     *bolt.DB
	writes chan floorWrite
}

type floorWrite struct {
	key, raw []byte
	done     chan error
}

func newFloor(b *testing.B, n int) (*floor, [][]byte) {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "floor.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	f := &floor{db: db, writes: make(chan floorWrite, 1024)}
	keys := make([][]byte, n)
	err = db.Update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucket([]byte("sessions"))
		for i := range keys {
			hash := sessions.HashCode(fmt.Sprint(i))
			keys[i] = hash[:]
			raw, _ := json.Marshal(floorRecord{
				ClientID: "spa", JKT: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", Sub: fmt.Sprint("user", i),
				UpstreamToken: string(make([]byte, 0, 128)) + fmt.Sprintf("%0128d", i), Scope: "openid profile",
			})
			if err == nil {
				err = bucket.Put(keys[i], raw)
			}
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	go f.loop()
	b.Cleanup(func() { close(f.writes); _ = db.Close() })
	return f, keys
}

func (f *floor) loop() {
	for first := range f.writes {
		group := []floorWrite{first}
		for more := true; more && len(group) < 1000; {
			select {
			case w, ok := <-f.writes:
				if more = ok; ok {
					group = append(group, w)
				}
			default:
				more = false
			}
		}
		err := f.db.Update(func(tx *bolt.Tx) error {
			for _, w := range group {
				if err := tx.Bucket([]byte("sessions")).Put(w.key, w.raw); err != nil {
					return err
				}
			}
			return nil
		})
		for _, w := range group {
			w.done <- err
		}
	}
}

func (f *floor) exchange(key []byte) error {
	var r floorRecord
	err := f.db.View(func(tx *bolt.Tx) error { return json.Unmarshal(tx.Bucket([]byte("sessions")).Get(key), &r) })
	if err != nil {
		return err
	}
	r.Uses++
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	w := floorWrite{key, raw, make(chan error, 1)}
	f.writes <- w
	return <-w.done
}

func BenchmarkFloor(b *testing.B) {
	const n = 10_000
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("exchange/clients=%d", clients), func(b *testing.B) {
			f, keys := newFloor(b, n)
			var next atomic.Int64
			storetest.Clients(b, clients, func() error { return f.exchange(keys[int(next.Add(1)*7919)%n]) })
		})
	}
}

// BenchmarkWaiting says what a waiting transaction costs in memory.
func BenchmarkWaiting(b *testing.B) {
	for _, name := range []string{"one address", "an address each"} {
		b.Run(name, func(b *testing.B) {
			m := newMemory(1 << 30)
			now := time.Now()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			n := 0
			for b.Loop() {
				t := waitingTransaction1(now, n)
				if name != "one address" {
					t.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32)
				}
				n++
				if _, _, err := m.addTransaction(t, now); err != nil {
					b.Fatal(err)
				}
			}
			m.flush(1 << 30)
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "heap-B/transaction")
			runtime.KeepAlive(m)
		})
	}
}

func waitingTransaction1(now time.Time, n int) sessions.Transaction {
	return sessions.Transaction{
		Key: sessions.KeyOfChallenge("S256", fmt.Sprint(n)), Place: "https://id.example.com/realms/main/protocol/openid-connect/auth",
		Client: "web-app", Scope: "openid profile email online_access", Audiences: []string{"https://api.example.com"},
		Thumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", KeyID: "k1", Browser: sessions.BrowserOf("x"),
		Address: netip.MustParsePrefix("192.0.2.1/32"), Created: now, Until: now.Add(24 * time.Hour),
	}
}

// BenchmarkFlood is what a transaction costs where each pushes another out.
func BenchmarkFlood(b *testing.B) {
	m := newMemory(200_000)
	now := time.Now()
	for i := range b.N + 200_000 {
		if i == 200_000 {
			b.ResetTimer()
		}
		t := waitingTransaction1(now, i)
		t.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(i * 7)}), 32)
		if _, _, err := m.addTransaction(t, now); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 0 {
			m.flush(1000)
		}
	}
}

// BenchmarkSweepBeside is an exchange's time while a sweep ends sessions.
func BenchmarkSweepBeside(b *testing.B) {
	s, err := Open(Config{Path: filepath.Join(b.TempDir(), fileName)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 300 {
				ses := sessions.Session{ID: sessions.NewID(), Idle: now.Add(time.Minute), Absolute: now.Add(time.Hour), Browsers: []sessions.BrowserID{sessions.BrowserOf(string(sessions.NewID()))}}
				if err := s.Create(b.Context(), ses, sessions.Grant{ID: sessions.NewGrantID(), Credential: make([]byte, 128)}, time.Time{}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	ids, grants := storetest.Fill(b, s, 1000)
	stop := make(chan struct{})
	var swept atomic.Int64
	all.Go(func() {
		for at := now.Add(2 * time.Minute); ; at = at.Add(time.Minute) {
			select {
			case <-stop:
				return
			default:
			}
			out, err := s.Sweep(context.Background(), at, 1000)
			if err != nil {
				b.Error(err)
			}
			swept.Add(int64(len(out.Ended) + out.Removed))
		}
	})
	var next atomic.Int64
	storetest.Clients(b, 64, func() error {
		i := int(next.Add(1)) % len(ids)
		return storetest.Exchange(s, ids[i], grants[i])
	})
	close(stop)
	all.Wait()
	b.ReportMetric(float64(swept.Load()), "swept")
}
