package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
)

// Bounds of the panel: how much of the past a page gets when it opens, and how
// far a page may fall behind before events are left out for it.
const (
	panelLines    = 100
	panelBacklog  = 256
	panelLineSize = 8 << 10
)

// event is one message to the pages.
type event struct {
	name string // log, counters or peer
	data []byte // JSON
}

// panel collects what the pages show beside the app: the gateway's log lines,
// its counters, and the state of both apps. It is the writer that the gateway
// logs to.
type panel struct {
	mu      sync.Mutex
	partial []byte
	lines   [][]byte
	last    map[string]event // newest of each kind that has only a newest
	readers map[chan event]bool
}

func newPanel() *panel {
	return &panel{last: map[string]event{}, readers: map[chan event]bool{}}
}

// Write takes log output, a line at a time or not.
func (p *panel) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, b...)
	for {
		line, rest, found := bytes.Cut(p.partial, []byte("\n"))
		if !found {
			break
		}
		p.line(line)
		p.partial = rest
	}
	p.partial = bytes.Clone(p.partial) // let go of what was sent
	return len(b), nil
}

// line keeps and sends one line; what is no JSON object becomes one.
func (p *panel) line(line []byte) {
	if len(line) == 0 {
		return
	}
	if len(line) > panelLineSize || line[0] != '{' || !json.Valid(line) {
		line, _ = json.Marshal(map[string]string{"msg": string(line[:min(len(line), panelLineSize)])})
	}
	line = bytes.Clone(line)
	p.lines = append(p.lines, line)
	if len(p.lines) > panelLines {
		p.lines = p.lines[1:]
	}
	p.send(event{"log", line})
}

// publish sends an event of which only the newest matters; key tells such
// kinds apart. Nothing is sent when nothing has changed.
func (p *panel) publish(key string, e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes.Equal(p.last[key].data, e.data) {
		return
	}
	p.last[key] = e
	p.send(e)
}

func (p *panel) send(e event) {
	for reader := range p.readers {
		select {
		case reader <- e:
		default: // it is far behind: it misses this one
		}
	}
}

// subscribe returns the past and a channel for what comes.
func (p *panel) subscribe() (past []event, next chan event, end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.lines {
		past = append(past, event{"log", line})
	}
	for _, e := range p.last {
		past = append(past, e)
	}
	next = make(chan event, panelBacklog)
	p.readers[next] = true
	return past, next, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.readers, next)
	}
}

// tail returns the last lines as text, for the terminal.
func (p *panel) tail(n int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, line := range p.lines[max(0, len(p.lines)-n):] {
		b.WriteString("  ")
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.String()
}
