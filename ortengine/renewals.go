package ortengine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// maxRenewals bounds the renewals that are remembered: strangers can cause some.
const maxRenewals = 10_000

// renewals remember for a moment which login cookies took the place of which, and
// which a logout expired. A session is known by its cookies only once its code was
// exchanged: what another page of the browser does to them while the code is on its
// way would be missed. They are in this process alone, as long as a code may be.
type renewals struct {
	mu    sync.Mutex
	next  map[sessions.CookieHash]*renewal
	order []sessions.CookieHash // the oldest first
}

type renewal struct {
	by   []sessions.CookieHash
	at   time.Time // of the newest
	over time.Time // when a logout expired it, zero: none did
}

// note says what took the place of some cookies; nothing: a logout expired them.
func (r *renewals) note(sent, set []sessions.CookieHash, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = map[sessions.CookieHash]*renewal{}
	}
	for _, old := range sent {
		n := r.next[old]
		if n == nil {
			for len(r.order) >= maxRenewals {
				delete(r.next, r.order[0])
				r.order = r.order[1:]
			}
			n = &renewal{}
			r.next[old], r.order = n, append(r.order, old)
		}
		if len(set) == 0 {
			n.over = now
			continue
		}
		n.by, n.at = newest(n.by, set), now
	}
}

// overSince says whether a logout expired one of some cookies, or of what took
// their place, not before a moment.
func (r *renewals) overSince(cookies []sessions.CookieHash, at, now time.Time) bool {
	all := append(r.of(cookies, now), cookies...)
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(all, func(c sessions.CookieHash) bool {
		n := r.next[c]
		return n != nil && !n.over.Before(at)
	})
}

// of are all that took the place of some cookies since, the newest last.
func (r *renewals) of(cookies []sessions.CookieHash, now time.Time) (later []sessions.CookieHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(cookies)
	for i := 0; i < len(all) && i < maxCookies*maxCookies; i++ {
		n := r.next[all[i]]
		if n == nil || now.Sub(n.at) > endedMemory {
			continue
		}
		for _, c := range n.by {
			if !slices.Contains(all, c) {
				all, later = append(all, c), append(later, c)
			}
		}
	}
	return later
}

// renewed gives a session the cookies that took the place of its login's while its
// code was under way.
func (j *join) renewed(ctx context.Context, s *sessions.Session) error {
	later := j.renewals.of(j.cookies, j.now())
	if len(later) == 0 {
		return nil
	}
	return j.renew(ctx, s.ID, later)
}
