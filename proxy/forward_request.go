package proxy

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// requestEdit says what is different in a request that the gateway rewrites.
type requestEdit struct {
	RawQuery               *string  // nil: the client's
	Body                   []byte   // not nil: in place of the client's body, with its own length
	Drop                   []string // header fields not to be sent
	AcceptEncodingIdentity bool     // the gateway reads the answer
}

var (
	emptyValue    = []string{""}
	zeroLength    = []string{"0"}
	identityValue = []string{"identity"}
	chunkedCoding = []string{"chunked"}
)

// outgoing builds the request that goes up for r: its own target, Host and
// header, without hop-by-hop fields and own cookies, with the address fields
// that the upstream is to trust. r is left as it is; its body is shared.
func (f *forwarder) outgoing(ctx context.Context, r *http.Request, edit requestEdit) *http.Request {
	out := http.Request{
		Method:     r.Method,
		URL:        f.target(r, edit.RawQuery),
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     f.header(r),
		Host:       r.Host,
	}
	if out.Host == "" {
		out.Host = f.public.hostport // never the upstream's own name
	}
	for _, name := range edit.Drop {
		out.Header.Del(name)
	}
	if edit.AcceptEncodingIdentity {
		out.Header["Accept-Encoding"] = identityValue
	}
	f.setBody(&out, r, edit.Body)
	return out.WithContext(ctx)
}

// target makes a URL whose RequestURI is the client's request target, byte
// for byte. Path and RawPath cannot carry every byte (a raw "|" is escaped),
// Opaque can, but "//evil/token" in Opaque would be read as host and path.
func (f *forwarder) target(r *http.Request, rawQuery *string) *url.URL {
	t := originForm(r)
	if rawQuery != nil {
		path, _, asked := strings.Cut(t, "?")
		if asked || *rawQuery != "" {
			path += "?" + *rawQuery
		}
		t = path
	}
	if !strings.HasPrefix(t, "//") {
		return &url.URL{Scheme: f.scheme, Host: f.host, Opaque: t}
	}
	path, query, asked := strings.Cut(t, "?")
	u := &url.URL{Scheme: f.scheme, Host: f.host, RawPath: path, RawQuery: query, ForceQuery: asked && query == ""}
	if decoded, err := url.PathUnescape(path); err == nil {
		if u.Path = decoded; u.RequestURI() == t {
			return u
		}
	}
	// The rest is rare: two slashes first, and a byte that no URL may have.
	// The absolute form says the same with the same bytes, and every server
	// must understand it (RFC 9112 section 3.2.2).
	host := r.Host
	if host == "" {
		host = f.public.hostport
	}
	return &url.URL{Scheme: f.scheme, Host: f.host, Opaque: "//" + host + t}
}

// originForm returns the request target without scheme and authority: their
// host is in r.Host already (RFC 9112 section 3.2.2).
func originForm(r *http.Request) string {
	t := r.RequestURI
	if t == "" {
		t = r.URL.RequestURI()
	}
	if t[0] == '/' || t == "*" {
		return t
	}
	_, t, _ = strings.Cut(t, "://")
	i := strings.IndexAny(t, "/?")
	switch {
	case i < 0:
		return "/"
	case t[i] == '?':
		return "/" + t[i:]
	}
	return t[i:]
}

// header returns what of r's header goes up. Values are shared with r.
func (f *forwarder) header(r *http.Request) http.Header {
	peer := peerOf(r)
	trusted := f.trustsPeer(peer)
	h := make(http.Header, len(r.Header)+5)
	for k, vv := range r.Header {
		switch k {
		case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Transfer-Encoding", "Upgrade",
			"Proxy-Authorization", "Proxy-Authenticate", "Trailer", "Content-Length":
			continue
		case "Cookie":
			if vv = f.cutCookies(vv); len(vv) == 0 {
				continue
			}
		default:
			if !trusted && isNeighbourField(k) {
				continue
			}
		}
		h[k] = vv
	}
	if c := r.Header["Connection"]; len(c) > 0 {
		removeNamed(h, c)
		keepConnectionFields(h, r)
	} else if r.Header["Te"] != nil {
		keepConnectionFields(h, r)
	}
	f.setAddressFields(h, r.Header, peer, trusted)

	switch ua := h["User-Agent"]; {
	case len(ua) == 1 && ua[0] != "":
	case len(ua) == 0:
		h["User-Agent"] = emptyValue // the transport sends its own otherwise
	default:
		// The transport sends at most one, and none that is empty. It knows
		// the field by this spelling alone.
		h["User-Agent"], h["user-agent"] = emptyValue, ua
	}
	return h
}

// namesNothing is a quick look at the usual Connection fields.
func namesNothing(connection []string) bool {
	return len(connection) == 0 || len(connection) == 1 && (connection[0] == "keep-alive" || connection[0] == "close")
}

// removeNamed deletes the fields that a Connection field names (RFC 9110
// section 7.6.1).
func removeNamed(h http.Header, connection []string) {
	if namesNothing(connection) {
		return
	}
	for _, v := range connection {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.Trim(name, " \t"); name != "" {
				h.Del(name)
			}
		}
	}
}

