package redisstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// pausedHolder names the store, session and grant that a process of its own takes
// the lease of; see TestPausedHolder.
const pausedHolder = "REDISSTORE_PAUSED_HOLDER"

const pausedLease = 400 * time.Millisecond

// holder takes a lease, says so, waits for a line, and tries to write under it.
func holder(args string) {
	f := strings.Fields(args)
	ctx, id, grant := context.Background(), sessions.ID(f[1]), sessions.GrantID(f[2])
	s, err := Open(ctx, Config{URL: f[0], leaseFor: pausedLease})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l, _, _, err := s.LeaseGrant(ctx, id, grant)
	fmt.Println("held", err)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	err = use(ctx, s, id, grant, l)
	fmt.Println(errors.Is(err, sessions.ErrLeaseLost), err)
	os.Exit(0)
}

// TestPausedHolder: a process that was stopped for longer than its lease finds it
// lost and writes nothing, whether somebody else had it meanwhile or not.
func TestPausedHolder(t *testing.T) {
	url := sharedServer(t).url()
	s := closing(t, openAt(t, url, Config{leaseFor: pausedLease}, t.Name()))
	for _, taken := range []bool{true, false} {
		ses, g := login(t, s, 1)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", pausedHolder, urlAt(url, t.Name()), ses.ID, g.ID))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		if line, _ := lines.ReadString('\n'); line != "held <nil>\n" {
			t.Fatalf("the holder says %q", line)
		}
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if taken {
			l, _, _, err := s.LeaseGrant(t.Context(), ses.ID, g.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := use(t.Context(), s, ses.ID, g.ID, l); err != nil {
				t.Fatal(err)
			}
			l.Release()
		} else {
			time.Sleep(2 * pausedLease)
		}
		_, _ = io.WriteString(in, "\n")
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if line, _ := lines.ReadString('\n'); !strings.HasPrefix(line, "true ") {
			t.Errorf("taken %t: the holder that was paused says %q", taken, line)
		}
		_ = cmd.Wait()
		if _, now, err := s.Grant(t.Context(), ses.ID, g.ID); err != nil || now.Uses > 1 || (now.Uses == 1) != taken {
			t.Errorf("taken %t: the grant was used %d times, error %v", taken, now.Uses, err)
		}
	}
}
