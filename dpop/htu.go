package dpop

import "strings"

// normalizeURI brings an http or https URI into the form in which two of them
// are compared: without query and fragment (RFC 9449 §4.3 (9)), normalised by
// syntax (RFC 3986 §6.2.2) and scheme (§6.2.3). It returns false for what no
// HTTP request can be for: another scheme, no host, user information, bad
// escapes, bytes that a URI cannot have.
func normalizeURI(s string) (string, bool) {
	if i := strings.IndexByte(s, '#'); i >= 0 {
		s = s[:i]
	}
	if i := strings.IndexByte(s, '?'); i >= 0 {
		s = s[:i]
	}
	colon := strings.Index(s, "://")
	if colon < 0 {
		return "", false
	}
	var scheme, defaultPort string
	switch {
	case strings.EqualFold(s[:colon], "https"):
		scheme, defaultPort = "https://", "443"
	case strings.EqualFold(s[:colon], "http"):
		scheme, defaultPort = "http://", "80"
	default:
		return "", false
	}
	rest := s[colon+3:]
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		slash = len(rest)
	}
	authority, ok := normalizeAuthority(rest[:slash], defaultPort)
	if !ok {
		return "", false
	}
	path, ok := normalizePath(rest[slash:])
	if !ok {
		return "", false
	}
	// The usual client sends the canonical form: then nothing is copied.
	if s[:colon+3] == scheme && rest[:slash] == authority && rest[slash:] == path {
		return s, true
	}
	return scheme + authority + path, true
}

// normalizeAuthority lowers the host and drops an empty or default port.
func normalizeAuthority(s, defaultPort string) (string, bool) {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", false
		}
		if host, port = s[:end+1], s[end+1:]; port != "" && port[0] != ':' {
			return "", false
		}
		port = strings.TrimPrefix(port, ":")
		for _, c := range []byte(host[1 : len(host)-1]) {
			if !isHex(c) && c != ':' && c != '.' {
				return "", false
			}
		}
		host = strings.ToLower(host)
	} else {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, port = s[:i], s[i+1:]
		}
		var ok bool
		if host, ok = normalizeHost(host); !ok {
			return "", false
		}
	}
	if host == "" || host == "[]" {
		return "", false
	}
	port, ok := normalizePort(port)
	if !ok {
		return "", false
	}
	switch {
	case port == "" || port == defaultPort:
		return host, true
	case len(host)+1+len(port) == len(s) && strings.HasPrefix(s, host):
		return s, true
	}
	return host + ":" + port, true
}

// normalizeHost lowers a registered name and decodes the escapes that need
// not be. User information is refused with all else that no name has.
func normalizeHost(s string) (string, bool) {
	plain := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%' || 'A' <= c && c <= 'Z':
			plain = false
		case !isUnreserved(c) && !isSubDelim(c):
			return "", false
		}
	}
	if plain {
		return s, true
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			d, ok := unescape(s, i)
			if !ok {
				return "", false
			}
			i += 2
			if !isUnreserved(d) {
				writeEscape(&b, d)
				continue
			}
			c = d
		}
		b.WriteByte(lower(c))
	}
	return b.String(), true
}

func normalizePort(s string) (string, bool) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return "", false
		}
	}
	if trimmed := strings.TrimLeft(s, "0"); len(trimmed) != len(s) {
		if s = trimmed; s == "" {
			s = "0"
		}
	}
	return s, len(s) < 5 || len(s) == 5 && s <= "65535"
}

// normalizePath puts escapes into their normal form, resolves dot segments and
// makes the empty path "/".
func normalizePath(s string) (string, bool) {
	if s == "" {
		return "/", true
	}
	escapes, dots := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			escapes = true
		case c <= ' ' || c >= 0x7f || c == '\\':
			return "", false
		case c == '.' && s[i-1] == '/': // a path begins with a slash, so i > 0
			dots = true
		}
	}
	if escapes {
		var b strings.Builder
		b.Grow(len(s))
		for i := 0; i < len(s); i++ {
			c := s[i]
			if c != '%' {
				b.WriteByte(c)
				continue
			}
			d, ok := unescape(s, i)
			if !ok {
				return "", false
			}
			i += 2
			if isUnreserved(d) {
				dots = dots || d == '.'
				b.WriteByte(d)
			} else {
				writeEscape(&b, d)
			}
		}
		s = b.String()
	}
	if dots {
		s = removeDotSegments(s)
	}
	return s, true
}

// removeDotSegments is RFC 3986 §5.2.4 for a path that begins with a slash.
func removeDotSegments(s string) string {
	segments := strings.Split(s[1:], "/")
	out := segments[:0]
	for i, seg := range segments {
		last := i == len(segments)-1
		switch seg {
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, seg)
		}
	}
	return "/" + strings.Join(out, "/")
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func isSubDelim(c byte) bool { return strings.IndexByte("!$&'()*+,;=", c) >= 0 }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// unescape decodes the escape that begins at s[i].
func unescape(s string, i int) (byte, bool) {
	if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
		return 0, false
	}
	return nibble(s[i+1])<<4 | nibble(s[i+2]), true
}

func nibble(c byte) byte {
	switch c = lower(c); {
	case c <= '9':
		return c - '0'
	default:
		return c - 'a' + 10
	}
}

func writeEscape(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}
