package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/ort-demo/idp"
)

// options come from the command line.
type options struct {
	idle, absolute time.Duration
	data           string
	fixedPorts     bool // take the friendly ports where they are free
}

// world is everything that the demo runs.
type world struct {
	options options
	origin  string // of the gateway: the public face of the identity provider
	admin   string // of the gateway's admin listener
	idpURL  string // where the identity provider itself listens
	idp     *idp.Provider
	gateway *gateway
	stopIdP func() // ends the identity provider alone; twice is fine
	apps    []*demoApp
	panel   *panel
	closers []func()
}

// startWorld starts the identity provider, the gateway and the apps, and
// returns when all of them answer.
func startWorld(ctx context.Context, o options) (_ *world, err error) {
	w := &world{options: o, panel: newPanel()}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	dir, err := w.dataDir()
	if err != nil {
		return nil, err
	}
	// The gateway opens its ports itself, by address. They are picked first:
	// the provider's issuer is the gateway's origin.
	public, err := w.pickAddress(8080)
	if err != nil {
		return nil, err
	}
	admin, err := w.pickAddress(9090)
	if err != nil {
		return nil, err
	}
	w.origin, w.admin = "http://"+public, "http://"+admin
	listeners := make([]net.Listener, 3)
	for i, port := range []int{3000, 3001, 8081} {
		if listeners[i], err = w.listen(port); err != nil {
			return nil, err
		}
		w.closers = append(w.closers, func() { _ = listeners[i].Close() })
	}
	w.apps = newApps(listeners[0], listeners[1])
	if err := w.startIdP(listeners[2]); err != nil {
		return nil, err
	}
	w.gateway = startGateway(w.settings(public, admin, dir), w.panel)
	w.closers = append(w.closers, w.gateway.stop)
	if err := w.gateway.waitReady(ctx, w.admin); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w\n%s", err, w.panel.tail(10))
	}
	for i, l := range listeners[:2] {
		w.serve(l, w.appHandler(i))
	}
	counting, stop := context.WithCancel(context.Background())
	counted := make(chan struct{})
	go func() { defer close(counted); w.count(counting) }()
	w.closers = append(w.closers, func() { stop(); <-counted })
	return w, nil
}

// settings is the gateway's environment: what one would write for a real one.
func (w *world) settings(public, admin, dir string) []string {
	return []string{
		"ORT_ISSUER=" + w.origin,
		"ORT_UPSTREAM_URL=" + w.idpURL,
		"ORT_LISTEN_ADDR=" + public,
		"ORT_ADMIN_ADDR=" + admin,
		"ORT_STORE_URL=bolt:" + filepath.Join(dir, "sessions.db"),
		"ORT_SESSION_IDLE_TIMEOUT=" + w.options.idle.String(),
		"ORT_SESSION_ABSOLUTE_TIMEOUT=" + w.options.absolute.String(),
		"ORT_CONFIDENTIAL_CLIENTS=" + confidentialClient,
		"ORT_UPSTREAM_LOGIN_COOKIES=" + idp.CookieName,
		"ORT_SHUTDOWN_TIMEOUT=3s",
	}
}

func (w *world) dataDir() (string, error) {
	if w.options.data != "" {
		return w.options.data, os.MkdirAll(w.options.data, 0o700)
	}
	dir, err := os.MkdirTemp("", "ort-demo-")
	if err != nil {
		return "", fmt.Errorf("making a directory for sessions: %w", err)
	}
	w.closers = append(w.closers, func() { _ = os.RemoveAll(dir) })
	return dir, nil
}

// listen takes a port of the loopback address: the friendly one where it is
// wanted and free, else any.
func (w *world) listen(port int) (net.Listener, error) {
	if w.options.fixedPorts {
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a loopback port: %w", err)
	}
	return l, nil
}

func (w *world) pickAddress(port int) (string, error) {
	l, err := w.listen(port)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// serve answers on a listener until the world ends. Open event streams are cut
// then: they would never end by themselves. stop ends it earlier.
func (w *world) serve(l net.Listener, h http.Handler) (stop func()) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintf(os.Stderr, "ort-demo: serving %s: %v\n", l.Addr(), err)
		}
	}()
	stop = func() { _ = server.Close(); <-done }
	w.closers = append(w.closers, stop)
	return stop
}

// close ends everything, last started first.
func (w *world) close() {
	for len(w.closers) > 0 {
		last := w.closers[len(w.closers)-1]
		w.closers = w.closers[:len(w.closers)-1]
		last()
	}
}
