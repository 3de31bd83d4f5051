package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// opTimeout bounds one operation with all that is tried again in it.
const opTimeout = 5 * time.Second

var (
	errSlow     = errors.New("no answer in time")
	errMaster   = errors.New("the Sentinels know no master of the URL's master_name")
	errReplicas = errors.New("fewer replicas than wait_replicas have the change")
)

// call is one script to be run.
type call struct {
	script *script
	keys   []string
	args   []any
}

func (s *Store) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, opTimeout)
}

// through is for what is seen through although its caller leaves.
func (s *Store) through(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
}

// run runs a script. Redis knows it by its hash, but for the first time.
func (s *Store) run(ctx context.Context, c call) (any, error) {
	cmd := s.rdb.EvalSha(ctx, c.script.Hash(), c.keys, c.args...)
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		cmd = s.rdb.Eval(ctx, c.script.source(), c.keys, c.args...)
	}
	return cmd.Val(), cmd.Err()
}

// runAll runs scripts that do not depend on each other, in one round trip.
func (s *Store) runAll(ctx context.Context, calls []call) ([]any, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	if len(calls) == 1 {
		v, err := s.run(ctx, calls[0])
		return []any{v}, err
	}
	return s.runOn(ctx, s.rdb.Pipeline, calls)
}

func (s *Store) runOn(ctx context.Context, pipeline func() redis.Pipeliner, calls []call) ([]any, error) {
	out, cmds := make([]any, len(calls)), make([]*redis.Cmd, len(calls))
	pipe := pipeline()
	for i, c := range calls {
		cmds[i] = pipe.EvalSha(ctx, c.script.Hash(), c.keys, c.args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	again := pipeline()
	for i, c := range calls {
		if redis.HasErrorPrefix(cmds[i].Err(), "NOSCRIPT") {
			cmds[i] = again.Eval(ctx, c.script.source(), c.keys, c.args...)
		}
	}
	if again.Len() > 0 {
		_, _ = again.Exec(ctx)
	}
	for i, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return nil, err
		}
		out[i] = cmd.Val()
	}
	return out, nil
}

// durable runs a script whose outcome is acknowledged: where wait_replicas asks
// for it, only when so many copies have it.
func (s *Store) durable(ctx context.Context, c call) (any, error) {
	if s.wait == 0 {
		return s.run(ctx, c)
	}
	node, err := s.nodeOf(ctx, c.keys[0])
	if err != nil {
		return nil, err
	}
	cmd, copies := s.waited(ctx, node, func(p redis.Pipeliner) *redis.Cmd {
		return p.EvalSha(ctx, c.script.Hash(), c.keys, c.args...)
	})
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		cmd, copies = s.waited(ctx, node, func(p redis.Pipeliner) *redis.Cmd {
			return p.Eval(ctx, c.script.source(), c.keys, c.args...)
		})
	}
	switch {
	case cmd.Err() != nil:
		return nil, cmd.Err()
	case copies.Err() != nil:
		return nil, copies.Err()
	}
	if n, _ := copies.Val().(int64); int(n) < s.wait {
		return nil, fmt.Errorf("%w (%d of %d)", errReplicas, n, s.wait)
	}
	return cmd.Val(), nil
}

// waited sends a command and WAIT over one connection: WAIT counts what that one
// has written.
func (s *Store) waited(ctx context.Context, node *redis.Client, f func(redis.Pipeliner) *redis.Cmd) (cmd, copies *redis.Cmd) {
	p := node.Pipeline()
	cmd = f(p)
	copies = p.Do(ctx, "wait", s.wait, waitFor.Milliseconds())
	_, _ = p.Exec(ctx)
	return cmd, copies
}

// waitFor is how long replicas may take to acknowledge.
const waitFor = time.Second

func (s *Store) nodeOf(ctx context.Context, key string) (*redis.Client, error) {
	switch c := s.rdb.(type) {
	case *redis.Client:
		return c, nil
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, key)
	}
	return nil, fmt.Errorf("%T has no nodes", s.rdb)
}

// masters calls f with each node that holds data.
func (s *Store) masters(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	switch c := s.rdb.(type) {
	case *redis.Client:
		return f(ctx, c)
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	}
	return fmt.Errorf("%T has no nodes", s.rdb)
}

// fault is an error of Redis as the store tells it: the caller's own context, a
// closed store, or unknown. It is never "not found".
func (s *Store) fault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-s.closing:
		return sessions.ErrClosed
	default:
	}
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		// Not the caller's deadline: it must not look like it.
		return fmt.Errorf("asking Redis: %w", errSlow)
	}
	return fmt.Errorf("asking Redis: %w", plain(err))
}

// plain is an error of Redis on one line.
func plain(err error) error {
	if text := err.Error(); strings.Contains(text, "all sentinels") && strings.HasSuffix(text, redis.Nil.Error()) {
		return errMaster // they answered, with nothing
	}
	if text := err.Error(); strings.ContainsAny(text, "\r\n") {
		return errors.New(strings.Join(strings.Fields(text), " "))
	}
	return err
}
