package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Go may use 0.9 of the control group's memory, is told of a change, and each figure stands in the log once.
func TestMemoryLimitFollowsTheControlGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		group, failing := uint64(256<<20), error(nil)
		var got []int64
		m := &memory{
			log:   slog.New(slog.NewTextHandler(&lines, nil)),
			group: func() (uint64, error) { return group, failing },
			set:   func(n int64) int64 { got = append(got, n); return 0 },
		}
		m.adjust()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		tick := make(chan time.Time)
		go func() {
			m.follow(ctx, tick)
			close(ended)
		}()
		pass := func() { tick <- time.Time{}; synctest.Wait() }
		pass()
		group = 512 << 20 // resized in place
		pass()
		pass()
		failing = errors.New("unreadable for a while")
		pass()
		failing = memlimit.ErrNoLimit
		pass()
		stop()
		<-ended
		want := []int64{241591910, 483183820, math.MaxInt64}
		if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("limits set: %d, want %d", got, want)
		}
		if n := strings.Count(lines.String(), "memory limit"); n != len(want) || !strings.Contains(lines.String(), "go_bytes=241591910 control_group_bytes=268435456") {
			t.Errorf("the log has %d lines of limits, want %d:\n%s", n, len(want), lines.String())
		}
	})
}

// Without a limit of the control group Go has none; that it cannot be read is told once.
func TestNoMemoryLimit(t *testing.T) {
	for name, err := range map[string]error{"none": memlimit.ErrNoLimit, "unreadable": errors.New("permission denied")} {
		t.Run(name, func(t *testing.T) {
			var lines bytes.Buffer
			limit := int64(math.MaxInt64)
			m := &memory{
				log:   slog.New(slog.NewTextHandler(&lines, nil)),
				group: func() (uint64, error) { return 0, err },
				set:   func(n int64) int64 { limit = n; return 0 },
			}
			m.adjust()
			m.adjust()
			if limit != math.MaxInt64 {
				t.Errorf("Go's limit is %d, want none", limit)
			}
			if n := strings.Count(lines.String(), "\n"); n != 1 {
				t.Errorf("the log has %d lines, want one:\n%s", n, lines.String())
			}
		})
	}
}

// GOMEMLIMIT is its user's: it stays, and its figure stands in the log.
func TestGOMEMLIMITStays(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "100MiB")
	var lines bytes.Buffer
	if m := newMemory(slog.New(slog.NewTextHandler(&lines, nil))); m != nil {
		t.Error("the control group is followed although GOMEMLIMIT is set")
	}
	if !strings.Contains(lines.String(), "from=GOMEMLIMIT") {
		t.Errorf("the log does not say where the limit comes from: %s", lines.String())
	}
	t.Setenv("GOMEMLIMIT", "")
	if newMemory(slog.New(slog.DiscardHandler)) == nil {
		t.Error("an empty GOMEMLIMIT is taken for a limit")
	}
}
