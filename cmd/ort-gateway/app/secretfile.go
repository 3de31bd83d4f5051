package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Secret is a value that never shows itself: not in %v or %#v, not in a log line, not in JSON.
type Secret struct{ value *string } // a pointer, as fmt prints the inside of unexported fields

const redacted = "[redacted]"

// NewSecret keeps value as a Secret.
func NewSecret(value string) Secret { return Secret{&value} }

// IsSet reports whether there is a value.
func (s Secret) IsSet() bool { return s.value != nil }

// Reveal gives the value itself; "" where none is set.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String says that there is a secret.
func (s Secret) String() string { return redacted }

// GoString says that there is a secret.
func (s Secret) GoString() string { return redacted }

// Format says that there is a secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue says that there is a secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText says that there is a secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the value from the environment.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// maxSettingFile bounds what is read of a settings file.
const maxSettingFile = 1 << 20

// readFile reads a settings file. Its errors do not repeat the path.
func readFile(path string) ([]byte, error) {
	// A pipe or a device would block, and could not be read again.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, wrong("is not a regular file")
	}
	var content []byte
	if err == nil {
		content, err = readBounded(path)
	}
	if err != nil {
		return nil, wrong("cannot be read: %v", withoutPath(err))
	}
	if len(content) > maxSettingFile {
		return nil, wrong("is longer than 1 MiB")
	}
	return content, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSettingFile+1))
}

func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return errors.New("the system refused it")
}

// readSetting reads the value of a variable from its _FILE. Line ends at the end do not belong to the value: editors and
// echo put them there.
func readSetting(path string) (string, error) {
	content, err := readFile(path)
	if err != nil {
		return "", err
	}
	return settingIn(content)
}

func settingIn(content []byte) (string, error) {
	value := strings.TrimRight(string(content), "\r\n")
	switch {
	case strings.TrimSpace(value) == "":
		return "", wrong("is empty")
	case strings.ContainsRune(value, 0):
		return "", wrong("has a zero byte in its content")
	}
	return value, nil
}

// rereadInterval is how often watched files are looked at. A change holds after two to three of them.
const rereadInterval = 2 * time.Second

// fileWatch reads files again and applies their content when it has changed.
type fileWatch struct {
	name  string                            // what the files hold, for the log
	paths []string                          // read together
	apply func(contents [][]byte) error     // takes new content into use, or says what is wrong with it; never a secret
	log   *slog.Logger                      //
	read  func(path string) ([]byte, error) // readFile

	inUse, seen, refused [sha256.Size]byte // of all contents; refused: already complained of
}

// newFileWatch watches files whose content at the start was contents.
func newFileWatch(name string, paths []string, contents [][]byte, log *slog.Logger, apply func([][]byte) error) *fileWatch {
	first := digest(contents, nil)
	return &fileWatch{name: name, paths: paths, apply: apply, log: log, read: readFile, inUse: first, seen: first}
}

// watchSealingKeys applies the content of ORT_SEALING_KEYS_FILE whenever it changes, until ctx ends. apply is seal's
// ParseKeys and Replace. Without a file there is nothing to do.
func watchSealingKeys(ctx context.Context, s *Settings, log *slog.Logger, apply func(keys string) error) {
	watchSecret(ctx, "ORT_SEALING_KEYS_FILE", s.SealingKeysFile, s.SealingKeys, log, apply)
}

// watchAdminToken does the same for ORT_ADMIN_TOKEN_FILE.
func watchAdminToken(ctx context.Context, s *Settings, log *slog.Logger, apply func(token string)) {
	watchSecret(ctx, "ORT_ADMIN_TOKEN_FILE", s.AdminTokenFile, s.AdminToken, log, func(text string) error {
		var token adminToken
		if err := token.UnmarshalText([]byte(text)); err != nil {
			return err
		}
		apply(Secret(token).Reveal())
		return nil
	})
}

// watchSecret watches a file whose value in use was read at the start.
func watchSecret(ctx context.Context, name, path string, inUse Secret, log *slog.Logger, apply func(string) error) {
	if path == "" {
		return
	}
	w := newFileWatch(name, []string{path}, nil, log, func(contents [][]byte) error {
		value, err := settingIn(contents[0])
		if err != nil {
			return err
		}
		return apply(value)
	})
	// What is in use is the value, its line ends cut off.
	w.read = func(path string) ([]byte, error) {
		content, err := readFile(path)
		return bytes.TrimRight(content, "\r\n"), err
	}
	w.inUse = digest([][]byte{[]byte(inUse.Reveal())}, nil)
	w.seen = w.inUse
	w.run(ctx)
}

// run polls until ctx ends.
func (w *fileWatch) run(ctx context.Context) {
	tick := time.NewTicker(rereadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.poll()
		}
	}
}

// poll looks once. New content is applied when two looks in a row saw the same: a file that is being written, or a key
// whose certificate has not come yet, is left alone. What cannot be applied is logged once, and the old stays in use.
func (w *fileWatch) poll() {
	contents := make([][]byte, len(w.paths))
	var err error
	for i, path := range w.paths {
		if contents[i], err = w.read(path); err != nil {
			break
		}
	}
	now := digest(contents, err)
	settled := now == w.seen
	w.seen = now
	if now == w.inUse {
		w.refused = [sha256.Size]byte{} // back to the old; the same fault is worth a line again
		return
	}
	if !settled || now == w.refused {
		return
	}
	if err == nil {
		err = w.apply(contents)
	}
	if err != nil {
		w.refused = now
		w.log.Error("changed file not taken, the former content stays in use", "file", w.name, "error", err.Error())
		return
	}
	w.inUse, w.refused = now, [sha256.Size]byte{}
	w.log.Info("changed file taken", "file", w.name)
}

// digest tells contents apart; an error counts as a content.
func digest(contents [][]byte, err error) [sha256.Size]byte {
	h := sha256.New()
	for _, c := range contents {
		fmt.Fprintf(h, "%d:", len(c))
		h.Write(c)
	}
	if err != nil {
		fmt.Fprintf(h, "error %v", err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
