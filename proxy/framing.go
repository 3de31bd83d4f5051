package proxy

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
)

var errFraming = errors.New("request framing that HTTP/1.1 forbids")

// ingressConn follows the framing of the requests that the server reads from a
// connection and ends reading where Go's server is more tolerant than a proxy
// may be (RFC 9112 sections 2.2, 5.2, 6.1): bare LF, folded lines, both
// lengths or one twice, a coding but chunked, Transfer-Encoding in HTTP/1.0.
// What the server has of such a request is incomplete, so it answers 400 and
// closes. An upstream that reads such bytes otherwise than we do would see
// two requests where we see one.
//
// It only looks, and only refuses: where it understands less than the server
// does, it refuses.
type ingressConn struct {
	net.Conn
	state    framingState
	line     []byte // beginning of a line that was not complete in one read
	left     uint64 // bytes of a body or a chunk that follow
	trailer  int    // bytes of a trailer so far
	http11   bool
	coded    bool        // Transfer-Encoding: chunked seen
	length   bool        // Content-Length seen
	between  atomic.Bool // all that was read were complete requests
	broken   atomic.Bool // err is errFraming
	detached bool        // no HTTP any more
	err      error
}

type framingState uint8

const (
	inRequestLine framingState = iota
	inHeader
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailer
)

// detach ends the checks; nobody may be reading.
func (c *ingressConn) detach() { c.detached, c.line = true, nil }

// CloseWrite passes the end of data on, where the connection can.
func (c *ingressConn) CloseWrite() error { return closeWrite(c.Conn) }

func (c *ingressConn) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.Conn.Read(p)
	if n > 0 && !c.detached {
		good, ok := c.follow(p[:n])
		if !ok {
			c.err = errFraming
			c.broken.Store(true)
			if good == 0 {
				return 0, c.err
			}
			return good, nil
		}
		c.between.Store(c.state == inRequestLine && len(c.line) == 0)
	}
	if err != nil && c.state >= inBody && len(p) > 1 {
		// A deadline in the middle of a body: no other request can follow. (The
		// server reads one byte when it watches for the client's end, and uses
		// a deadline to stop that.)
		c.err = err
	}
	return n, err
}

// follow reads b, and returns how many bytes of it may be passed on if they
// break the rules.
func (c *ingressConn) follow(b []byte) (int, bool) {
	for i := 0; i < len(b); {
		if c.state == inBody || c.state == inChunk {
			n := min(uint64(len(b)-i), c.left)
			i += int(n)
			if c.left -= n; c.left == 0 {
				if c.state == inChunk {
					c.state = inChunkEnd
				} else {
					c.state = inRequestLine
				}
			}
			continue
		}
		end := bytes.IndexByte(b[i:], '\n')
		if end < 0 {
			c.line = append(c.line, b[i:]...)
			return i, len(c.line) <= maxHeaderBytes+8<<10 // the server gives up before
		}
		line := b[i : i+end]
		if len(c.line) > 0 {
			line = append(c.line, line...)
			c.line = line[:0]
		}
		ok := len(line) > 0 && line[len(line)-1] == '\r'
		if !ok && len(line) == 0 && c.state == inRequestLine {
			// A stray LF after a request: the server answers it, or skips it
			// after a POST, without an end to the request it still works on.
			return i + end + 1, false
		}
		if !ok || !c.endOfLine(line[:len(line)-1]) {
			return i + end, false
		}
		i += end + 1
		if cap(c.line) > 4<<10 {
			c.line = nil
		}
	}
	return len(b), true
}

// endOfLine takes one line without its CR LF.
func (c *ingressConn) endOfLine(line []byte) bool {
	switch c.state {
	case inRequestLine:
		if len(line) == 0 {
			return true
		}
		c.http11 = bytes.HasSuffix(line, []byte(" HTTP/1.1"))
		c.coded, c.length, c.left = false, false, 0
		c.state = inHeader
	case inHeader:
		if len(line) > 0 {
			return c.field(line)
		}
		switch {
		case c.coded:
			c.state = inChunkSize
		case c.left > 0:
			c.state = inBody
		default:
			c.state = inRequestLine
		}
	case inChunkSize:
		size, _, _ := bytes.Cut(line, []byte{';'})
		size = bytes.TrimRight(size, " \t")
		n, err := strconv.ParseUint(string(size), 16, 63)
		if err != nil || size[0] == '+' || len(line) > 4<<10 || bytes.IndexByte(line, '\r') >= 0 {
			return false
		}
		c.left, c.state = n, inChunk
		if n == 0 {
			c.state, c.trailer = inTrailer, 0
		}
	case inChunkEnd:
		c.state = inChunkSize
		return len(line) == 0
	case inTrailer:
		if len(line) == 0 {
			c.state = inRequestLine
			return true
		}
		c.trailer += len(line) + 2
		return c.trailer <= maxTrailerBytes && isField(line, bytes.IndexByte(line, ':'))
	}
	return true
}

// isField reports whether a line is neither folded nor has a space before its
// colon. All other faults the server sees.
func isField(line []byte, colon int) bool {
	if colon <= 0 {
		return false
	}
	for _, b := range line[:colon] {
		if b <= ' ' {
			return false
		}
	}
	return true
}

// field takes one line of a header.
func (c *ingressConn) field(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if !isField(line, colon) {
		return false
	}
	value := func() string { return string(bytes.Trim(line[colon+1:], " \t")) }
	switch colon {
	case len("Content-Length"):
		if !bytes.EqualFold(line[:colon], []byte("Content-Length")) {
			return true
		}
		v := value()
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil || v[0] == '+' || c.length || c.coded {
			return false
		}
		c.length, c.left = true, n
	case len("Transfer-Encoding"):
		if !bytes.EqualFold(line[:colon], []byte("Transfer-Encoding")) {
			return true
		}
		if !c.http11 || c.length || c.coded || !strings.EqualFold(value(), "chunked") {
			return false
		}
		c.coded = true
	}
	return true
}
