package proxy

import (
	"net/http"
	"strings"
	"sync/atomic"
)

// endpoint is what a request path stands for.
type endpoint uint8

const (
	endpointNone            endpoint = iota // forwarded as it is
	endpointAuthorization                   // RFC 6749 section 3.1
	endpointToken                           // RFC 6749 section 3.2
	endpointRevocation                      // RFC 7009
	endpointIntrospection                   // RFC 7662
	endpointPAR                             // RFC 9126
	endpointDevice                          // RFC 8628 section 3.1
	endpointBackchannel                     // OpenID Connect CIBA section 7
	endpointEndSession                      // OpenID Connect RP-Initiated Logout
	endpointBelowEndSession                 // its confirmation pages
	endpointUserinfo                        // OpenID Connect Core section 5.3
	endpointJWKS
	endpointDiscovery // openid-configuration and oauth-authorization-server
	endpointOwn       // /_ort and all below it
	endpointCount
)

const ownPrefix = "/_ort"

// target is one entry of an endpoint table: what it is, and where the caller
// keeps what else it knows of it (an index of its own).
type target struct {
	endpoint endpoint
	location int
}

// classifier says which endpoint a request is for. It reads the path as the
// most tolerant upstream would, so that no spelling of an intercepted endpoint
// slips past; what is forwarded stays the client's spelling. Where tolerant
// readings differ (whether "//" or an escape is resolved before "..") all are
// tried. It is safe for concurrent use.
type classifier struct {
	table atomic.Pointer[compiledTable]
}

type compiledTable struct {
	paths map[string]target
	trees []string // paths whose descendants count: end-session endpoints
}

// newClassifier takes a table of escaped paths.
func newClassifier(t map[string]target) *classifier {
	c := new(classifier)
	c.replace(t)
	return c
}

// replace swaps the table. Of two spellings of one path the endpoint that
// stands first in the list above wins.
func (c *classifier) replace(t map[string]target) {
	n := &compiledTable{paths: make(map[string]target, len(t))}
	for path, entry := range t {
		key := canonicalPath(path)
		if old, there := n.paths[key]; there && old.endpoint <= entry.endpoint {
			continue
		}
		n.paths[key] = entry
	}
	for path, entry := range n.paths {
		if entry.endpoint == endpointEndSession && path != "/" {
			n.trees = append(n.trees, path)
		}
	}
	c.table.Store(n)
}

// classify returns the endpoint that r is for and its location (0 for
// endpointNone and endpointOwn).
func (c *classifier) classify(r *http.Request) (endpoint, int) {
	t := c.table.Load()
	path := r.URL.Path
	var folded [256]byte
	if n, plain := foldPlain(folded[:], path); plain {
		return t.lookup(folded[:n])
	}
	if r.URL.RawPath != "" {
		path = r.URL.RawPath
	} else {
		path = r.URL.EscapedPath()
	}
	var found target
	readings(path, func(reading []byte) bool {
		found.endpoint, found.location = t.lookup(reading)
		return found.endpoint == endpointNone
	})
	return found.endpoint, found.location
}

func (t *compiledTable) lookup(path []byte) (endpoint, int) {
	if entry, ok := t.paths[string(path)]; ok {
		return entry.endpoint, entry.location
	}
	if atOrBelow(path, ownPrefix) {
		return endpointOwn, 0
	}
	for _, p := range t.trees {
		if atOrBelow(path, p) {
			return endpointEndSession, t.paths[p].location
		}
	}
	return endpointNone, 0
}

func atOrBelow(path []byte, root string) bool {
	return len(path) >= len(root) && string(path[:len(root)]) == root && (len(path) == len(root) || path[len(root)] == '/')
}

// foldPlain copies an already canonical path in lower case. It reports false
// for one that does not fit or that readings could differ about.
func foldPlain(dst []byte, path string) (int, bool) {
	if len(path) > len(dst) || len(path) < 2 || path[0] != '/' || path[len(path)-1] == '/' {
		return 0, false
	}
	last := byte(0)
	for i := range len(path) {
		c := path[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '%', c == ';', c == '\\', c == '?', c == '#', c == 0,
			last == '/' && (c == '/' || c == '.'):
			return 0, false
		}
		dst[i], last = c, c
	}
	return len(path), true
}

