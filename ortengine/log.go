package ortengine

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// maxLogged is how much of a value that a stranger chose is logged, in bytes.
const maxLogged = 128

// A warning comes so often at once, and then once in a while.
const (
	warningsAtOnce = 20
	warningAgain   = time.Second
	maxWarnings    = 500 // kinds of them
)

// BoundLog is a logger whose lines strangers cannot blow up: names that come out
// of requests are cut to 128 bytes, and a warning that comes too often is left
// out and counted, for the next line of its kind to tell (left_out). What else is
// logged passes, audit events first of all. now is the clock.
func BoundLog(to *slog.Logger, now func() time.Time) *slog.Logger {
	if _, is := to.Handler().(boundLog); is {
		return to
	}
	return slog.New(boundLog{to.Handler(), &warnings{now: now, of: map[string]*warning{}}})
}

type boundLog struct {
	slog.Handler
	seen *warnings
}

// Handle implements slog.Handler.
func (b boundLog) Handle(ctx context.Context, r slog.Record) error {
	left := 0
	if r.Level == slog.LevelWarn {
		var ok bool
		if ok, left = b.seen.allow(r.Message); !ok {
			return nil
		}
	}
	long := left > 0
	r.Attrs(func(a slog.Attr) bool {
		long = long || isLong(a)
		return !long
	})
	if !long {
		return b.Handler.Handle(ctx, r)
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if isLong(a) {
			a.Value = slog.StringValue(cut(a.Value.String()))
		}
		out.AddAttrs(a)
		return true
	})
	if left > 0 {
		out.AddAttrs(slog.Int("left_out", left))
	}
	return b.Handler.Handle(ctx, out)
}

// WithAttrs implements slog.Handler.
func (b boundLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return boundLog{b.Handler.WithAttrs(attrs), b.seen}
}

// WithGroup implements slog.Handler.
func (b boundLog) WithGroup(name string) slog.Handler {
	return boundLog{b.Handler.WithGroup(name), b.seen}
}

func isLong(a slog.Attr) bool {
	switch a.Key {
	case "client", "audiences", "scope", "path":
		return a.Value.Kind() == slog.KindString && len(a.Value.String()) > maxLogged
	}
	return false
}

// cut ends a text where no character is broken.
func cut(s string) string {
	n := maxLogged
	for n > maxLogged-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.ToValidUTF8(s[:n], "\uFFFD") + "…"
}

// warnings counts lines by their text, which is the program's own.
type warnings struct {
	now func() time.Time
	mu  sync.Mutex
	of  map[string]*warning
}

type warning struct {
	room   int // lines that may come at once
	filled time.Time
	left   int // lines that were left out
}

func (w *warnings) allow(message string) (ok bool, left int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	k := w.of[message]
	if k == nil {
		if len(w.of) >= maxWarnings {
			return true, 0
		}
		k = &warning{room: warningsAtOnce, filled: now}
		w.of[message] = k
	}
	if more := int(now.Sub(k.filled) / warningAgain); more > 0 {
		k.room, k.filled = min(warningsAtOnce, k.room+more), now
	}
	if k.room == 0 {
		k.left++
		return false, 0
	}
	k.room--
	left, k.left = k.left, 0
	return true, left
}
