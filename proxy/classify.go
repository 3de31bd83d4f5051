package proxy

import (
	"net/http"
	"strings"
	"sync/atomic"
)

// endpoint is what a request path stands for.
type endpoint uint8

const (
	endpointNone               endpoint = iota // forwarded as it is
	endpointAuthorization                      // RFC 6749 section 3.1
	endpointToken                              // RFC 6749 section 3.2
	endpointRevocation                         // RFC 7009
	endpointIntrospection                      // RFC 7662
	endpointPAR                                // RFC 9126
	endpointDevice                             // RFC 8628 section 3.1
	endpointBackchannel                        // OpenID Connect CIBA section 7
	endpointEndSession                         // OpenID Connect RP-Initiated Logout
	endpointDoubtfulEndSession                 // that, where it is not spelled plainly
	endpointUserinfo                           // OpenID Connect Core section 5.3
	endpointJWKS
	endpointDiscovery // openid-configuration and oauth-authorization-server
	endpointOwn       // /_ort and all below it
	endpointAmbiguous // one for some upstreams, another for others
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
// slips past; what is forwarded stays the client's spelling. It is safe for
// concurrent use.
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

// classify returns the endpoint that r is for and its location (0 where there
// is none).
func (c *classifier) classify(r *http.Request) (endpoint, int) {
	t := c.table.Load()
	path := r.URL.Path
	var folded [256]byte
	if n, plain := foldPlain(folded[:], path); plain {
		found := t.lookup(folded[:n])
		return found.endpoint, found.location
	}
	if r.URL.RawPath != "" {
		path = r.URL.RawPath
	} else {
		path = r.URL.EscapedPath()
	}
	found := t.read(path)
	if found.endpoint == endpointEndSession && canonicalPath(path) != strings.ToLower(strings.TrimSuffix(path, "/")) {
		found.endpoint = endpointDoubtfulEndSession
	}
	return found.endpoint, found.location
}

// read looks up every reading of an escaped path.
func (t *compiledTable) read(path string) (found target) {
	whole := readings(path, func(reading []byte) bool {
		switch got := t.lookup(reading); {
		case got.endpoint == endpointNone || got == found:
		case found.endpoint != endpointNone:
			found = target{endpoint: endpointAmbiguous}
		default:
			found = got
		}
		return found.endpoint != endpointAmbiguous
	})
	if !whole {
		return target{endpoint: endpointAmbiguous}
	}
	return found
}

func (t *compiledTable) lookup(path []byte) target {
	if entry, ok := t.paths[string(path)]; ok {
		return entry
	}
	if atOrBelow(path, ownPrefix) {
		return target{endpoint: endpointOwn}
	}
	for _, p := range t.trees {
		if atOrBelow(path, p) {
			return target{endpointEndSession, t.paths[p].location}
		}
	}
	return target{}
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
