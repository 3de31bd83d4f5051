package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

// shared is the one server of most tests; each has a key prefix of its own.
var shared *server

func TestMain(m *testing.M) {
	if args := os.Getenv(pausedHolder); args != "" {
		holder(args)
	}
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		_ = f.Value.Set("15") // each operation is a round trip
	}
	code := m.Run()
	if shared != nil {
		shared.stop()
		_ = os.RemoveAll(shared.dir)
	}
	if code == 0 {
		// A dial of go-redis sleeps for a second before it sees that its pool is closed: it is not gone at once.
		err := goleak.Find()
		for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); {
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// server is a real redis-server.
type server struct {
	port int
	dir  string
	args []string
	cmd  *exec.Cmd
}

// freePort is one that nothing listens on.
func freePort(t testing.TB) int {
	t.Helper()
	return int(netip.MustParseAddrPort(proctest.FreeAddress(t)).Port())
}

// newServer starts a server that is gone with its test.
func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{port: freePort(t), dir: t.TempDir(), args: args}
	s.start(t)
	t.Cleanup(s.stop)
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		proctest.Missing(t, "no redis-server: apt-get install redis-server")
	}
	args := append([]string{
		"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0", "--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"),
	}, s.args...)
	s.cmd = exec.Command(path, args...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.awaitAnswer(t)
}

func (s *server) awaitAnswer(t testing.TB) {
	t.Helper()
	within(t, 10*time.Second, "redis-server answers", func() bool {
		c, err := net.DialTimeout("tcp", s.addr(), time.Second)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

func (s *server) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }
func (s *server) url() string  { return "redis://" + s.addr() }

// stop ends it as a crash does.
func (s *server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// cli sends one command and gives its answer.
func (s *server) cli(t testing.TB, args ...any) any {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.addr(), DisableIdentity: true})
	defer c.Close()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil && err != redis.Nil {
		t.Fatalf("%v: %v", args, err)
	}
	return v
}

// within polls until something is so.
func within(t testing.TB, d time.Duration, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		if so() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func sharedServer(t testing.TB) *server {
	t.Helper()
	if shared == nil {
		dir, err := os.MkdirTemp("", "redisstore")
		if err != nil {
			t.Fatal(err)
		}
		s := &server{port: freePort(t), dir: dir}
		s.start(t)
		shared = s
	}
	return shared
}

// at opens a store at a URL; the same place is the same prefix.
func at(url string) storetest.Opener {
	return func(t testing.TB, c storetest.Config) sessions.Store {
		t.Helper()
		return openAt(t, url, Config{Now: c.Now, MaxTransactions: c.MaxTransactions}, c.Place)
	}
}

// prefixOf is the key prefix of a test's place.
func prefixOf(place string) string {
	sum := sha256.Sum256([]byte(place))
	return "t:" + hex.EncodeToString(sum[:6]) + ":"
}

func urlAt(url, place string) string {
	if strings.Contains(url, "?") {
		return url + "&key_prefix=" + prefixOf(place)
	}
	return url + "?key_prefix=" + prefixOf(place)
}

func openAt(t testing.TB, url string, c Config, place string) *Store {
	t.Helper()
	c.URL = urlAt(url, place)
	s, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, c storetest.Config) sessions.Store {
	t.Helper()
	return checkedAt(sharedServer(t).url())(t, c)
}

func TestStore(t *testing.T)      { storetest.Run(t, open) }
func TestDurability(t *testing.T) { storetest.RunDurability(t, open, nil) }
func TestModel(t *testing.T)      { storetest.RunModel(t, open) }

func TestMoving(t *testing.T) {
	storetest.RunMoving(t, storetest.Moving{
		Open: open,
		Fill: func(t testing.TB, c storetest.Config) sessions.Store {
			return openAt(t, sharedServer(t).url(), Config{Now: c.Now, ForImport: true}, c.Place)
		},
		Kill: copyKeys,
		Refusal: func(t testing.TB, place string) error {
			s, err := Open(t.Context(), Config{URL: urlAt(sharedServer(t).url(), place)})
			if err != nil {
				return err
			}
			return s.Close()
		},
	})
}

// copyKeys is what a process would leave that died now.
func copyKeys(t testing.TB, place string) string {
	t.Helper()
	other, ctx := t.TempDir(), t.Context()
	c := redis.NewClient(&redis.Options{Addr: sharedServer(t).addr(), DisableIdentity: true})
	defer c.Close()
	keys, err := c.Keys(ctx, prefixOf(place)+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if err := c.Copy(ctx, key, prefixOf(other)+strings.TrimPrefix(key, prefixOf(place)), 0, true).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return other
}
