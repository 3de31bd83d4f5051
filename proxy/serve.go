package proxy

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
)

// Server is the server of the public listener, with bounds on what a client may
// do before its request is known. Serve it on a [Listener].
func Server(handler http.Handler, logger *slog.Logger) *http.Server {
	return newPublicServer(handler, logger)
}

// Listener makes the public listener of l: with TLS where a configuration is
// given, and with a check of each request's framing, so that what two servers
// could read in two ways is read by none.
func Listener(l net.Listener, c *tls.Config) net.Listener { return newIngress(l, c) }

// NewTransport is the way to the upstream: pooled, without compression of its
// own, without the environment's proxies. roots are nil for the system's.
var NewTransport = newTransport
