package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// writeNew makes a file that its owner alone may read, whole or not at all. One that is there is left as it is.
func writeNew(path string, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return alreadyThere(path)
	}
	return writeWhole(path, write, func(tmp string) error {
		// Link, unlike Rename, never replaces what has appeared meanwhile.
		err := os.Link(tmp, path)
		if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without hard links
			err = os.Rename(tmp, path)
		}
		if errors.Is(err, fs.ErrExist) {
			return alreadyThere(path)
		}
		return namedFault(path, bareLink(err))
	})
}

// writeKept makes such a file in the place of one that is there, which becomes path.1, as that becomes path.2, up to keep files
// in all. Nothing is moved before the new one is whole.
func writeKept(path string, keep int, write func(io.Writer) error) error {
	return writeWhole(path, write, func(tmp string) error {
		name := func(n int) string {
			if n == 0 {
				return path
			}
			return path + "." + strconv.Itoa(n)
		}
		for n := keep - 1; n > 0; n-- {
			if err := os.Rename(name(n-1), name(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: %w", name(n-1), bareLink(err))
			}
		}
		return namedFault(path, bareLink(os.Rename(tmp, path)))
	})
}

// writeWhole fills a file beside path, and lets place bring it there once it is safe on the disk.
func writeWhole(path string, write func(io.Writer) error, place func(tmp string) error) error {
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
	if err == nil {
		err = place(tmp.Name())
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", path, pathCause(err))
	}
	defer d.Close()
	return namedFault(path, d.Sync())
}

// bareLink takes both paths out of an error of os.Rename.
func bareLink(err error) error {
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
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
