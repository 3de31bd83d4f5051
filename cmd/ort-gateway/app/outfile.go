package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeNew makes a file that its owner alone may read, whole or not at all. One that is there is left as it is.
func writeNew(path string, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return alreadyThere(path)
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("%s: %w", path, pathCause(err))
	}
	defer os.Remove(tmp.Name())
	err = write(tmp)
	if err == nil {
		err = namedFault(path, tmp.Sync())
	}
	if closed := tmp.Close(); err == nil {
		err = namedFault(path, closed)
	}
	if err != nil {
		return err
	}
	// Link, unlike Rename, never replaces what has appeared meanwhile.
	switch err := os.Link(tmp.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return alreadyThere(path)
	case err != nil: // a file system without hard links
		if err := os.Rename(tmp.Name(), path); err != nil {
			return fmt.Errorf("%s: %w", path, pathCause(err))
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", path, pathCause(err))
	}
	defer d.Close()
	return namedFault(path, d.Sync())
}

func alreadyThere(path string) error {
	return fmt.Errorf("%s is there already: give another name, or move it away", path)
}

func namedFault(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, pathCause(err))
}
