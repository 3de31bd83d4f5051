package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	magic  = "ort-gateway sessions "
	schema = 2 // of buckets and keys, 2: notes, owing; records have versions of their own

	allocSize = 4 << 20

	lookAt = 200 // sessions and grants that opening reads
)

// open opens the file and reads what is kept in memory.
func (s *Store) open() error {
	_, err := os.Stat(s.path)
	made := errors.Is(err, os.ErrNotExist)
	if err := inspect(s.path, s.wait); err != nil {
		return fmt.Errorf("opening the session store %s: %w", s.path, err)
	}
	db, file, err := openFile(s.path, s.wait)
	if err != nil {
		return fmt.Errorf("opening the session store %s: %w", s.path, err)
	}
	s.db.Store(db)
	s.file = file
	if err = s.load(); err == nil && made {
		err = syncDirectory(s.path)
	}
	if err != nil {
		_ = db.Close()
		return fmt.Errorf("opening the session store %s: %w", s.path, err)
	}
	return nil
}

// openFile opens the file for writing.
//
// The list of free pages is not kept in it: bbolt would write all of it with
// every exchange, after a flood of transactions 400 kB each time. It is made
// anew at each opening by walking the pages.
func openFile(path string, wait time.Duration) (*bolt.DB, *os.File, error) {
	return boltOpen(path, &bolt.Options{
		Timeout: wait, FreelistType: bolt.FreelistMapType, InitialMmapSize: mapped(), NoFreelistSync: true,
	})
}

// boltOpen is bbolt's Open with faults that say what to do. bbolt panics on
// damaged pages, and reading behind the end of a file that was cut faults.
func boltOpen(path string, o *bolt.Options) (db *bolt.DB, file *os.File, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	o.OpenFile = func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	defer func() {
		if p := recover(); p != nil {
			if file != nil {
				_ = file.Close() // and the lock with it
			}
			db, err = nil, unusable(fault(p))
		}
	}()
	db, err = bolt.Open(path, 0o600, o)
	var pathErr *os.PathError
	switch {
	case err == nil:
		db.AllocSize = allocSize
		return db, file, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, nil, errors.New("another process has it open; stop that one first, or give each its own file (the commands for sessions ask the running gateway)")
	case errors.As(err, &pathErr):
		return nil, nil, pathErr.Err
	}
	return nil, nil, unusable(err)
}

// inspect walks every page of a file that is there, before bbolt does so in a
// goroutine of its own, where nobody could catch what it panics with.
func inspect(path string, wait time.Duration) (err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 || !info.Mode().IsRegular() {
		return nil // a new one, or one that opening says more about
	}
	db, file, err := boltOpen(path, &bolt.Options{Timeout: wait, ReadOnly: true})
	if err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = unusable(fault(p))
		}
		_ = db.Close()
	}()
	return db.View(func(tx *bolt.Tx) error {
		if info, err := file.Stat(); err != nil {
			return err
		} else if info.Size() < tx.Size() {
			return unusable(fmt.Errorf("%d bytes long, %d were written", info.Size(), tx.Size()))
		}
		if version, err := examine(tx); version == 0 || err != nil {
			return err
		}
		return walk(tx)
	})
}

// mapped is address space, not memory: as long as the file fits in, its growth
// never waits for readers. On Windows it would be the file's size.
func mapped() int {
	if runtime.GOOS == "windows" || strconv.IntSize < 64 {
		return 0
	}
	return 256 << 20
}

// fault is what bbolt panicked with; a fault of the memory map is a page that
// the file does not have.
func fault(p any) error {
	if _, ok := p.(interface{ Addr() uintptr }); ok {
		return errors.New("it is shorter than what was written to it")
	}
	return fmt.Errorf("%v", p)
}

func unusable(err error) error {
	return fmt.Errorf("no session store, or damaged (%w); the file was left as it is: put a backup in its place, or move it away to start empty", err)
}

