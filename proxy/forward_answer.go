package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// cleanResponse removes what belongs to the connection to the upstream.
func cleanResponse(res *http.Response) {
	upgrade := res.Header["Upgrade"]
	removeHopByHop(res.Header)
	if res.StatusCode == http.StatusUpgradeRequired && upgrade != nil {
		res.Header["Upgrade"] = upgrade // RFC 9110 section 15.5.22: it says to which protocol
		res.Header["Connection"] = []string{"Upgrade"}
	}
	if res.ContentLength < 0 && len(res.TransferEncoding) > 0 {
		delete(res.Header, "Content-Length") // RFC 9112 section 6.3: overridden by the coding
	}
}

// removeHopByHop applies RFC 9110 section 7.6.1.
func removeHopByHop(h http.Header) {
	if c := h["Connection"]; len(c) > 0 {
		removeNamed(h, c)
	}
	for k := range h {
		switch k {
		case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Transfer-Encoding", "Upgrade",
			"Proxy-Authenticate", "Trailer":
			delete(h, k)
		}
	}
}

// addFields adds src to dst; values are shared.
func addFields(dst, src http.Header) {
	for k, vv := range src {
		if old := dst[k]; len(old) > 0 {
			vv = append(old[:len(old):len(old)], vv...)
		}
		dst[k] = vv
	}
}

// nothingGuessed keeps the server from adding fields that the upstream did not
// send: a nil value stops it.
func nothingGuessed(h http.Header) {
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil
	}
	if _, ok := h["Date"]; !ok {
		h["Date"] = nil
	}
}

// addHeader makes the header of res the client's.
func (x *exchange) addHeader(res *http.Response) {
	h := x.w.Header()
	addFields(h, res.Header)
	nothingGuessed(h)
	if len(res.Trailer) > 0 {
		names := make([]string, 0, len(res.Trailer))
		for k := range res.Trailer {
			names = append(names, k)
		}
		slices.Sort(names)
		h["Trailer"] = []string{strings.Join(names, ", ")}
	}
	if x.r.ProtoMajor == 1 {
		switch {
		case res.StatusCode == http.StatusNotModified:
			// The server drops these two from a 304, in this spelling. They
			// describe what a GET would give (RFC 9110 section 15.4.5).
			respell(h, "Content-Length", "content-length")
			respell(h, "Content-Type", "content-type")
		case res.ContentLength < 0:
			h["Transfer-Encoding"] = chunkedCoding // or the server finds a length for a short body
		}
	}
}

func respell(h http.Header, name, as string) {
	if vv := h[name]; len(vv) > 0 {
		h[as] = vv
		delete(h, name)
	}
}

// writeTrailers puts the trailer of an answer where the server looks for it
// when the handler ends.
func writeTrailers(h, trailer http.Header) {
	if len(trailer) == 0 {
		return
	}
	announced := h["Trailer"]
	for k, vv := range trailer {
		switch {
		case len(announced) == 0 || !hasToken(announced, strings.ToLower(k)):
			h[http.TrailerPrefix+k] = vv
		case len(vv) == 0:
			delete(h, k) // announced, not sent: a header field of that name is none
		default:
			h[k] = vv
		}
	}
}

const (
	copyBufferSize = 64 << 10
	// A header whose body keeps us waiting this long leaves alone. Most bodies
	// come in the same packet, and then header and body leave in one, too.
	headerDelay = 2 * time.Millisecond
)

// copyBuffer is the memory of one answer being streamed.
type copyBuffer struct {
	buf   [copyBufferSize]byte
	timer *time.Timer

	mu    sync.Mutex
	flush func() error // not nil while the header waits
}

var copyBuffers = sync.Pool{New: func() any {
	b := new(copyBuffer)
	b.timer = time.AfterFunc(time.Hour, b.headerDue)
	b.timer.Stop()
	return b
}}

func (b *copyBuffer) headerDue() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.flush != nil {
		_ = b.flush() // the next write reports it
		b.flush = nil
	}
}

// headerMayWait sends the header on its own if the body is late.
func (b *copyBuffer) headerMayWait(flush func() error) {
	b.mu.Lock()
	b.flush = flush
	b.mu.Unlock()
	b.timer.Reset(headerDelay)
}

