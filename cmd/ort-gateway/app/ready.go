package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// readyTimeout bounds the whole question; container runtimes give up after seconds.
const readyTimeout = 5 * time.Second

// runReady asks the admin listener of the gateway that runs with the same environment. It reads ORT_ADMIN_ADDR alone:
// in a health check the other settings need not be there.
func runReady(ctx context.Context, p process) int {
	addr, err := adminAddr(variableMap(p.environ)["ORT_ADMIN_ADDR"])
	if err != nil {
		fmt.Fprintln(p.stderr, faults{{variable: "ORT_ADMIN_ADDR", shown: "ORT_ADMIN_ADDR", text: err.Error(), example: exampleOf("ORT_ADMIN_ADDR")}}.err())
		return exitUsage
	}
	answer, err := askReady(ctx, addr)
	if err != nil {
		return p.fail(fmt.Errorf("asking %s: %w", addr, err))
	}
	fmt.Fprint(p.stdout, answer)
	return exitGood
}

// reachable turns a listener's address into one to connect to: all addresses become loopback.
func reachable(listen string) string {
	host, port, _ := net.SplitHostPort(listen)
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// askReady gives the answer of /readyz, or an error for any status but 200.
func askReady(ctx context.Context, addr string) (string, error) {
	client := &http.Client{
		Timeout:   readyTimeout,
		Transport: &http.Transport{DisableKeepAlives: true}, // and no proxy of the environment: it asks this machine
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return "", errors.New("not an address to connect to")
	}
	resp, err := client.Do(req)
	if err != nil {
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return "", fmt.Errorf("no answer within %s", readyTimeout)
		}
		return "", bare(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return "", fmt.Errorf("reading the answer: %w", bare(err))
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, oneLine(body))
	}
	return string(body), nil
}

// oneLine makes an answer fit for an error message.
func oneLine(body []byte) string {
	parts := strings.FieldsFunc(string(body), func(r rune) bool { return r == '\n' || !unicode.IsPrint(r) })
	return strings.Join(parts, ", ")
}
