package seal

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// Errors of [NewReader] and the reader it makes, beside those of its source.
var (
	// ErrForeign: the bytes are no sealed stream.
	ErrForeign = errors.New("no sealed stream")
	// ErrNewer: a later version of this package sealed the stream.
	ErrNewer = errors.New("a sealed stream of a newer version")
	// ErrCut: the stream ends before its last chunk.
	ErrCut = errors.New("the sealed stream was cut off")
)

// KeyError says that a stream was sealed with a key that the ring has not.
type KeyError struct{ ID string }

// Error names the key's id, which is no secret.
func (e *KeyError) Error() string {
	return "sealed with the key " + e.ID + ", which is not in the ring"
}

// A sealed stream is
//
//	"ort-gateway sealed stream 1\n" | 16 random bytes | chunks
//
// and each chunk
//
//	offset  length  content
//	0       1       1 for the last chunk, else 0
//	1       4       m, big endian
//	5       m       sealed bytes of up to 64 KiB
//
// The additional data of a chunk are the head and random bytes of its stream, its
// number from 0 (8 bytes, big endian) and its first byte: no chunk can be left
// out, moved, taken from another stream, or pass for the last one. Bytes behind
// the last chunk are a fault.
const (
	streamHead    = "ort-gateway sealed stream "
	streamVersion = "1\n"
	streamID      = 16
	chunkSize     = 64 << 10
	chunkRoom     = chunkSize + 1 + maxKeyID + nonceSize + overhead
)

// writer seals what is written to it.
type writer struct {
	box  *Box
	to   io.Writer
	aad  []byte
	n    uint64
	buf  []byte
	done error
}

// NewWriter begins a sealed stream in to. Close seals what is left and ends it; a
// stream that was not closed does not open. to is not closed.
func (b *Box) NewWriter(to io.Writer) (io.WriteCloser, error) {
	head := append([]byte(streamHead+streamVersion), make([]byte, streamID)...)
	rand.Read(head[len(head)-streamID:])
	if _, err := to.Write(head); err != nil {
		return nil, err
	}
	return &writer{box: b, to: to, aad: head, buf: make([]byte, 0, chunkSize)}, nil
}

func (w *writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.done == nil {
		if len(w.buf) == chunkSize { // one that is full may be the last
			w.flush(0)
			continue
		}
		m := min(len(p), chunkSize-len(w.buf))
		w.buf, p, n = append(w.buf, p[:m]...), p[m:], n+m
	}
	return n, w.done
}

// Close ends the stream.
func (w *writer) Close() error {
	if w.done == nil {
		w.flush(1)
	}
	err := w.done
	w.done = errors.New("the sealed stream is closed")
	return err
}

func (w *writer) flush(last byte) {
	sealed := w.box.Seal(w.buf, chunkAAD(w.aad, w.n, last))
	chunk := binary.BigEndian.AppendUint32([]byte{last}, uint32(len(sealed)))
	_, w.done = w.to.Write(append(chunk, sealed...))
	w.n++
	w.buf = w.buf[:0]
}

func chunkAAD(head []byte, n uint64, last byte) []byte {
	return append(binary.BigEndian.AppendUint64(slices.Clone(head), n), last)
}

// reader opens a sealed stream.
type reader struct {
	box  *Box
	from *bufio.Reader
	aad  []byte
	n    uint64
	left []byte
	done error // io.EOF behind the last chunk
}

// NewReader opens a stream that [Box.NewWriter] made. Every byte that it gives is
// as it was written; that it was all of it is known when it ends with io.EOF. Its
// errors are ErrForeign, ErrNewer, ErrCut, ErrOpen (changed, or another key of that
// id), a [KeyError], or from's own.
func (b *Box) NewReader(from io.Reader) (io.Reader, error) {
	r := &reader{box: b, from: bufio.NewReaderSize(from, chunkRoom)}
	head, err := r.from.Peek(len(streamHead))
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !bytes.Equal(head, []byte(streamHead)) {
		return nil, ErrForeign
	}
	r.aad = make([]byte, len(streamHead)+len(streamVersion)+streamID)
	if err := r.full(r.aad); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(r.aad[len(streamHead):], []byte(streamVersion)) {
		return nil, ErrNewer
	}
	return r, nil
}

// full reads all of p; an end in it is ErrCut.
func (r *reader) full(p []byte) error {
	_, err := io.ReadFull(r.from, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrCut
	}
	return err
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if r.done == nil {
			r.done = r.next()
		}
		if len(r.left) == 0 && r.done != nil {
			return 0, r.done
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// next opens one chunk; io.EOF with the last.
func (r *reader) next() error {
	var head [5]byte
	if err := r.full(head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] > 1 || size > chunkRoom {
		return ErrOpen
	}
	sealed := make([]byte, size)
	if err := r.full(sealed); err != nil {
		return err
	}
	plain, err := r.box.Open(sealed, chunkAAD(r.aad, r.n, head[0]))
	if err != nil {
		return r.box.why(sealed)
	}
	r.n++
	if head[0] == 1 {
		if _, err := r.from.ReadByte(); err != io.EOF {
			return errors.Join(ErrOpen, err)
		}
		r.left = plain
		return io.EOF
	}
	r.left = plain
	return nil
}

// why is a KeyError where the ring has no key of that id, else ErrOpen.
func (b *Box) why(sealed []byte) error {
	if len(sealed) == 0 || int(sealed[0]) > maxKeyID || len(sealed) < 1+int(sealed[0]) {
		return ErrOpen
	}
	id := string(sealed[1 : 1+sealed[0]])
	if !validID(id) || slices.Contains(b.keyring.IDs(), id) {
		return ErrOpen
	}
	return &KeyError{id}
}
