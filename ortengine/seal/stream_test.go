package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func sealStream(t testing.TB, b *Box, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := b.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(text, 10_007) {
		if n, err := w.Write(part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Close() == nil {
		t.Error("closed twice without an error")
	}
	return out.Bytes()
}

func openStream(b *Box, sealed []byte) ([]byte, error) {
	r, err := b.NewReader(iotest.HalfReader(bytes.NewReader(sealed)))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// chunks are the chunks of a stream, each with its head.
func chunks(sealed []byte) (head []byte, list [][]byte) {
	n := len(streamHead) + len(streamVersion) + streamID
	head, rest := sealed[:n], sealed[n:]
	for len(rest) > 0 {
		size := 5 + int(binary.BigEndian.Uint32(rest[1:]))
		list, rest = append(list, rest[:size]), rest[size:]
	}
	return head, list
}

func TestStreamComesBack(t *testing.T) {
	box := mustParse(t, entry("k1", 1)).Box("move")
	for _, n := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 5} {
		text := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		got, err := openStream(mustParse(t, entry("k2", 2), entry("k1", 1)).Box("move"), sealStream(t, box, text))
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	box := mustParse(t, entry("k1", 1)).Box("move")
	text := bytes.Repeat([]byte("secret"), chunkSize/2)
	sealed := sealStream(t, box, text)
	other := sealStream(t, box, text)
	head, list := chunks(sealed)
	_, foreign := chunks(other)
	last := len(list) - 1
	join := func(parts ...[]byte) []byte { return slices.Concat(append([][]byte{head}, parts...)...) }
	endless := slices.Clone(list[0])
	endless[0] = 1
	newer := bytes.Replace(sealed, []byte("stream 1\n"), []byte("stream 2\n"), 1)
	for name, c := range map[string]struct {
		bytes []byte
		want  error
	}{
		"nothing":                       {nil, ErrForeign},
		"another file":                  {[]byte(strings.Repeat("x", 100)), ErrForeign},
		"a newer version":               {newer, ErrNewer},
		"the head alone":                {head, ErrCut},
		"half of the head":              {head[:30], ErrCut},
		"without the last chunk":        {join(list[:last]...), ErrCut},
		"without the first chunk":       {join(list[1:]...), ErrOpen},
		"two chunks in the other order": {join(slices.Concat([][]byte{list[1], list[0]}, list[2:])...), ErrOpen},
		"a chunk twice":                 {join(slices.Concat(list[:1], list)...), ErrOpen},
		"a chunk of another stream":     {join(slices.Concat([][]byte{foreign[0]}, list[1:])...), ErrOpen},
		"a chunk that says it is last":  {join(endless), ErrOpen},
		"bytes behind the last":         {append(slices.Clone(sealed), 0), ErrOpen},
		"a chunk of no size":            {join([]byte{1, 0, 0, 0, 0}), ErrOpen},
		"a chunk of any size":           {join([]byte{1, 255, 255, 255, 255}), ErrOpen},
	} {
		if got, err := openStream(box, c.bytes); !errors.Is(err, c.want) {
			t.Errorf("%s: got %d bytes, %v, want %v", name, len(got), err, c.want)
		}
	}
	for n := 0; n < len(sealed); n += 997 {
		if _, err := openStream(box, sealed[:n]); !errors.Is(err, ErrCut) && !errors.Is(err, ErrForeign) {
			t.Errorf("the first %d bytes: got %v", n, err)
		}
	}
	for n := len(streamHead) + len(streamVersion); n < len(sealed); n += 499 {
		changed := slices.Clone(sealed)
		changed[n] ^= 1
		if _, err := openStream(box, changed); err == nil {
			t.Errorf("byte %d changed: it opened", n)
		}
	}
	var key *KeyError
	if _, err := openStream(mustParse(t, entry("k2", 2)).Box("move"), sealed); !errors.As(err, &key) || key.ID != "k1" {
		t.Errorf("another key: got %v, want a KeyError of k1", err)
	}
	if _, err := openStream(mustParse(t, entry("k1", 2)).Box("move"), sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("another key of the same id: got %v", err)
	}
	if _, err := openStream(mustParse(t, entry("k1", 1)).Box("other"), sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("another purpose: got %v", err)
	}
}

func TestStreamTellsTheFaultsOfItsNeighbours(t *testing.T) {
	box := mustParse(t, entry("k1", 1)).Box("move")
	broken := errors.New("broken")
	sealed := sealStream(t, box, make([]byte, 2*chunkSize))
	r, err := box.NewReader(io.MultiReader(bytes.NewReader(sealed[:chunkSize]), iotest.ErrReader(broken)))
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if !errors.Is(err, broken) {
		t.Errorf("reading: got %v", err)
	}
	w, err := box.NewWriter(&full{room: 100})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 3*chunkSize))
	if err := w.Close(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("writing: got %v", err)
	}
}

// full takes so many bytes and no more.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.room {
		return 0, io.ErrShortWrite
	}
	f.room -= len(p)
	return len(p), nil
}
