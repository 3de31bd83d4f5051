package sessions

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// writer appends fields.
type writer struct{ b []byte }

func newWriter(kind, version byte, size int) *writer {
	w := &writer{make([]byte, 0, size)}
	w.b = append(w.b, kind, version)
	return w
}

func (w *writer) number(n uint64)    { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) count(n int)        { w.number(uint64(n)) }
func (w *writer) fixed(b [32]byte)   { w.b = append(w.b, b[:]...) }
func (w *writer) text(s string)      { w.count(len(s)); w.b = append(w.b, s...) }
func (w *writer) bytes(b []byte)     { w.count(len(b)); w.b = append(w.b, b...) }
func (w *writer) list(list []string) { w.count(len(list)); each(list, w.text) }

func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.number(0)
		return
	}
	ms := t.UnixMilli()
	w.number((uint64(ms)<<1 ^ uint64(ms>>63)) + 1)
}

func (w *writer) prefix(p netip.Prefix) {
	b, _ := p.MarshalBinary() // never fails
	w.bytes(b)
}

func (w *writer) cookies(list []CookieHash) {
	w.count(len(list))
	for _, c := range list {
		w.text(string(c))
	}
}

func each[T any](list []T, f func(T)) {
	for _, v := range list {
		f(v)
	}
}

// reader takes fields off. The first fault stays; everything after it is zero.
type reader struct {
	version byte // that the record was written in
	b       []byte
	s       string // the same bytes: texts are parts of one copy
	err     error
}

func newReader(b []byte, kind, version byte) *reader {
	r := &reader{}
	switch {
	case len(b) < 2 || b[0] != kind || b[1] == 0:
		r.err = ErrDamaged
	case b[1] > version:
		r.err = fmt.Errorf("%w (version %d, this one knows %d)", ErrVersion, b[1], version)
	default:
		r.version, r.b, r.s = b[1], b[2:], string(b[2:])
	}
	return r
}

func (r *reader) damaged() {
	if r.err == nil {
		r.err = ErrDamaged
	}
	r.b, r.s = nil, ""
}

func (r *reader) skip(n int) { r.b, r.s = r.b[n:], r.s[n:] }

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || size > 1 && r.b[size-1] == 0 { // one number has one spelling
		r.damaged()
		return 0
	}
	r.skip(size)
	return n
}

// count reads a length of things that have at least size bytes each: nothing
// is allocated that the record cannot hold.
func (r *reader) count(size int) int {
	n := r.number()
	if n > uint64(len(r.b)/size) {
		r.damaged()
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.count(1)
	s := r.s[:n]
	r.skip(n)
	return s
}

func (r *reader) bytes() []byte {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	b := bytes.Clone(r.b[:n])
	r.skip(n)
	return b
}

func (r *reader) fixed() (out [32]byte) {
	if len(r.b) < len(out) {
		r.damaged()
		return out
	}
	copy(out[:], r.b)
	r.skip(len(out))
	return out
}

func (r *reader) list() []string {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

func (r *reader) cookies() []CookieHash {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	list := make([]CookieHash, n)
	for i := range list {
		list[i] = CookieHash(r.text())
	}
	return list
}

func (r *reader) bool() bool {
	if len(r.b) == 0 || r.b[0] > 1 {
		r.damaged()
		return false
	}
	v := r.b[0] == 1
	r.skip(1)
	return v
}

func (r *reader) time() time.Time {
	n := r.number()
	if n == 0 {
		return time.Time{}
	}
	n--
	t := time.UnixMilli(int64(n>>1) ^ -int64(n&1)).UTC()
	if t.IsZero() { // which is 0
		r.damaged()
	}
	return t
}

func (r *reader) prefix() netip.Prefix {
	var p netip.Prefix
	b := r.bytes()
	err := p.UnmarshalBinary(b)
	if again, _ := p.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
		r.damaged()
		return netip.Prefix{}
	}
	return p
}

// end is the fault that was met; bytes that are left over are one.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.damaged()
	}
	return r.err
}
