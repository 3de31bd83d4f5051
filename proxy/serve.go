package proxy

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// Server is the server of the public listener, with bounds on what a client may
// do before its request is known. Serve it on a [Listener].
func Server(handler http.Handler, logger *slog.Logger) *http.Server {
	s := newPublicServer(handler, logger)
	silent := &silentConns{open: map[net.Conn]struct{}{}}
	s.ConnState = silent.follow
	s.RegisterOnShutdown(silent.close)
	return s
}

// silentConns are connections that have sent nothing yet, as browsers open them
// ahead of need. Shutdown would wait for them for seconds.
type silentConns struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (s *silentConns) follow(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != http.StateNew {
		delete(s.open, c)
		return
	}
	s.open[c] = struct{}{}
}

func (s *silentConns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

// Listener makes the public listener of l: with TLS where a configuration is
// given, and with a check of each request's framing, so that what two servers
// could read in two ways is read by none.
func Listener(l net.Listener, c *tls.Config) net.Listener { return newIngress(l, c) }

// NewTransport is the way to the upstream: pooled, without compression of its
// own, without the environment's proxies. roots are nil for the system's.
var NewTransport = newTransport
