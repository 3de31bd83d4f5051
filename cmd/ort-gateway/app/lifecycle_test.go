package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener is a listener without a network, so that time in a synctest bubble can pass.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, syscall.ECONNREFUSED
	}
}

// get asks once, over a connection of its own, and gives the status, or 0 where nobody answers.
func (l *pipeListener) get(path string) (status int, body string) {
	client := &http.Client{Transport: &http.Transport{DialContext: l.dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://gateway" + path)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// rig is a server in a bubble, and the order in which things happened.
type rig struct {
	public, admin *pipeListener
	stop          context.CancelFunc // the first signal
	hurry         chan struct{}      // the second
	release       chan struct{}      // lets requests for /slow end
	ended         chan error

	mu      sync.Mutex
	events  []string
	toFlush time.Duration // what was left for it
}

func (r *rig) note(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

func (r *rig) order() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func startRig(t *testing.T, s *Settings, change ...func(*server)) *rig {
	r := &rig{public: newPipeListener(), admin: newPipeListener(), hurry: make(chan struct{}), release: make(chan struct{}), ended: make(chan error, 1)}
	log := slog.New(slog.DiscardHandler)
	ready := newReadiness(log)
	ready.add("store", func(context.Context) error { return nil })
	srv := newServer(s, log, ready, hooks{
		drain: func() { r.note("drain") },
		flush: func(ctx context.Context) error {
			r.note("flush")
			if deadline, ok := ctx.Deadline(); ok {
				r.toFlush = time.Until(deadline)
			}
			return ctx.Err()
		},
		close: func() error { r.note("close"); return nil },
	}, r.hurry)
	srv.public, srv.admin = r.public, r.admin
	for _, f := range change {
		f(srv)
	}
	public := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			select {
			case <-r.release:
				r.note("slow request answered")
			case <-req.Context().Done():
				r.note("slow request cut off")
			}
		}
	})
	admin := http.NewServeMux()
	admin.HandleFunc("/livez", ready.livez)
	admin.HandleFunc("/readyz", ready.readyz)
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.ended <- srv.run(ctx, public, admin) }()
	synctest.Wait()
	return r
}

func TestShutdownGoesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, &Settings{ShutdownDelay: 5 * time.Second, ShutdownTimeout: 15 * time.Second})
		if status, body := r.admin.get("/readyz"); status != 200 || body != "store: ok\nready\n" {
			t.Errorf("ready before: %d %q", status, body)
		}
		slow := make(chan int)
		go func() { status, _ := r.public.get("/slow"); slow <- status }()
		synctest.Wait()

		r.stop()
		synctest.Wait()
		if status, body := r.admin.get("/readyz"); status != 503 || !strings.Contains(body, "process: shutting down") {
			t.Errorf("ready after the signal: %d %q", status, body)
		}
		if status, _ := r.admin.get("/livez"); status != 200 {
			t.Errorf("alive after the signal: %d", status)
		}
		time.Sleep(5*time.Second - time.Millisecond)
		synctest.Wait()
		if status, _ := r.public.get("/"); status != 200 {
			t.Errorf("a request just before the delay ends: %d", status)
		}
		if len(r.order()) != 0 {
			t.Errorf("too early: %q", r.order())
		}

		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if status, _ := r.public.get("/"); status != 0 {
			t.Errorf("a request after the delay: %d", status)
		}
		if status, _ := r.admin.get("/readyz"); status != 503 {
			t.Errorf("the admin listener while draining: %d", status)
		}
		time.Sleep(10 * time.Second)
		close(r.release)
		if status := <-slow; status != 200 {
			t.Errorf("the open request: %d", status)
		}
		if err := <-r.ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if want := []string{"drain", "slow request answered", "flush", "close"}; !slices.Equal(r.order(), want) {
			t.Errorf("order %q, want %q", r.order(), want)
		}
		if r.toFlush <= 4*time.Second || r.toFlush >= 5*time.Second {
			t.Errorf("%v were left for the background work, want all that draining left of the timeout", r.toFlush)
		}
		if status, _ := r.admin.get("/livez"); status != 0 {
			t.Errorf("the admin listener is still there: %d", status)
		}
	})
}

func TestShutdownDoesNotWaitLongerThanItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, &Settings{ShutdownTimeout: 15 * time.Second})
		go r.public.get("/slow")
		synctest.Wait()
		began := time.Now()
		r.stop()
		if err := <-r.ended; err != nil {
			t.Errorf("run: %v, want nil: SIGTERM ends with 0", err)
		}
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if got := r.order(); !slices.Contains(got, "slow request cut off") || !slices.Contains(got, "close") {
			t.Errorf("order %q", got)
		}
		if r.toFlush != minimumFlush {
			t.Errorf("%v were left for the background work, want %v", r.toFlush, minimumFlush)
		}
	})
}