// canonicalPath is the first of the readings of an escaped path: decoded until
// nothing changes, "\" as "/", cut at an (escaped) "?", "#" or NUL, ";…" cut
// in every segment, doubled slashes and dots resolved, trailing slash cut,
// ASCII lower case.
func canonicalPath(path string) string {
	return string(finish(decodeFully(path), true, true))
}

// readings calls try with each way to read path, the usual one first, until
// it returns false. Without dot segments there is only one.
func readings(path string, try func([]byte) bool) {
	decoded := decodeFully(path)
	if !try(finish(decoded, true, true)) || !strings.Contains(string(decoded), "..") {
		return
	}
	starts := [][]byte{decoded}
	if strings.Contains(path, "..") {
		// Dots resolved before anything is decoded, as RFC 3986 has it.
		starts = append(starts,
			decodeFully(string(resolve([]byte(path), true))),
			decodeFully(string(resolve([]byte(path), false))))
	}
	for _, d := range starts {
		for _, backslash := range [...]bool{true, false} {
			for _, merge := range [...]bool{true, false} {
				if !try(finish(d, backslash, merge)) {
					return
				}
			}
		}
	}
}

// finish does the steps after decoding. d is left as it is.
func finish(d []byte, backslash, merge bool) []byte {
	b := make([]byte, 0, len(d)+1)
	if len(d) == 0 || d[0] != '/' {
		b = append(b, '/')
	}
	cut := false // in the rest of a segment after ";"
scan:
	for _, c := range d {
		switch {
		case c == '?', c == '#', c == 0:
			break scan
		case c == '\\' && backslash:
			c = '/'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		switch {
		case c == '/':
			cut = false
		case c == ';':
			cut = true
		}
		if !cut {
			b = append(b, c)
		}
	}
	b = resolve(b, merge)
	w := 0 // what is left of "//" goes now
	for i, c := range b {
		if c == '/' && i > 0 && b[w-1] == '/' {
			continue
		}
		b[w] = c
		w++
	}
	b = b[:w]
	if len(b) > 1 && b[len(b)-1] == '/' {
		b = b[:len(b)-1]
	}
	return b
}

// resolve removes "." and ".." segments in place (RFC 3986 section 5.2.4).
// With merge, "//" counts as "/", else there is an empty segment between.
func resolve(b []byte, merge bool) []byte {
	w := 0 // b[:w] is done and ends before a slash
	for i := 0; i < len(b); {
		// b[i] is a slash, or the path does not begin with one.
		j := i + 1
		for j < len(b) && b[j] != '/' {
			j++
		}
		segment := b[i:j]
		last := j == len(b)
		switch string(segment) {
		case "/..":
			for w > 0 && b[w-1] != '/' {
				w--
			}
			w = max(w-1, 0)
			if last {
				b[w] = '/'
				w++
			}
		case "/.":
			if last {
				b[w] = '/'
				w++
			}
		case "/":
			if !merge || last {
				b[w] = '/'
				w++
			}
		default:
			w += copy(b[w:], segment)
		}
		i = j
	}
	if w == 0 {
		return append(b[:0], '/')
	}
	return b[:w]
}

// decodeFully percent-decodes until nothing changes. An escape that appears by
// decoding ends where the decoded byte is, so one pass with a look back at the
// result finds them all, in linear time however deep they are nested.
func decodeFully(s string) []byte {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		b = append(b, s[i])
		for n := len(b); n >= 3 && b[n-3] == '%'; n = len(b) {
			hi, lo := unhex(b[n-2]), unhex(b[n-1])
			if hi < 0 || lo < 0 {
				break
			}
			b = append(b[:n-3], byte(hi<<4|lo))
		}
	}
	return b
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
