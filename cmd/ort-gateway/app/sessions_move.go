package app

import (
	"bufio"
	"context"
	"crypto/hmac"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	moveKind    = 'E'      // begins the last frame of an export; records begin with another
	moveVersion = 1        // of what is in the sealed stream
	maxFrame    = 16 << 20 // bytes of one record
)

// moveEnd is the last frame of an export.
type moveEnd struct {
	Version  int       `json:"version"`
	Exported time.Time `json:"exported_at"`
	Sessions int       `json:"sessions"`
	Notes    int       `json:"notes"`
	// Keys are the sealing keys of the exporting gateway: tokens that browsers hold,
	// and the credentials in the records, may be sealed with any of them.
	Keys []moveKey `json:"keys"`
}

// moveKey knows a sealing key again.
type moveKey struct {
	ID    string `json:"id"`
	Check []byte `json:"check"` // a MAC by it
}

func keyCheck(box *seal.Box, id string) []byte {
	mac, _ := box.MAC(id, []byte("exported"))
	return mac
}

// summary says what was moved.
func (e *moveEnd) summary() string {
	return counted(e.Sessions, "session") + " (ended ones too) and " + counted(e.Notes, "note")
}

// runSessionsExport writes what the store holds into a new file.
func runSessionsExport(ctx context.Context, p process, _ *sessionFlags, arguments []string) int {
	return p.move(arguments, func(settings *Settings, keys *seal.Keyring, file string) (string, error) {
		if err := embeddedIsThere(settings); err != nil {
			return "", err
		}
		store, err := openForMoving(ctx, settings, false)
		if err != nil {
			return "", err
		}
		defer store.Close()
		var end moveEnd
		if err := writeNew(file, func(to io.Writer) (err error) {
			end, err = writeExport(ctx, to, store, keys)
			return err
		}); err != nil {
			return "", err
		}
		return file + ": " + end.summary() + ", sealed with " + strings.Join(keys.IDs(), ", ") + "; import it with the same sealing keys", nil
	})
}

// runSessionsImport puts what an export holds into the store.
func runSessionsImport(ctx context.Context, p process, _ *sessionFlags, arguments []string) int {
	return p.move(arguments, func(settings *Settings, keys *seal.Keyring, file string) (string, error) {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, pathCause(err))
		}
		defer f.Close()
		// Read to its end first: the store is not touched for a file that is not whole.
		for _, err := range readExport(f, keys, new(moveEnd)) {
			if err != nil {
				return "", fmt.Errorf("%s: %w", file, err)
			}
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", fmt.Errorf("%s: %w", file, pathCause(err))
		}
		made := isNew(settings)
		store, err := openForMoving(ctx, settings, true)
		if err != nil {
			return "", err
		}
		var end moveEnd
		err = store.Import(ctx, readExport(f, keys, &end))
		if errors.Is(err, sessions.ErrNotEmpty) {
			err = fmt.Errorf("ORT_STORE_URL: %w: an import goes into an empty store, and nothing was changed", err)
		}
		if err = errors.Join(err, store.Close()); err != nil {
			made.takeBack()
			return "", err
		}
		return file + ": " + end.summary() + " are in the store; start the gateway with these sealing keys", nil
	})
}

// move is what export and import have in common.
func (p process) move(arguments []string, run func(*Settings, *seal.Keyring, string) (string, error)) int {
	if len(arguments) == 0 || arguments[0] == "" {
		return p.misused("sessions export and import: which file?")
	}
	settings, warnings, err := Load(p.environ, checkSealingKeys)
	for _, w := range warnings {
		fmt.Fprintln(p.stderr, "warning: "+w.String())
	}
	if err != nil {
		fmt.Fprintln(p.stderr, err)
		return exitUsage
	}
	keys, err := existingKeys(settings)
	if err != nil {
		return p.fail(err)
	}
	text, err := run(settings, keys, arguments[0])
	if err != nil {
		return p.fail(err)
	}
	fmt.Fprintln(p.stdout, text)
	return exitGood
}

// existingKeys are the sealing keys; none is made.
func existingKeys(s *Settings) (*seal.Keyring, error) {
	if !s.SealingKeys.IsSet() {
		path := s.StorePath + keyFileSuffix
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("ORT_SEALING_KEYS is not set and there is no %s: set it to the keys of the gateway whose sessions these are (the content of its store's %s file is one)", path, keyFileSuffix)
		}
	}
	return sealingKeys(s)
}