func (b *copyBuffer) bodyIsHere() {
	b.timer.Stop()
	b.mu.Lock()
	b.flush = nil
	b.mu.Unlock()
}

// copyBody streams the body of res. Whatever the upstream has sent leaves at
// once, but header and body together where they came together.
func copyBody(w http.ResponseWriter, r *http.Request, res *http.Response) error {
	if res.Body == http.NoBody || r.Method == http.MethodHead {
		return nil
	}
	flush := flusherOf(w)
	b := copyBuffers.Get().(*copyBuffer)
	defer copyBuffers.Put(b)
	if isEventStream(res.Header) {
		if err := flush(); err != nil {
			return err
		}
	} else {
		b.headerMayWait(flush)
	}
	var written int64
	for {
		n, err := res.Body.Read(b.buf[:])
		if written == 0 {
			b.bodyIsHere()
		}
		if n > 0 {
			if _, werr := w.Write(b.buf[:n]); werr != nil {
				return werr
			}
			written += int64(n)
		}
		switch {
		case err == io.EOF:
			if res.ContentLength < 0 && r.ProtoMajor > 1 {
				return flush() // or the server finds a length for a short body
			}
			return nil
		case err != nil:
			_ = flush() // what has come belongs to the client
			return err
		case written == res.ContentLength, n == len(b.buf):
		default:
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

func flusherOf(w http.ResponseWriter) func() error {
	if f, ok := w.(interface{ FlushError() error }); ok {
		return f.FlushError
	}
	return http.NewResponseController(w).Flush
}

func isEventStream(h http.Header) bool {
	ct := h["Content-Type"]
	return len(ct) > 0 && len(ct[0]) >= 17 && strings.EqualFold(ct[0][:17], "text/event-stream")
}

// upgrade connects client and upstream when both have agreed on another
// protocol (RFC 9110 section 7.8), until one of them ends.
func (x *exchange) upgrade(out *http.Request, res *http.Response) {
	back, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		x.unavailable(errors.New("upstream switched protocols without a connection"))
		return
	}
	defer back.Close()
	asked := out.Header["Upgrade"]
	got := res.Header.Get("Upgrade")
	if got == "" || !hasToken(asked, strings.ToLower(got)) {
		x.unavailable(fmt.Errorf("upstream switched to %q unasked", got))
		return
	}
	if x.observe != nil {
		if err := x.observe(res); err != nil {
			x.unavailable(err)
			return
		}
	}
	conn, brw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.unavailable(fmt.Errorf("switching protocols: %w", err))
		return
	}
	defer conn.Close()
	if c := ingressOf(conn); c != nil {
		c.detach() // what follows is no HTTP
	}
	_ = conn.SetDeadline(time.Time{})
	if err := writeSwitch(brw.Writer, x.w.Header(), res); err != nil {
		return
	}
	tunnel(conn, brw.Reader, back)
}

func writeSwitch(w *bufio.Writer, own http.Header, res *http.Response) error {
	h := make(http.Header, len(res.Header)+len(own))
	addFields(h, own)
	addFields(h, res.Header)
	_, status, _ := strings.Cut(res.Status, " ")
	fmt.Fprintf(w, "HTTP/1.1 101 %s\r\n", status)
	_ = h.Write(w)
	_, _ = w.WriteString("\r\n")
	return w.Flush()
}

// tunnel copies both ways. An end of data from one side is passed to the other
// where it can be; an error ends both.
func tunnel(client net.Conn, buffered *bufio.Reader, back io.ReadWriteCloser) {
	results := make(chan error, 2)
	go func() {
		var src io.Reader = client
		if buffered.Buffered() > 0 {
			src = buffered
		}
		_, err := io.Copy(back, src)
		results <- errors.Join(err, closeWrite(back))
	}()
	go func() {
		_, err := io.Copy(client, back)
		results <- errors.Join(err, closeWrite(client))
	}()
	if err := <-results; err == nil {
		<-results
	}
	// The deferred closes end the other copy, which then leaves by itself.
}

func closeWrite(w any) error {
	if c, ok := w.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.New("connection cannot be closed for writing alone")
}
