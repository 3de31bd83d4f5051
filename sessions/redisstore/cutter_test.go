package redisstore

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cutter stands between a store and its server, and fails as networks do.
type cutter struct {
	l        net.Listener
	to       string
	down     atomic.Bool  // refuses, and cuts what is open
	silent   atomic.Bool  // takes everything and answers nothing
	swallow  atomic.Int32 // so many answers are lost, and their connections with them
	delay    atomic.Int64 // of each answer
	forget   atomic.Int64 // connections up to this one are forgotten without a word
	accepted atomic.Int64
	mu       sync.Mutex
	open     map[net.Conn]struct{}
	handling sync.WaitGroup
}

func newCutter(t testing.TB, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l, to: to, open: map[net.Conn]struct{}{}}
	c.handling.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.cut()
		c.silent.Store(false)
		c.handling.Wait()
	})
	return c
}

func (c *cutter) url() string { return "redis://" + c.l.Addr().String() }

func (c *cutter) accept() {
	for {
		in, err := c.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil || c.down.Load() {
			in.Close()
			if out != nil {
				out.Close()
			}
			continue
		}
		c.keep(in, out)
		n := c.accepted.Add(1)
		c.handling.Go(func() { c.pass(n, out, in, nil) })
		c.handling.Go(func() { c.pass(n, in, out, &c.swallow) })
	}
}

func (c *cutter) keep(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range conns {
		c.open[n] = struct{}{}
	}
}

// pass copies one way; answers are those that swallow counts.
func (c *cutter) pass(conn int64, to, from net.Conn, swallow *atomic.Int32) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		for c.silent.Load() && !c.down.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		if err == nil && conn <= c.forget.Load() {
			continue
		}
		if swallow != nil {
			time.Sleep(time.Duration(c.delay.Load()))
			if n > 0 && swallow.Load() > 0 && swallow.Add(-1) >= 0 {
				return
			}
		}
		if _, werr := to.Write(b[:n]); werr != nil || err != nil {
			return
		}
	}
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.open {
		n.Close()
	}
	clear(c.open)
}
