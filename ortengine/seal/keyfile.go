package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxKeyFile bounds what is read from a key file, in bytes. A ring of 500 keys
// fits.
const maxKeyFile = 64 << 10

// LoadOrCreate returns the keys of the file at path, in the form that
// [ParseKeys] reads. Where there is no file, it makes one with a fresh key,
// mode 0600, durable before it returns. Of several processes that do so at
// once one makes the file and all get its key.
//
// A file that is there is never written: one that is empty, half-written or
// something else is an error that names the path, since a new key in its place
// would end every session for good. So is a file that users outside its group
// may read or write (not checked on Windows, which has no such bits).
func LoadOrCreate(path string) (*Keyring, error) {
	k, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making sealing key file %s: %w", path, err)
	}
	return load(path)
}

func load(path string) (*Keyring, error) {
	text, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("reading sealing key file %s: %w", path, err)
	}
	k, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("reading sealing key file %s (left as it is): %w", path, err)
	}
	return k, nil
}

func read(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", cause(err)
	}
	if !info.Mode().IsRegular() { // before Open, which would wait for a pipe's writer
		return "", errors.New("not a regular file")
	}
	if perm := info.Mode().Perm(); perm&0o007 != 0 && runtime.GOOS != "windows" {
		return "", fmt.Errorf("open to every user (mode %04o), want mode 0600", perm)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", cause(err)
	}
	if len(b) > maxKeyFile {
		return "", fmt.Errorf("more than %d bytes", maxKeyFile)
	}
	return string(b), nil
}

// create makes the file with one key. The error wraps fs.ErrExist where another
// was faster. The content is written and synced under another name first, so
// that a crash leaves either no file or a whole one.
func create(path string) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*") // O_EXCL, mode 0600
	if err != nil {
		return cause(err)
	}
	defer os.Remove(tmp.Name())
	if err := writeKey(tmp); err != nil {
		return err
	}
	// Link, unlike Rename, never replaces a file that has appeared meanwhile.
	err = os.Link(tmp.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = createInPlace(path) // a file system without hard links
	}
	if err != nil {
		return cause(err)
	}
	return syncDir(dir)
}

// createInPlace writes the file under its own name. A crash in the middle leaves
// a file that the next start refuses.
func createInPlace(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := writeKey(f); err != nil {
		os.Remove(path) // ours, made a moment ago, and no session knows its key
		return err
	}
	return nil
}

// writeKey writes a fresh key, makes it durable, and closes the file.
func writeKey(f *os.File) error {
	_, err := f.WriteString(NewKey() + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return cause(err)
}

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return cause(err)
	}
	defer d.Close()
	return cause(d.Sync())
}

// cause takes operation and path out of an error of package os: the caller's
// message has them.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}
