package redisstore

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Kinds of messages on the channel: kind, sender, what it is about.
const (
	changed = 's' // a session
	freed   = 'l' // a lease's key
	renewed = 'g' // a generation of nonces
)

func (s *Store) message(kind byte, about string) string {
	return string(rune(kind)) + s.me + about
}

// Watch signals after each change of a session, by whatever replica.
func (s *Store) Watch(id sessions.ID) (<-chan struct{}, func()) { return s.watches.Listen(id) }

// lookForSilence is after how long without a word a subscription is asked whether
// it lives; after as long again without an answer it is given up.
const lookForSilence = time.Second

// listen hears of what other replicas did, until the store is closed. What is said
// while nobody listens is lost, so everybody who watches reads again then.
func (s *Store) listen(ctx context.Context) {
	again := time.NewTicker(lookForSilence / 4)
	defer again.Stop()
	for first := true; ctx.Err() == nil; first = false {
		s.subscription(ctx, first)
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// subscription listens until the connection fails, or is silent to a question:
// one that a network has forgotten without a word never fails by itself.
func (s *Store) subscription(ctx context.Context, first bool) {
	sub := s.rdb.Subscribe(ctx, s.channel())
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { sub.Close() })()
	asked := false
	for {
		word, err := sub.ReceiveTimeout(ctx, lookForSilence)
		var silence net.Error
		switch {
		case err != nil && !asked && errors.As(err, &silence) && silence.Timeout():
			asked = true
			if sub.Ping(ctx) == nil {
				continue
			}
			return
		case err != nil:
			return
		}
		asked = false
		switch w := word.(type) {
		case *redis.Subscription:
			s.watches.SendAll()
			if !first {
				s.recent.doubt()
			}
			first = false
		case *redis.Message:
			s.hear(w.Payload)
		}
	}
}

// hear takes one message in. Its own are known already.
func (s *Store) hear(text string) {
	if len(text) < 1+len(s.me) || strings.HasPrefix(text[1:], s.me) {
		return
	}
	switch about := text[1+len(s.me):]; text[0] {
	case changed:
		s.watches.Send(sessions.ID(about))
		s.figures.stale()
	case freed:
		s.wakes.Send(about)
	case renewed:
		if r := s.replay.Load(); r != nil {
			r.learn(about)
		}
	}
}
