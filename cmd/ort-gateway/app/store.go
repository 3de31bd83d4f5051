package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/boltstore"
)

// storeName is what metrics call the store that ORT_STORE_URL names.
func storeName(*Settings) string { return "bolt" }

// openStore opens the store that ORT_STORE_URL names. observe is told of each operation, as [boltstore.Config] says.
func openStore(_ context.Context, s *Settings, log *slog.Logger, observe func(op string, err error, d time.Duration)) (sessions.Store, error) {
	store, err := boltstore.Open(boltstore.Config{
		Path: s.StorePath, MaxTransactions: s.MaxTransactions, Logger: log, Observe: observe,
	})
	if err != nil {
		return nil, fmt.Errorf("ORT_STORE_URL: %w", err)
	}
	return store, nil
}
