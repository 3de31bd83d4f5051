package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// process is a started program. Its output is kept, and shown where the test fails.
type process struct {
	name  string
	cmd   *exec.Cmd
	out   *proctest.Output
	stdin io.Closer
	done  chan struct{} // closed when the process has ended and its output is complete
	err   error         // of Wait, once done is closed
}

// start runs the program; its output goes on in out. The process is killed at the end of the test if it is still there.
func start(t *testing.T, name string, out *proctest.Output, cmd *exec.Cmd) *process {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, cmd: cmd, out: out, stdin: stdin, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the process at once (SIGKILL) and waits for its end.
func (p *process) kill() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate sends SIGTERM and returns how the process ended.
func (p *process) terminate(wait time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(wait):
		return fmt.Errorf("%s still runs %v after SIGTERM", p.name, wait)
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

var logCount struct {
	sync.Mutex
	n int
}

// keepLog writes what a process has said to E2E_LOGS, and shows its end where the test failed.
func keepLog(t *testing.T, name string, out *proctest.Output) {
	text := out.String()
	if dir := os.Getenv("E2E_LOGS"); dir != "" {
		logCount.Lock()
		logCount.n++
		file := fmt.Sprintf("%03d-%s-%s.log", logCount.n, strings.ReplaceAll(t.Name(), "/", "-"), name)
		logCount.Unlock()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Log(err)
		}
	}
	if t.Failed() {
		t.Logf("last output of %s:\n%s", name, tail(text, 40))
	}
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

// firstLine reads one line, the way a program tells its ports; the rest goes to out.
func firstLine(r io.Reader, out io.Writer) (string, error) {
	b := bufio.NewReader(r)
	line, err := b.ReadString('\n')
	go func() { _, _ = io.Copy(out, b) }()
	return line, err
}
