package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestWalkthrough(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if got := run(t.Context(), []string{"--walkthrough"}, &stdout, &stderr); got != 0 {
		t.Errorf("got exit code %d\n%s%s", got, &stdout, &stderr)
	}
}

func TestDemoEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &notifying{want: "Open", found: make(chan struct{})}
	code := make(chan int)
	var stderr bytes.Buffer
	go func() { code <- run(ctx, nil, out, &stderr) }()
	select {
	case <-out.found:
	case got := <-code:
		t.Fatalf("ended at once with %d\n%s", got, &stderr)
	}
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("got exit code %d, want 0\n%s", got, &stderr)
	}
}

// notifying tells when a text was written.
type notifying struct {
	want  string
	found chan struct{}
	done  bool
}

func (n *notifying) Write(b []byte) (int, error) {
	if !n.done && strings.Contains(string(b), n.want) {
		n.done = true
		close(n.found)
	}
	return len(b), nil
}