// writeExport writes every record of the store, sealed.
func writeExport(ctx context.Context, to io.Writer, from sessions.Mover, keys *seal.Keyring) (end moveEnd, err error) {
	box := keys.Box("move")
	buffered := bufio.NewWriterSize(to, 1<<20)
	sealed, err := box.NewWriter(buffered)
	if err != nil {
		return end, err
	}
	frame := func(b []byte) error {
		_, err := sealed.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
		return err
	}
	err = from.Export(ctx, func(m sessions.Moved) error {
		if m.Session != nil {
			end.Sessions++
		} else {
			end.Notes++
		}
		return frame(sessions.EncodeMoved(&m))
	})
	if err != nil {
		return end, fmt.Errorf("exporting the sessions: %w", err)
	}
	end.Version, end.Exported = moveVersion, time.Now().UTC().Truncate(time.Second)
	for _, id := range keys.IDs() {
		end.Keys = append(end.Keys, moveKey{id, keyCheck(box, id)})
	}
	text, err := json.Marshal(end)
	if err == nil {
		err = frame(append([]byte{moveKind}, text...))
	}
	if err == nil {
		err = sealed.Close()
	}
	if err == nil {
		err = buffered.Flush()
	}
	return end, err
}

// readExport gives the records of an export, and in end what its last frame says.
// Whatever is wrong with the file comes as an error, at its end at the latest.
func readExport(from io.Reader, keys *seal.Keyring, end *moveEnd) iter.Seq2[sessions.Moved, error] {
	return func(yield func(sessions.Moved, error) bool) {
		box := keys.Box("move")
		opened, err := box.NewReader(from)
		if err != nil {
			yield(sessions.Moved{}, exportFault(err))
			return
		}
		r := bufio.NewReaderSize(opened, 64<<10)
		var had moveEnd
		for {
			frame, err := readFrame(r)
			if err == nil && frame[0] == moveKind {
				if err = had.close(frame[1:], box, end); err == nil {
					if _, err = r.ReadByte(); err == io.EOF {
						return
					}
					err = errors.Join(sessions.ErrDamaged, err)
				}
			}
			var m sessions.Moved
			if err == nil {
				m, err = sessions.DecodeMoved(frame)
			}
			if err != nil {
				yield(sessions.Moved{}, exportFault(err))
				return
			}
			if m.Session != nil {
				had.Sessions++
			} else {
				had.Notes++
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

// readFrame reads one frame, of one byte at least.
func readFrame(r *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return nil, seal.ErrCut
	case err != nil:
		return nil, err
	case n == 0 || n > maxFrame:
		return nil, sessions.ErrDamaged
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(r, frame); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = seal.ErrCut
		}
		return nil, err
	}
	return frame, nil
}

// close holds the last frame against what was read and the keys that are here.
func (had *moveEnd) close(text []byte, box *seal.Box, end *moveEnd) error {
	if err := json.Unmarshal(text, end); err != nil {
		return sessions.ErrDamaged
	}
	switch {
	case end.Version > moveVersion:
		return sessions.ErrVersion
	case end.Version < 1, had.Sessions != end.Sessions, had.Notes != end.Notes:
		return sessions.ErrDamaged
	}
	for _, k := range end.Keys {
		mac, known := box.MAC(k.ID, []byte("exported"))
		switch {
		case !known:
			return fmt.Errorf("some of it, and tokens that browsers hold, are sealed with the key %s, which ORT_SEALING_KEYS has not; add all keys of the gateway that exported it", k.ID)
		case !hmac.Equal(mac, k.Check):
			return fmt.Errorf("the key %s of ORT_SEALING_KEYS is not the key %s of the gateway that exported it", k.ID, k.ID)
		}
	}
	return nil
}

// exportFault says what is wrong with an export and what to do.
func exportFault(err error) error {
	var key *seal.KeyError
	switch {
	case errors.As(err, &key):
		return fmt.Errorf("it is sealed with the key %s, which ORT_SEALING_KEYS has not; set the keys of the gateway that exported it", key.ID)
	case errors.Is(err, seal.ErrForeign):
		return errors.New("no export of ort-gateway, or empty")
	case errors.Is(err, seal.ErrNewer), errors.Is(err, sessions.ErrVersion):
		return errors.New("a newer version of ort-gateway exported it; import it with that version")
	case errors.Is(err, seal.ErrCut):
		return errors.New("it was cut off: copy or export it again")
	case errors.Is(err, seal.ErrOpen), errors.Is(err, sessions.ErrDamaged):
		return errors.New("it is damaged, or ORT_SEALING_KEYS has another key under the same name; copy or export it again")
	}
	return err
}