// load lays a new store out, or an older one anew, and reads what is kept in
// memory.
func (s *Store) load() (err error) {
	db := s.db.Load()
	version := 0
	if err := db.View(func(tx *bolt.Tx) (err error) {
		version, err = examine(tx)
		return err
	}); err != nil {
		return err
	}
	if version < schema {
		if err := db.Update(lay); err != nil {
			return err
		}
	}
	return db.View(func(tx *bolt.Tx) error {
		if !s.filling && tx.Bucket(bucketMeta).Get(keyImporting) != nil {
			return errHalfImported
		}
		if err := s.readCounts(tx); err != nil {
			return err
		}
		if err := s.memory.load(tx.Bucket(bucketWaiting), s.now()); errors.Is(err, sessions.ErrVersion) {
			return newer(err)
		} else if err != nil {
			return unusable(err)
		}
		return nil
	})
}

// examine tells the format of a store, 0 for a new file, from anything else.
func examine(tx *bolt.Tx) (version int, err error) {
	if k, _ := tx.Cursor().First(); k == nil {
		return 0, nil
	}
	var format []byte
	if b := tx.Bucket(bucketMeta); b != nil {
		format = b.Get(keyFormat)
	}
	version, ok := cutMagic(format)
	switch {
	case !ok:
		return 0, errors.New("a bbolt file of another program; the file was left as it is: give another path")
	case version > schema:
		return 0, newer(fmt.Errorf("%w (format %d, this one knows %d)", sessions.ErrVersion, version, schema))
	}
	for _, name := range bucketsOf(version) {
		if tx.Bucket(name) == nil {
			return 0, unusable(fmt.Errorf("bucket %s is missing", name))
		}
	}
	return version, nil
}

func cutMagic(format []byte) (version int, ok bool) {
	if len(format) <= len(magic) || string(format[:len(magic)]) != magic {
		return 0, false
	}
	version, err := strconv.Atoi(string(format[len(magic):]))
	return version, err == nil && version > 0
}

// walk touches every page and reads some records. Whoever wants to know more
// has Check.
func walk(tx *bolt.Tx) error {
	for _, name := range buckets {
		b := tx.Bucket(name)
		if b == nil { // of an older format
			continue
		}
		c := b.Cursor()
		n := 0
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if n++; n > lookAt || !bytes.Equal(name, bucketSessions) {
				continue
			}
			if err := decodes(k, v); errors.Is(err, sessions.ErrVersion) {
				return newer(err)
			} else if err != nil {
				return unusable(err)
			}
		}
	}
	return nil
}

func newer(err error) error {
	return fmt.Errorf("%w; the file was left as it is: use that version, or give another path", err)
}

// lay makes an empty store of a new file, or adds what an older format had not.
// A gateway that knows only that one refuses the file from then on: it would let
// dead login cookies pass.
func lay(tx *bolt.Tx) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	b := tx.Bucket(bucketMeta)
	fresh := b.Get(keyFormat) == nil
	for i, n := range (tally{
		countNotes: int64(tx.Bucket(bucketNotes).Stats().KeyN),
		countOwing: int64(tx.Bucket(bucketOwing).Stats().KeyN),
	}) {
		if i == countActive && !fresh {
			continue
		}
		if err := b.Put(counts[i].key, number(uint64(n))); err != nil {
			return err
		}
	}
	return b.Put(keyFormat, []byte(magic+strconv.Itoa(schema)))
}

// syncDirectory makes a new file's name as durable as what is written to it.
func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// reopen maps the file again after bbolt lost it.
func (s *Store) reopen() error {
	_ = s.db.Load().Close()
	db, file, err := openFile(s.path, s.wait)
	if err != nil {
		return err
	}
	s.file = file
	s.db.Store(db)
	s.log.Warn("the session store was opened anew")
	return nil
}

// release lets the file go, after the writer has ended.
func (s *Store) release() error {
	err := s.broken
	if err == nil {
		err = s.db.Load().Close()
	} else {
		_ = s.file.Close()
	}
	if n := s.memory.waits(); n > 0 && err == nil {
		err = fmt.Errorf("%d transactions and codes could not be written", n)
	}
	if err != nil {
		return fmt.Errorf("closing the session store: %w", err)
	}
	return nil
}

// view reads. Damage is an error, never "not found".
func (s *Store) view(f func(*bolt.Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("reading the session store panicked", "fault", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("reading the session store: %w: %v", errDamaged, p)
		}
	}()
	db := s.db.Load()
	err = db.View(f)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		if again := s.db.Load(); again != db { // opened anew meanwhile
			return again.View(f)
		}
		select {
		case <-s.closing:
			return sessions.ErrClosed
		default:
		}
	}
	return err
}
