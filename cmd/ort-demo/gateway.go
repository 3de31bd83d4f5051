package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/ort-gateway/app"
)

// gateway is ort-gateway, running in this process as the program runs it.
type gateway struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	code   int           // its exit code, once it has ended
}

// startGateway runs the gateway in a given environment. What it logs goes to
// log alone.
func startGateway(environ []string, log io.Writer) *gateway {
	ctx, cancel := context.WithCancel(context.Background())
	g := &gateway{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(g.done)
		g.code = app.Run(ctx, nil, environ, log, log)
	}()
	return g
}

// stop ends the gateway and waits for it.
func (g *gateway) stop() {
	g.cancel()
	<-g.done
}

// waitReady asks /readyz until it says yes.
func (g *gateway) waitReady(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, admin) {
			return nil
		}
		select {
		case <-tick.C:
		case <-g.done:
			return fmt.Errorf("it ended with code %d", g.code)
		case <-ctx.Done():
			return errors.New("it did not become ready")
		}
	}
}

func ready(ctx context.Context, admin string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}
