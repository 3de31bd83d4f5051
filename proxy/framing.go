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
	line     line   // that was not complete in one read
	left     uint64 // bytes of a body or a chunk that follow
	trailer  int    // bytes of a trailer so far
	http11   bool
	coded    bool        // Transfer-Encoding: chunked seen
	length   bool        // Content-Length seen
	between  atomic.Bool // all that was read were complete requests
	broken   atomic.Bool // err is errFraming
	detached bool        // no HTTP any more
	err      error
	head     int      // bytes of a header that is not complete yet
	held     *account // of all such headers; nil: not counted
}

// keptLine is how much of a line is kept, in bytes: what decides about framing is
// shorter, and a line may have as many as a header.
const keptLine = 4 << 10

// line is a line of the wire as it comes.
type line struct {
	begin []byte   // its first bytes
	size  int      // of all of it
	end   [11]byte // its last ones, where it is longer than what is kept
}

// lineOf is a line that came in one piece; its first bytes are b's.
func lineOf(b []byte) line {
	l := line{begin: b[:min(len(b), keptLine)], size: len(b)}
	if !l.whole() {
		copy(l.end[:], b[len(b)-len(l.end):])
	}
	return l
}

// add takes more of a line.
func (l *line) add(b []byte) {
	l.begin = append(l.begin, b[:min(len(b), keptLine-len(l.begin))]...)
	l.size += len(b)
	n := min(len(b), len(l.end))
	copy(l.end[:], l.end[n:])
	copy(l.end[len(l.end)-n:], b[len(b)-n:])
}

// whole says whether all of the line is kept.
func (l *line) whole() bool { return l.size <= keptLine }

func (l *line) hasSuffix(s string) bool {
	if l.whole() {
		return bytes.HasSuffix(l.begin, []byte(s))
	}
	return bytes.HasSuffix(l.end[:], []byte(s))
}

// text is the line without its CR, or its beginning.
func (l *line) text() []byte {
	if l.whole() {
		return l.begin[:len(l.begin)-1]
	}
	return l.begin
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
func (c *ingressConn) detach() { c.detached, c.line = true, line{} }

// Close gives back what is held for the connection.
func (c *ingressConn) Close() error {
	c.held.close()
	return c.Conn.Close()
}

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
		c.between.Store(c.state == inRequestLine && c.line.size == 0)
		if !c.account(n) {
			c.err = errCrowded
			return 0, c.err
		}
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
			c.line.add(b[i:])
			return i, c.line.size <= maxHeaderBytes+8<<10 // the server gives up before
		}
		if c.line.size == 0 {
			c.line = lineOf(b[i : i+end])
		} else {
			c.line.add(b[i : i+end])
		}
		if c.line.size == 0 && c.state == inRequestLine {
			// A stray LF after a request: the server answers it, or skips it
			// after a POST, without an end to the request it still works on.
			return i + end + 1, false
		}
		if !c.line.hasSuffix("\r") || !c.endOfLine() {
			return i + end, false
		}
		i += end + 1
		c.line = line{}
	}
	return len(b), true
}

// account counts the bytes of headers that are not complete; false: there are too
// many of all connections'.
func (c *ingressConn) account(n int) bool {
	if c.held == nil {
		return true
	}
	if c.state != inHeader && (c.state != inRequestLine || c.line.size == 0) {
		c.head = 0
		c.held.release()
		return true
	}
	c.head += n
	return c.held.hold(c.head)
}

// endOfLine takes one line, which ends with CR.
func (c *ingressConn) endOfLine() bool {
	line := c.line.text()
	switch c.state {
	case inRequestLine:
		if len(line) == 0 {
			return true
		}
		c.http11 = c.line.hasSuffix(" HTTP/1.1\r")
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
		if err != nil || size[0] == '+' || !c.line.whole() || bytes.IndexByte(line, '\r') >= 0 {
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
		c.trailer += c.line.size + 1
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
	whole := c.line.whole()
	value := func() string { return string(bytes.Trim(line[colon+1:], " \t")) }
	switch colon {
	case len("Content-Length"):
		if !bytes.EqualFold(line[:colon], []byte("Content-Length")) {
			return true
		}
		v := value()
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil || !whole || v[0] == '+' || c.length || c.coded {
			return false
		}
		c.length, c.left = true, n
	case len("Transfer-Encoding"):
		if !bytes.EqualFold(line[:colon], []byte("Transfer-Encoding")) {
			return true
		}
		if !c.http11 || !whole || c.length || c.coded || !strings.EqualFold(value(), "chunked") {
			return false
		}
		c.coded = true
	}
	return true
}
