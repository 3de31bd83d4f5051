package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ErrBusy: another backup is being copied.
var ErrBusy = errors.New("another backup is being made")

// spare is what a backup leaves free on the disk for the store itself, in bytes.
const spare = 32 << 20

// Backup is a hot copy of the store: a file that [Open] takes, with everything
// that was acknowledged before. It is copied whole before Backup returns, to a
// file without a name beside the store, so that a slow reader keeps nothing but
// that file. The caller closes it. size is its length in bytes. ErrBusy: one is
// being copied already.
func (s *Store) Backup(ctx context.Context) (copied io.ReadCloser, size int64, err error) {
	defer s.observe("backup", time.Now(), &err)
	if err := s.closedError(); err != nil {
		return nil, 0, err
	}
	if !s.copying.TryLock() {
		return nil, 0, ErrBusy
	}
	defer s.copying.Unlock()
	f, err := nameless(filepath.Dir(s.path))
	if err != nil {
		return nil, 0, fmt.Errorf("copying the session store: %w", err)
	}
	err = s.view(func(tx *bolt.Tx) (err error) {
		if free, known := freeBytes(filepath.Dir(s.path)); known && free < tx.Size()+spare {
			return fmt.Errorf("the disk has %d MiB free; a copy takes %d MiB beside the store for a moment, and %d MiB are left to the store",
				free>>20, (tx.Size()+1<<20-1)>>20, spare>>20)
		}
		if size, err = tx.WriteTo(whileWanted{ctx, f}); ctx.Err() != nil {
			return ctx.Err() // bbolt's error knows the text alone
		}
		return err
	})
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("copying the session store: %w", err)
	}
	return f, size, nil
}

// nameless makes a file that is gone with its last handle, also where the
// process is killed.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".ort-backup-*") // mode 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// whileWanted writes until its context ends.
type whileWanted struct {
	ctx context.Context
	w   io.Writer
}

func (w whileWanted) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}