// withoutHopFields is a request without the fields that its Connection field names
// (RFC 9110 section 7.6.1), but for those that are about the connection itself.
// They do not go up, so nothing may be decided by them: a proof or a secret that
// the gateway has looked at and the upstream never sees proves nothing.
func withoutHopFields(r *http.Request) *http.Request {
	named := r.Header["Connection"]
	if namesNothing(named) {
		return r
	}
	left := maps.Clone(r.Header)
	removeNamed(left, named)
	if len(left) == len(r.Header) {
		return r
	}
	for _, own := range [...]string{"Connection", "Upgrade", "Te", "Trailer", "Keep-Alive", "Content-Length", "Transfer-Encoding"} {
		if values, there := r.Header[own]; there {
			left[own] = values
		}
	}
	if len(left) == len(r.Header) {
		return r
	}
	without := *r
	without.Header = left
	return &without
}

// keepConnectionFields makes the Connection field of our own hop: an upgrade
// that the client asks for, but never to h2c, which would take the connection
// out of our hands; and TE: trailers.
func keepConnectionFields(h http.Header, r *http.Request) {
	var own []string
	if r.ProtoMajor == 1 && hasToken(r.Header["Connection"], "upgrade") {
		var protocols []string
		for _, v := range r.Header["Upgrade"] {
			for p := range strings.SplitSeq(v, ",") {
				if p = strings.Trim(p, " \t"); p != "" && !strings.EqualFold(p, "h2c") {
					protocols = append(protocols, p)
				}
			}
		}
		if len(protocols) > 0 {
			own = append(own, "Upgrade")
			h["Upgrade"] = []string{strings.Join(protocols, ", ")}
		}
	}
	if hasToken(r.Header["Te"], "trailers") {
		h["Te"] = []string{"trailers"}
		if r.ProtoMajor > 1 || hasToken(r.Header["Connection"], "te") {
			own = append(own, "TE") // RFC 9110 section 10.1.4
		}
	}
	if own != nil {
		h["Connection"] = []string{strings.Join(own, ", ")}
	}
}

// hasToken reports whether a comma-separated list has token, which is lower
// case; parameters after ";" do not count.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			t, _, _ = strings.Cut(t, ";")
			if strings.EqualFold(strings.Trim(t, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// cutCookies returns Cookie values without the gateway's own cookies. All
// other bytes stay. A value of which nothing is left is removed.
func (f *forwarder) cutCookies(values []string) []string {
	found := false
	for _, v := range values {
		found = found || strings.Contains(v, f.cookieMark)
	}
	if !found || len(f.cookies) == 0 {
		return values
	}
	kept := make([]string, 0, len(values))
	for _, v := range values {
		cut := f.cutCookie(v)
		if cut == v || strings.Trim(cut, " \t;") != "" {
			kept = append(kept, cut)
		}
	}
	return kept
}

func (f *forwarder) cutCookie(v string) string {
	var b strings.Builder
	first := true // nothing has been kept yet
	for rest, more := v, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, ";")
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(f.cookies, strings.Trim(name, " \t")) {
			continue
		}
		switch {
		case !first:
			b.WriteByte(';')
		case len(pair) < len(v) && !strings.HasPrefix(v, pair):
			pair = strings.TrimLeft(pair, " \t") // it has become the first
		}
		first = false
		b.WriteString(pair)
	}
	if b.Len() == len(v) {
		return v
	}
	return b.String()
}

// setBody gives out the body of r, or the one in its place, with the same kind
// of length: known, none, zero or chunked.
//
// The transport sends some requests again when a kept-alive connection breaks:
// those whose method is idempotent, and any with an Idempotency-Key, where the
// body is nil. For all other methods there is a body, perhaps an empty one,
// that cannot be had twice.
func (f *forwarder) setBody(out, r *http.Request, body []byte) {
	switch {
	case len(body) > 0:
		out.Body = &requestBody{src: io.NopCloser(bytes.NewReader(body))}
		out.ContentLength = int64(len(body))
	case body == nil && r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody:
		if b := bodyInMemory(r); b != nil {
			// The transport sends header and body in one packet when it knows
			// that reading does not wait.
			out.Body, out.ContentLength = b, r.ContentLength
			return
		}
		b := &requestBody{src: r.Body}
		out.Body, out.ContentLength = b, r.ContentLength
		if r.ContentLength < 0 {
			out.TransferEncoding = chunkedCoding
			if out.Trailer = r.Trailer; r.Trailer != nil {
				b.trailer = r.Trailer
				cleanTrailer(r.Trailer)
			}
		}
		if hasToken(out.Header["Expect"], "100-continue") {
			b.expect = newExpectGate()
		}
	default:
		said := body != nil || len(r.Header["Content-Length"]) > 0
		if isIdempotent(out.Method) {
			if said {
				out.Header["content-length"] = zeroLength // the transport knows another spelling
			}
			return
		}
		if said || r.ProtoMajor > 1 && (out.Method == "POST" || out.Method == "PUT" || out.Method == "PATCH") {
			out.Header["content-length"] = zeroLength
		}
		out.Body = emptyBody{}
		out.TransferEncoding = identityValue // neither a length nor chunks by the transport
	}
}

const smallBody = 4 << 10 // at most this much waits in the server's buffer

// bodyInMemory reads a small body whose last byte has already come, nil where
// reading could wait for the client.
func bodyInMemory(r *http.Request) io.ReadCloser {
	if r.ProtoMajor != 1 || r.ContentLength < 0 || r.ContentLength > smallBody || r.Header["Expect"] != nil || !requestIsHere(r) {
		return nil
	}
	b := make([]byte, r.ContentLength)
	if n, err := io.ReadFull(r.Body, b); err != nil {
		// Someone has read of it before us; the transport finds out.
		b = b[:n]
	}
	return io.NopCloser(bytes.NewReader(b))
}

// isIdempotent names the methods that may be sent again when a kept-alive
// connection turns out to be closed.
func isIdempotent(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
