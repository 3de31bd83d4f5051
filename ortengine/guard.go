package ortengine

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Guard runs work whose panic must not end the process, and with it what everybody
// else is doing: net/http looks after the goroutines of requests alone. The panic is
// logged with its stack and comes back as an error. Its value is in neither: it may
// hold a secret.
func Guard(ctx context.Context, log *slog.Logger, what string, work func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.LogAttrs(ctx, slog.LevelError, what+" panicked", slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("panic: %T", p)
		}
	}()
	work()
	return nil
}
