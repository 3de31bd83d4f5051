package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// maxBody bounds the body of a request that the gateway reads, in bytes.
const maxBody = 1 << 20

// bodyTimeout is how long a body that the gateway reads may take.
const bodyTimeout = 30 * time.Second

// The bounds of what the bodies that are read take in memory together, in bytes,
// and headers: those that are coming, and those of requests that are at work. What is
// small does not count: no flood of large ones keeps it out.
const (
	smallHeld = 16 << 10
	maxHeld   = 64 << 20
	maxHeads  = 32 << 20
)

var errCrowded = errors.New("too much is being read")

// held is what one request has of it.
type held struct {
	all  *memory // of all requests
	read int64
	kept int64
}

// memory is what is held beyond what is small.
type memory struct {
	bytes atomic.Int64
	limit int64
}

// holding gives a request its account; release is called at its end.
func (g *Gateway) holding(r *http.Request) (_ *http.Request, release func()) {
	h := &held{all: &g.held}
	return r.WithContext(context.WithValue(r.Context(), heldKey, h)), func() { h.all.bytes.Add(-h.kept) }
}

// take counts more bytes; false: there are too many of all requests.
func (h *held) take(n int) bool {
	h.read += int64(n)
	more := h.read - smallHeld - h.kept
	if more <= 0 {
		return true
	}
	h.kept += more
	return h.all.bytes.Add(more) <= h.all.limit
}

// account is what a connection has of a memory, beyond what is small.
type account struct {
	all    *memory
	mu     sync.Mutex
	kept   int64
	closed bool
}

// hold says that so many bytes are held now; false: there are too many of all.
func (a *account) hold(bytes int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	more := int64(bytes) - smallHeld - a.kept
	if a.closed || more <= 0 {
		return true
	}
	a.kept += more
	return a.all.bytes.Add(more) <= a.all.limit
}

func (a *account) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all.bytes.Add(-a.kept)
	a.kept = 0
}

// close releases for good. A nil account has nothing.
func (a *account) close() {
	if a == nil {
		return
	}
	a.release()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

type heldReader struct {
	io.Reader
	held *held
}

func (r heldReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if !r.held.take(n) {
		return n, errCrowded
	}
	return n, err
}

// counted is a body that is counted as it is read.
func counted(r *http.Request) io.Reader {
	if h, ok := r.Context().Value(heldKey).(*held); ok {
		return heldReader{r.Body, h}
	}
	return r.Body
}

// readUpTo reads a body, at most limit bytes of it. One that comes in drops holds
// nobody up.
func readUpTo(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *ortengine.Error) {
	connection := http.NewResponseController(w)
	connection.SetReadDeadline(time.Now().Add(bodyTimeout))
	defer connection.SetReadDeadline(time.Time{})
	raw, err := io.ReadAll(io.LimitReader(counted(r), limit))
	switch {
	case errors.Is(err, errCrowded):
		return nil, ortengine.Unavailable("other", "Too many large requests are being read", nil)
	case err != nil:
		e := invalidRequest("The body could not be read")
		e.Cause = err
		return nil, e
	}
	return raw, nil
}

// readBody reads a body whole.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *ortengine.Error) {
	raw, e := readUpTo(w, r, maxBody+1)
	if e == nil && len(raw) > maxBody {
		return nil, tooLarge()
	}
	return raw, e
}

func tooLarge() *ortengine.Error {
	return refusal(http.StatusRequestEntityTooLarge, ortengine.InvalidRequest, "The body is larger than 1 MiB")
}
