package app

import (
	"context"
	"log/slog"
	"net/http"
)

// serve puts the gateway together and runs it until ctx ends (the first signal); hurry is the
// second.
func serve(ctx context.Context, s *Settings, log *slog.Logger, hurry <-chan struct{}) error {
	ready := newReadiness(log)
	admin := http.NewServeMux()
	admin.HandleFunc("/livez", ready.livez)
	admin.HandleFunc("/readyz", ready.readyz)
	public := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "nothing is served here yet", http.StatusServiceUnavailable)
	})
	return newServer(s, log, ready, hooks{}, hurry).run(ctx, public, admin)
}