// The files of the certificate are looked at as long as the gateway serves.
func TestTheCertificateIsWatchedWhileServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		watch := newFileWatch("", []string{"tls.crt"}, nil, slog.New(slog.DiscardHandler), func([][]byte) error { return nil })
		watch.read = func(string) ([]byte, error) { looks++; return nil, nil }
		r := startRig(t, &Settings{ShutdownTimeout: time.Second}, func(srv *server) { srv.certificate = &certificate{watch: watch} })
		time.Sleep(3*rereadInterval + time.Millisecond)
		synctest.Wait()
		if looks != 3 {
			t.Errorf("%d looks, want 3", looks)
		}
		r.stop()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		before := looks
		time.Sleep(3 * rereadInterval)
		if looks != before {
			t.Errorf("%d looks after the end", looks-before)
		}
	})
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := startRig(t, &Settings{ShutdownDelay: delay, ShutdownTimeout: time.Hour})
			go r.public.get("/slow")
			synctest.Wait()
			began := time.Now()
			r.stop()
			synctest.Wait()
			close(r.hurry)
			if err := <-r.ended; !errors.Is(err, errInterrupted) {
				t.Errorf("run: %v", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("delay %v: took %v", delay, took)
			}
			if !slices.Contains(r.order(), "close") {
				t.Errorf("the store was not closed: %q", r.order())
			}
		})
	}
}

func TestAListenerThatBreaksEndsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, &Settings{ShutdownTimeout: time.Second})
		r.admin.Close()
		if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "accepting connections") {
			t.Errorf("run: %v", err)
		}
		if got := r.order(); !slices.Equal(got, []string{"drain", "flush", "close"}) {
			t.Errorf("order %q", got)
		}
	})
}

func TestAPortThatIsTakenClosesWhatIsOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	closed := false
	s := &Settings{ListenAddr: "127.0.0.1:0", AdminAddr: taken.Addr().String()}
	srv := newServer(s, slog.New(slog.DiscardHandler), newReadiness(nil), hooks{close: func() error { closed = true; return nil }}, nil)
	err = srv.run(t.Context(), nil, nil)
	want := "ORT_ADMIN_ADDR: opening " + s.AdminAddr + ": address already in use"
	if err == nil || err.Error() != want || !closed {
		t.Errorf("got %v (closed: %v), want %s", err, closed, want)
	}
	if _, err := srv.public.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the public listener is still open: %v", err)
	}
}

func TestSignals(t *testing.T) {
	ctx, hurry, stop := withSignals(t.Context())
	send := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	send()
	<-ctx.Done()
	select {
	case <-hurry:
		t.Error("one signal was taken for two")
	default:
	}
	send()
	<-hurry
	stop()
	stop()
	_, _, stop = withSignals(t.Context()) // nobody is left waiting without a signal
	stop()
}

func TestTLSFollowsItsFilesAndSpeaksHTTP2(t *testing.T) {
	first, second := newTestPair(t, "first"), newTestPair(t, "second")
	var log logBuffer
	s := &Settings{ListenAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", TLSCertFile: first.certFile, TLSKeyFile: first.keyFile, ShutdownTimeout: time.Minute}
	srv := newServer(s, log.logger(), newReadiness(log.logger()), hooks{}, nil)
	if err := srv.listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	// The watch is polled by hand here, so its own goroutine must not do so at the same time.
	watch := srv.certificate.watch
	srv.certificate.watch = newFileWatch("", nil, nil, log.logger(), nil)
	go func() {
		ended <- srv.run(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }), nil)
	}()
	poll := func() { watch.poll(); watch.poll() }

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(first.cert)
	pool.AppendCertsFromPEM(second.cert)
	served := func() string {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		resp, err := client.Get("https://" + srv.public.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); string(body) != "HTTP/2.0" {
			t.Errorf("protocol %s", body)
		}
		return resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	if got := served(); got != "first" {
		t.Errorf("at the start: %s", got)
	}
	first.write(t, second)
	poll()
	if got := served(); got != "second" {
		t.Errorf("after the change: %s", got)
	}
	if err := os.WriteFile(first.keyFile, first.key, 0o600); err != nil { // the certificate has not followed
		t.Fatal(err)
	}
	poll()
	if got := served(); got != "second" {
		t.Errorf("with files that do not belong together: %s", got)
	}
	if got := strings.Count(log.String(), "level=ERROR"); got != 1 {
		t.Errorf("%d error lines: %s", got, log.String())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
