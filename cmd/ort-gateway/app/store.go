package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/boltstore"
	"github.com/ort-gateway/ort-gateway/sessions/redisstore"
)

// storeName is what metrics call the store that ORT_STORE_URL names.
func storeName(s *Settings) string {
	if s.StoreURL.IsSet() {
		return "redis"
	}
	return "bolt"
}

// openStore opens the store that ORT_STORE_URL names. observe is told of each operation, as [boltstore.Config] says.
func openStore(ctx context.Context, s *Settings, log *slog.Logger, observe func(op string, err error, d time.Duration)) (sessions.Store, error) {
	store, err := openNamed(ctx, s, log, observe)
	if err != nil {
		return nil, fmt.Errorf("ORT_STORE_URL: %w", err)
	}
	return store, nil
}

func openNamed(ctx context.Context, s *Settings, log *slog.Logger, observe func(op string, err error, d time.Duration)) (sessions.Store, error) {
	if s.StoreURL.IsSet() {
		return redisstore.Open(ctx, redisstore.Config{
			URL: s.StoreURL.Reveal(), MaxTransactions: s.MaxTransactions, Logger: log, Observe: observe,
		})
	}
	return boltstore.Open(boltstore.Config{
		Path: s.StorePath, MaxTransactions: s.MaxTransactions, Logger: log, Observe: observe,
	})
}

// replayMemory is the memory of proofs: that of all replicas, or this process's own.
type replayMemory interface {
	dpop.ReplayCache
	Len() int
}

func newReplay(store sessions.Store, s *Settings, ownNonces bool) replayMemory {
	if shared, ok := store.(*redisstore.Store); ok {
		return shared.Replay(redisstore.ReplayConfig{Generations: ownNonces, Lifetime: s.DPoPProofLifetime})
	}
	return dpop.NewMemoryReplay(0, nil, ownNonces)
}

// backupOf is how a store is copied while it works; nil where it has no such copy.
func backupOf(s sessions.Store) func(context.Context) (io.ReadCloser, int64, error) {
	if embedded, ok := s.(*boltstore.Store); ok {
		return embedded.Backup
	}
	return nil
}

// busy says whether a backup failed because another one is being made.
func busy(err error) bool { return errors.Is(err, boltstore.ErrBusy) }

// moving is a store whose content moves.
type moving interface {
	sessions.Mover
	Close() error
}

// openForMoving opens the store for an export, or to be filled by an import.
func openForMoving(ctx context.Context, s *Settings, fill bool) (store moving, err error) {
	if s.StoreURL.IsSet() {
		store, err = movingShared(ctx, s, fill)
	} else {
		store, err = boltstore.Open(boltstore.Config{Path: s.StorePath, MaxTransactions: s.MaxTransactions, ForImport: fill})
	}
	if err != nil {
		return nil, fmt.Errorf("ORT_STORE_URL: %w", err)
	}
	return store, nil
}

// movingShared opens the shared store, which must answer now.
func movingShared(ctx context.Context, s *Settings, fill bool) (*redisstore.Store, error) {
	store, err := redisstore.Open(ctx, redisstore.Config{URL: s.StoreURL.Reveal(), MaxTransactions: s.MaxTransactions, ForImport: fill})
	if err != nil {
		return nil, err
	}
	if err := store.Ready(ctx); err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

// embeddedIsThere keeps an export from making an empty store.
func embeddedIsThere(s *Settings) error {
	if s.StoreURL.IsSet() {
		return nil
	}
	if _, err := os.Stat(s.StorePath); err != nil {
		return fmt.Errorf("ORT_STORE_URL: %s: %w", s.StorePath, pathCause(err))
	}
	return nil
}

// newFile is the file of an embedded store that is not there yet; empty: there is one.
type newFile string

func isNew(s *Settings) newFile {
	if s.StoreURL.IsSet() {
		return ""
	}
	if _, err := os.Stat(s.StorePath); errors.Is(err, fs.ErrNotExist) {
		return newFile(s.StorePath)
	}
	return ""
}

// takeBack removes a file that an import made and did not fill.
func (f newFile) takeBack() {
	if f != "" {
		_ = os.Remove(string(f))
	}
}
