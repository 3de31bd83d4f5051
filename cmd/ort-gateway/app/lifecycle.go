package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/ort-gateway/ort-gateway/proxy"
)

// server owns the two listeners and the order of the end.
type server struct {
	settings *Settings
	log      *slog.Logger
	ready    *readiness
	hooks    hooks
	hurry    <-chan struct{} // closed: end at once

	listenTo func(network, address string) (net.Listener, error) // net.Listen, but in tests

	public, admin net.Listener
	certificate   *certificate // nil: plain HTTP
}

// hooks are the steps of the end that belong to others; each may be nil. They are called once, in this order.
type hooks struct {
	drain func()                      // ORT_SHUTDOWN_DELAY is over: event streams end now, nothing new is begun
	flush func(context.Context) error // no request is left: finish what runs in the background, within the context
	close func() error                // the store closes
}

// errInterrupted is a second signal: somebody does not want to wait.
var errInterrupted = errors.New("second signal: ended without draining")

// minimumFlush is what the background work gets although draining took all of ORT_SHUTDOWN_TIMEOUT.
const minimumFlush = time.Second

// newServer makes a server for the handlers that run is given. hurry is the second signal.
func newServer(s *Settings, log *slog.Logger, ready *readiness, h hooks, hurry <-chan struct{}) *server {
	return &server{settings: s, log: log, ready: ready, hooks: h, hurry: hurry, listenTo: net.Listen}
}

// withSignals ends the context it gives at the first SIGTERM or SIGINT, and closes hurry at the second. stop gives the
// signals back.
func withSignals(parent context.Context) (ctx context.Context, hurry <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	second, stopped := make(chan struct{}), make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	var watching sync.WaitGroup
	watching.Go(func() {
		for _, act := range []func(){cancel, func() { close(second) }} {
			select {
			case <-signals:
				act()
			case <-stopped:
				return
			}
		}
	})
	return ctx, second, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(stopped)
		watching.Wait()
		cancel()
	})
}

// listen opens both listeners. A port that is taken is told with the variable that names it.
func (s *server) listen() (err error) {
	if s.settings.TLSCertFile != "" {
		if s.certificate, err = loadCertificate(s.settings, s.log); err != nil {
			return err
		}
	}
	if s.public, err = s.listenTo("tcp", s.settings.ListenAddr); err != nil {
		return fmt.Errorf("ORT_LISTEN_ADDR: opening %s: %w", s.settings.ListenAddr, bare(err))
	}
	if s.admin, err = s.listenTo("tcp", s.settings.AdminAddr); err != nil {
		s.public.Close()
		return fmt.Errorf("ORT_ADMIN_ADDR: opening %s: %w", s.settings.AdminAddr, bare(err))
	}
	return nil
}

// bare takes the address, which is said already, out of a network error.
func bare(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	var call *os.SyscallError
	if errors.As(op.Err, &call) {
		return call.Err
	}
	return op.Err
}

// run serves until ctx ends (the first signal), then stops in order: not ready, still accepting for ORT_SHUTDOWN_DELAY;
// streams end; open requests finish, within ORT_SHUTDOWN_TIMEOUT; flush; close; the admin listener last, so that the
// end can be watched. It opens the listeners unless listen was called before. A good end is nil.
func (s *server) run(ctx context.Context, public, admin http.Handler) error {
	if s.public == nil {
		if err := s.listen(); err != nil {
			return errors.Join(err, s.close())
		}
	}
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer endBackground()
	if s.certificate != nil {
		running.Go(func() { s.certificate.watch.run(background) })
	}
	publicServer, adminServer := proxy.Server(public, s.log), s.adminServer(admin)
	defer publicServer.Close()
	defer adminServer.Close()
	failed := make(chan error, 2)
	running.Go(func() { failed <- s.serve(publicServer, s.framed()) })
	running.Go(func() { failed <- s.serve(adminServer, s.admin) })
	s.log.Info("listening", "public", s.public.Addr().String(), "admin", s.admin.Addr().String(), "tls", s.certificate != nil)

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-failed:
		s.log.Error("listener failed", "error", failure.Error())
	}
	if err := s.shutDown(ctx, publicServer); err != nil {
		return errors.Join(failure, err)
	}
	return failure
}

// framed is the public listener with TLS, where it is set, and its check of framing.
func (s *server) framed() net.Listener {
	if s.certificate == nil {
		return proxy.Listener(s.public, nil)
	}
	return proxy.Listener(s.public, s.certificate.config())
}

func (s *server) serve(srv *http.Server, l net.Listener) error {
	err := srv.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("accepting connections at %s: %w", l.Addr(), bare(err))
}

func (s *server) adminServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          libraryLogger(s.log),
	}
}

// shutDown goes through the end. Only a second signal makes it an error: what could not be drained in time is logged,
// and the store survives any end.
func (s *server) shutDown(ctx context.Context, public *http.Server) error {
	s.ready.drain()
	began := time.Now()
	s.log.Info("shutting down", "delay", s.settings.ShutdownDelay.String(), "timeout", s.settings.ShutdownTimeout.String())
	hurry, stopHurry := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopHurry(nil)
	go func() {
		select {
		case <-s.hurry:
			stopHurry(errInterrupted)
		case <-hurry.Done():
		}
	}()
	if delay := time.NewTimer(s.settings.ShutdownDelay); s.settings.ShutdownDelay > 0 {
		select {
		case <-delay.C:
		case <-hurry.Done():
		}
	}
	s.drainAndFlush(hurry, public)
	interrupted := errors.Is(context.Cause(hurry), errInterrupted)
	if err := s.close(); err != nil {
		s.log.Error("closing failed", "error", err.Error())
	}
	s.log.Info("ended", "took", time.Since(began).Round(time.Millisecond).String(), "interrupted", interrupted)
	if interrupted {
		return errInterrupted
	}
	return nil
}

// drainAndFlush lets open requests and the background work finish.
func (s *server) drainAndFlush(hurry context.Context, public *http.Server) {
	if s.hooks.drain != nil {
		s.hooks.drain()
	}
	deadline := time.Now().Add(s.settings.ShutdownTimeout)
	ctx, cancel := context.WithDeadline(hurry, deadline)
	defer cancel()
	if err := public.Shutdown(ctx); err != nil {
		s.log.Warn("not all requests were finished in time", "error", err.Error())
		public.Close()
	}
	if s.hooks.flush == nil {
		return
	}
	ctx, cancel = context.WithDeadline(hurry, later(deadline, time.Now().Add(minimumFlush)))
	defer cancel()
	if err := s.hooks.flush(ctx); err != nil {
		s.log.Warn("background work was not finished in time", "error", err.Error())
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// close closes what hooks.close closes, once.
func (s *server) close() error {
	f := s.hooks.close
	s.hooks.close = nil
	if f == nil {
		return nil
	}
	return f()
}
