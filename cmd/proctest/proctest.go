package proctest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// Missing ends a test whose part is not on this machine: the test is skipped, but fails where CI is set, for there everything
// has to be. The text says what is missing and how to get it.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Time ends a test that needs longer than go test's time limit leaves, which would fail all tests of its package: the test is
// skipped as by Missing. What it needs is as long as it and the tests after it take on two cores.
func Time(t *testing.T, needs time.Duration) {
	t.Helper()
	if limit, limited := t.Deadline(); limited && time.Until(limit) < needs {
		Missing(t, "needs %v of go test's time limit, which leaves %v: run it alone, or all tests with -timeout 30m", needs, time.Until(limit).Round(time.Second))
	}
}

// FreeAddress is a loopback address that nothing listens on, outside of the range from which the system takes ports for outgoing
// connections: it stays free until a program listens there, and while it is started again.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

// Output is what is written to it, read while others write: a program's output, or a log. The zero Output is empty.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write takes more; it never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is all of it so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Reset forgets it.
func (o *Output) Reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Reset()
}
