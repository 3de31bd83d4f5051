package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Bench says what an exchange costs a store: read the grant, take its lease,
// keep the rotated credential.
func Bench(b *testing.B, open Opener) {
	store := func(b *testing.B) (sessions.Store, []sessions.ID, []sessions.GrantID) {
		s := open(b, Config{Place: b.TempDir(), Now: time.Now})
		b.Cleanup(func() { _ = s.Close() })
		ids, grants := Fill(b, s, 10_000)
		return s, ids, grants
	}
	b.Run("grant", func(b *testing.B) {
		s, ids, grants := store(b)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i = (i + 7919) % len(ids)
			if _, _, err := s.Grant(b.Context(), ids[i], grants[i]); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("exchange/clients=%d", clients), func(b *testing.B) {
			s, ids, grants := store(b)
			var next atomic.Int64
			Clients(b, clients, func() error {
				i := int(next.Add(1)*7919) % len(ids)
				return Exchange(s, ids[i], grants[i])
			})
		})
	}
	benchNotes(b, open)
	b.Run("transaction", func(b *testing.B) {
		s := open(b, Config{Place: b.TempDir(), Now: time.Now})
		b.Cleanup(func() { _ = s.Close() })
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			if _, _, err := s.AddTransaction(b.Context(), newTransaction(time.Now(), n, "192.0.2.1/32")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchNotes is what the note of a login cookie costs: nearly none is dead.
func benchNotes(b *testing.B, open Opener) {
	const n = 1_000_000
	s := sync.OnceValue(func() sessions.Store { // only where it is asked for
		s := open(b, Config{Place: b.TempDir(), Now: time.Now})
		b.Cleanup(func() { _ = s.Close() })
		FillNotes(b, s, n)
		return s
	})
	for _, hit := range []bool{false, true} {
		b.Run(fmt.Sprintf("note/notes=%d/hit=%t", n, hit), func(b *testing.B) {
			s := s()
			keys := make([]string, 100_000)
			for i := range keys {
				keys[i] = noteName(i * 7919 % n)
				if !hit {
					keys[i] += " never"
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 1) % len(keys)
				if _, err := s.Note(b.Context(), sessions.NoteDeadCookie, keys[i]); (err == nil) != hit {
					b.Fatal(err)
				}
			}
		})
	}
}

func noteName(i int) string {
	return string(sessions.HashLoginCookie("KEYCLOAK_IDENTITY", fmt.Sprint(i)))
}

// FillNotes keeps n notes of dead login cookies.
func FillNotes(b *testing.B, s sessions.Store, n int) {
	b.Helper()
	const each = 200
	ids, _ := Fill(b, s, 8)
	now := time.Now()
	together(len(ids), func(c int) {
		for from := c * each; from < n; from += len(ids) * each {
			err := s.Update(context.Background(), ids[c], nil, func(d *sessions.Draft) error {
				for i := from; i < min(from+each, n); i++ {
					d.AddNote(sessions.Note{Kind: sessions.NoteDeadCookie, Key: noteName(i), At: now, Until: now.Add(400 * 24 * time.Hour)})
				}
				return nil
			})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// Fill makes n sessions with a grant each.
func Fill(b *testing.B, s sessions.Store, n int) (ids []sessions.ID, grants []sessions.GrantID) {
	b.Helper()
	var mu sync.Mutex
	now := time.Now()
	together(many, func(c int) {
		for i := c; i < n; i += many {
			ses, g := newSession(now, i), newGrant(now, i)
			g.Credential = make([]byte, 128)
			if err := s.Create(context.Background(), ses, g, now.Add(time.Minute)); err != nil {
				b.Error(err)
				return
			}
			mu.Lock()
			ids, grants = append(ids, ses.ID), append(grants, g.ID)
			mu.Unlock()
		}
	})
	return ids, grants
}

// Exchange is what an ORT exchange asks of a store.
func Exchange(s sessions.Store, id sessions.ID, grant sessions.GrantID) error {
	ctx := context.Background()
	if _, _, err := s.Grant(ctx, id, grant); err != nil {
		return err
	}
	l, _, g, err := s.LeaseGrant(ctx, id, grant)
	if err != nil {
		return err
	}
	defer l.Release()
	l.Last()
	rotated := slices.Clone(g.Credential)
	return s.Update(ctx, id, l, func(d *sessions.Draft) error {
		g, ok := d.Grant(grant)
		if !ok || d.Session.End != nil {
			return sessions.ErrNotFound
		}
		now := time.Now()
		g.Credential, g.LastUsed, g.Uses = rotated, now, g.Uses+1
		d.Put(g)
		d.Session.LastUsed, d.Session.Idle = now, now.Add(72*time.Hour)
		return nil
	})
}

// Clients runs f b.N times from as many clients at once.
func Clients(b *testing.B, clients int, f func() error) {
	b.Helper()
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	together(clients, func(int) {
		for left.Add(-1) >= 0 {
			if err := f(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
}
