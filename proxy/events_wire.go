package proxy

import (
	"net"
	"net/http"
	"strconv"
	"time"
)

// eventWriter is where a stream's events go.
type eventWriter interface {
	// write says whether the text is on its way; a page that reads nothing is
	// given up after streamWriteLimit.
	write(text string) bool
	// end ends the answer in good order.
	end()
}

// served writes by the server, as HTTP/2 needs it.
type served struct {
	w  http.ResponseWriter
	to *http.ResponseController
}

func (s served) write(text string) bool {
	s.to.SetWriteDeadline(time.Now().Add(streamWriteLimit))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.to.Flush() == nil
}

func (s served) end() {}

// taken writes to a connection of HTTP/1.1 that was taken from the server. The
// server would keep two buffers, the request and a deep stack for each stream:
// more than all else that a stream costs.
type taken struct{ conn net.Conn }

// takeOver takes a request's connection and writes the head of the answer, which
// is the last one on it. It is false where the connection stays the server's.
func takeOver(w http.ResponseWriter, r *http.Request) (_ taken, ok bool) {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.ContentLength != 0 {
		return taken{}, false
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return taken{}, false
	}
	_ = conn.SetDeadline(time.Now().Add(streamWriteLimit))
	buffered.WriteString("HTTP/1.1 200 OK\r\nDate: " + time.Now().UTC().Format(http.TimeFormat) + "\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n")
	_ = w.Header().Write(buffered)
	buffered.WriteString("\r\n")
	_ = buffered.Flush() // a fault shows at the first event
	_ = conn.SetDeadline(time.Time{})
	if c := ingressOf(conn); c != nil {
		c.detach()
		conn = c.Conn
	}
	return taken{conn}, true
}

func (t taken) write(text string) bool {
	_ = t.conn.SetWriteDeadline(time.Now().Add(streamWriteLimit))
	_, err := t.conn.Write([]byte(strconv.FormatInt(int64(len(text)), 16) + "\r\n" + text + "\r\n"))
	return err == nil
}

func (t taken) end() {
	_ = t.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = t.conn.Write([]byte("0\r\n\r\n"))
}

// awaitEnd returns when the client has left. What it sends is passed over.
func (t taken) awaitEnd() {
	var b [16]byte
	for {
		if _, err := t.conn.Read(b[:]); err != nil {
			return
		}
	}
}
