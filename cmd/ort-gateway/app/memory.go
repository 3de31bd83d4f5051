package app

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is the share of the control group's memory that Go may use. The rest is for what Go does not count, but the
// control group does: above all the pages of the embedded store that are mapped into the process.
const memoryShare = 0.9

// memoryEvery is how often the control group's limit is read again: it may be changed while a container runs.
const memoryEvery = time.Minute

// unlimited is Go's limit where there is none.
const unlimited = math.MaxInt64

// memory keeps Go's memory limit at its share of what the control group allows, so that the collector works harder before
// the kernel kills the process.
type memory struct {
	log   *slog.Logger
	group func() (bytes uint64, err error) // the control group's limit; memlimit.ErrNoLimit where it has none
	set   func(bytes int64) (before int64) // Go's
	known bool                             // something was told
	told  uint64                           // the control group's limit that was told last
}

// newMemory is nil where GOMEMLIMIT is set: then its user decides.
func newMemory(log *slog.Logger) *memory {
	if os.Getenv("GOMEMLIMIT") != "" {
		log.Info("memory limit", "go_bytes", debug.SetMemoryLimit(-1), "from", "GOMEMLIMIT")
		return nil
	}
	return &memory{log: log, group: memlimit.FromCgroup, set: debug.SetMemoryLimit}
}

// adjust reads the control group's limit, and sets Go's where it is another than before.
func (m *memory) adjust() {
	allowed, err := m.group()
	if errors.Is(err, memlimit.ErrNoLimit) {
		allowed, err = unlimited, nil
	}
	if err != nil {
		if !m.known {
			m.known = true
			m.log.Warn("the control group's memory limit cannot be read: set GOMEMLIMIT where there is one", "error", err.Error())
		}
		return
	}
	if m.known && allowed == m.told {
		return
	}
	m.known, m.told = true, allowed
	if allowed >= unlimited {
		m.set(unlimited)
		m.log.Info("memory limit", "go_bytes", "none", "from", "control group")
		return
	}
	limit := int64(float64(allowed) * memoryShare)
	m.set(limit)
	m.log.Info("memory limit", "go_bytes", limit, "control_group_bytes", allowed, "from", "control group")
}

// follow adjusts at each tick until ctx ends.
func (m *memory) follow(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			m.adjust()
		}
	}
}
