package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	manyStreams = 10_000
	streamCost  = 20 << 10 // bytes of the gateway's memory for each
	streamsEach = 16       // a session may have so many

	// A second where nothing else runs (0.9 s were measured); tests of other packages may.
	endReachesEach = 10 * time.Second
)

// Ten thousand pages listen, and a back-channel logout by sub reaches each of them within a second. What the gateway needs
// for a stream is measured at its process, built without the race detector.
func TestManyEventStreams(t *testing.T) {
	raiseFiles()
	total := manyStreams
	if testing.Short() {
		total /= 10
	}
	st := startStack(t, setup{embedded: true, plain: true, env: map[string]string{"ORT_LOG_LEVEL": "warn"}})
	apps := manyLogins(t, st, (total+streamsEach-1)/streamsEach)
	time.Sleep(time.Second) // what the logins needed is given back
	before := st.resident(t)

	began := time.Now()
	var streams sync.WaitGroup
	ended := make(chan time.Time, total)
	opened := make(chan error, total)
	limit := make(chan struct{}, 64) // connections that are being opened
	for i := range total {
		a := apps[i/streamsEach]
		streams.Go(func() {
			limit <- struct{}{}
			lines, err := st.stream(a)
			<-limit
			opened <- err
			if err != nil {
				return
			}
			for lines.Scan() {
				if lines.Text() == "event: ended" {
					ended <- time.Now()
				}
			}
		})
	}
	for range total {
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d streams of %d sessions were open after %v", total, len(apps), time.Since(began).Round(time.Millisecond))
	time.Sleep(time.Second)
	after := st.resident(t)
	each := (after - before) / total
	t.Logf("the gateway has %d MiB, %d MiB before: %.1f KiB for each stream", after>>20, before>>20, float64(each)/1024)
	if each > streamCost && !testing.Short() {
		t.Errorf("a stream costs %d bytes, may cost %d", each, streamCost)
	}

	logout := time.Now()
	if err := st.embedded.LogOut(t.Context(), "alice", ""); err != nil {
		t.Fatal(err)
	}
	answered := time.Now()
	streams.Wait()
	close(ended)
	var last time.Time
	n := 0
	for at := range ended {
		n++
		if at.After(last) {
			last = at
		}
	}
	t.Logf("the logout by sub was answered after %v, the last page told after %v", answered.Sub(logout).Round(time.Millisecond), last.Sub(logout).Round(time.Millisecond))
	if n != total {
		t.Errorf("%d of %d pages were told", n, total)
	}
	if late := last.Sub(logout); late > endReachesEach {
		t.Errorf("the last page was told %v after the logout began", late)
	}
	apps[0].dead(t)
	apps[len(apps)-1].dead(t)
}

// raiseFiles lets the test and what it starts have enough open files, as far as that is allowed.
func raiseFiles() {
	const enough = 3 * manyStreams
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err == nil && r.Cur < enough {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: enough, Max: max(r.Max, enough)})
	}
}

// manyLogins are logins of alice in as many browsers.
func manyLogins(t *testing.T, st *stack, n int) []*app {
	t.Helper()
	apps := make([]*app, n)
	faults := make(chan error, n)
	limit := make(chan struct{}, 8)
	began := time.Now()
	for i := range apps {
		limit <- struct{}{}
		go func() {
			defer func() { <-limit }()
			a := st.app("app-one", nil)
			apps[i] = a
			back, err := a.authorize(a.authorizationRequest(nil))
			if err == nil {
				var got *answer
				if got, err = a.redeem(back.Get("code"), a.lastVerifier); err == nil {
					if a.ort = got.RefreshToken; a.ort == "" {
						err = fmt.Errorf("no ORT: %v", got)
					}
				}
			}
			faults <- err
		}()
	}
	for range apps {
		if err := <-faults; err != nil {
			t.Fatal(err)
		}
	}
	st.http.CloseIdleConnections()
	t.Logf("%d logins took %v", n, time.Since(began).Round(time.Millisecond))
	return apps
}

// stream opens the events of an app's session on a connection of its own, up to the first event.
func (st *stack) stream(a *app) (*bufio.Scanner, error) {
	host := strings.TrimPrefix(st.origin, "http://")
	c, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	st.t.Cleanup(func() { c.Close() })
	address := st.origin + "/_ort/session/events"
	_, err = fmt.Fprintf(c, "GET /_ort/session/events HTTP/1.1\r\nHost: %s\r\nAuthorization: DPoP %s\r\nDPoP: %s\r\n\r\n",
		host, a.ort, a.key.proof(http.MethodGet, address, a.nonce, a.ort))
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(c)
	lines.Buffer(make([]byte, 512), 4<<10)
	for first := ""; lines.Scan(); {
		if first == "" {
			first = lines.Text()
		}
		if lines.Text() == "event: session" {
			return lines, nil
		}
		if !strings.HasPrefix(first, "HTTP/1.1 200") {
			return nil, fmt.Errorf("opening a stream: %s", first)
		}
	}
	return nil, fmt.Errorf("a stream broke off: %w", lines.Err())
}

// resident is the gateway's resident memory in bytes.
func (st *stack) resident(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", st.gateway.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
