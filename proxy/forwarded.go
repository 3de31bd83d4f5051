package proxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// publicOrigin is the gateway as its clients see it, ready for header fields.
type publicOrigin struct {
	hostport          string
	proto, host, port []string // never changed: shared by all requests
}

func newPublicOrigin(u *url.URL) publicOrigin {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return publicOrigin{u.Host, []string{u.Scheme}, []string{u.Host}, []string{port}}
}

// isNeighbourField reports whether the upstream takes a field as the word of
// the proxy before it, so that a client must not be able to send it: who the
// client is and which URL it called (X-Forwarded-*, Forwarded, X-Real-IP,
// X-Original-URL, X-Rewrite-URL), and which certificate it showed (RFC 9440
// and its predecessors). CGI and WSGI servers read "_" as "-", so both are
// the same here.
func isNeighbourField(name string) bool {
	if len(name) < 6 {
		return false
	}
	switch name[0] {
	case 'X', 'x':
		return foldedPrefix(name, "x-forwarded") && (len(name) == 11 || name[11] == '-' || name[11] == '_') ||
			folded(name, "x-real-ip") ||
			folded(name, "x-original-url") ||
			folded(name, "x-rewrite-url") ||
			isCertificateField(name)
	case 'F', 'f':
		return folded(name, "forwarded")
	case 'C', 'c', 'S', 's':
		return isCertificateField(name)
	}
	return false
}

// isCertificateField reports whether a field says which certificate a client
// showed to the proxy before us.
func isCertificateField(name string) bool {
	return foldedPrefix(name, "client-cert") ||
		foldedPrefix(name, "ssl-client-") ||
		foldedPrefix(name, "x-ssl-") ||
		foldedPrefix(name, "x-client-cert") ||
		foldedPrefix(name, "x-amzn-mtls-") ||
		folded(name, "x-arr-clientcert")
}

// clientCertificate reports whether a trusted proxy says that the client
// showed a certificate.
func (f *forwarder) clientCertificate(r *http.Request) bool {
	if !f.trusts(r) {
		return false
	}
	for k, vv := range r.Header {
		if isCertificateField(k) && strings.Join(vv, "") != "" {
			return true
		}
	}
	return false
}

func folded(name, want string) bool {
	return len(name) == len(want) && foldedPrefix(name, want)
}

// foldedPrefix compares without regard to ASCII case, "_" for "-".
func foldedPrefix(name, want string) bool {
	if len(name) < len(want) {
		return false
	}
	for i := range len(want) {
		c := name[i]
		switch {
		case c == '_':
			c = '-'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// setAddressFields tells the upstream who called. in is the client's header,
// out the one going up, without the neighbour fields unless the peer is
// trusted.
func (f *forwarder) setAddressFields(out, in http.Header, peer string, trusted bool) {
	if !trusted {
		if peer != "" {
			out["X-Forwarded-For"] = []string{peer}
		}
		out["X-Forwarded-Proto"] = f.public.proto
		out["X-Forwarded-Host"] = f.public.host
		out["X-Forwarded-Port"] = f.public.port
		return
	}
	out["X-Forwarded-For"] = appendToList(out["X-Forwarded-For"], peer)
	if fwd := out["Forwarded"]; len(fwd) > 0 {
		if strings.Contains(peer, ":") {
			peer = `"[` + peer + `]"` // RFC 7239 section 6
		}
		out["Forwarded"] = appendToList(fwd, "for="+peer)
	} else if out["X-Forwarded-Proto"] == nil && out["X-Forwarded-Host"] == nil && out["X-Forwarded-Port"] == nil {
		// A proxy that says nothing of the origin cannot have meant another one.
		out["X-Forwarded-Proto"] = f.public.proto
		out["X-Forwarded-Host"] = f.public.host
		out["X-Forwarded-Port"] = f.public.port
	}
}

// appendToList adds an element to the last line of a list field.
func appendToList(lines []string, element string) []string {
	if len(lines) == 0 || len(lines) == 1 && lines[0] == "" {
		return []string{element}
	}
	longer := append(make([]string, 0, len(lines)), lines...)
	longer[len(longer)-1] += ", " + element
	return longer
}

// peerOf returns the address at the other end of the connection as text, ""
// where it has none (a Unix socket).
func peerOf(r *http.Request) string {
	addr := r.RemoteAddr
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return ""
	}
	addr = addr[:i]
	if len(addr) > 1 && addr[0] == '[' {
		addr, _, _ = strings.Cut(addr[1:len(addr)-1], "%")
		if strings.HasPrefix(addr, "::ffff:") {
			if a, err := netip.ParseAddr(addr); err == nil {
				return a.Unmap().String()
			}
		}
	}
	return addr
}

// trusts reports whether r comes from a trusted proxy.
func (f *forwarder) trusts(r *http.Request) bool { return f.trustsPeer(peerOf(r)) }

// trustsPeer reports whether what peer says of its client is believed.
func (f *forwarder) trustsPeer(peer string) bool {
	if len(f.trusted) == 0 || peer == "" {
		return false
	}
	a, err := netip.ParseAddr(peer)
	return err == nil && f.trustsAddr(a.Unmap())
}

func (f *forwarder) trustsAddr(a netip.Addr) bool {
	for _, p := range f.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// clientAddr returns the address of the client: the peer, or, where it is a
// trusted proxy, the right-most address in its X-Forwarded-For (else
// Forwarded) that is not one. Everything left of that may be invented. An
// element that is no address ends the search at the proxy that wrote it. The
// zero Addr: not known.
func (f *forwarder) clientAddr(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddr(peerOf(r))
	if err != nil {
		return netip.Addr{}
	}
	peer = peer.Unmap()
	if !f.trustsAddr(peer) {
		return peer
	}
	if xff := r.Header["X-Forwarded-For"]; len(xff) > 0 {
		return f.rightmost(peer, xff, parseHop)
	}
	return f.rightmost(peer, r.Header["Forwarded"], parseForwardedHop)
}

func (f *forwarder) rightmost(peer netip.Addr, lines []string, parse func(string) (netip.Addr, bool)) netip.Addr {
	for i := len(lines) - 1; i >= 0; i-- {
		for line := lines[i]; line != ""; {
			cut := strings.LastIndexByte(line, ',')
			element := strings.Trim(line[cut+1:], " \t")
			line = line[:max(cut, 0)]
			if element == "" {
				continue
			}
			a, ok := parse(element)
			if !ok {
				return peer
			}
			peer = a
			if !f.trustsAddr(a) {
				return a
			}
		}
	}
	return peer
}

// parseHop reads an address, with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.WithZone("").Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().WithZone("").Unmap(), true
	}
	return netip.Addr{}, false
}

// parseForwardedHop reads the "for" of one element of a Forwarded field (RFC
// 7239 section 4). Obfuscated identifiers and "unknown" are no addresses.
func parseForwardedHop(s string) (netip.Addr, bool) {
	for pair := range strings.SplitSeq(s, ";") {
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if strings.EqualFold(name, "for") {
			return parseHop(strings.Trim(value, `"`))
		}
	}
	return netip.Addr{}, false
}
