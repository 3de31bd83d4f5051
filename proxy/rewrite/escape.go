package rewrite

import "strings"

const upperHex = "0123456789ABCDEF"

// appendEscaped appends s in the application/x-www-form-urlencoded percent-encode
// set (WHATWG URL 5.2). Its output is ASCII and holds none of & = # ? ; or
// control bytes, so it fits a query, a body, a fragment and a header field.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b = append(b, '+')
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '*', c == '-', c == '.', c == '_':
			b = append(b, c)
		default:
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// unescape decodes + and %XX. A bad escape stands for itself, then ok is false.
func unescape(s string) (decoded string, ok bool) {
	i := strings.IndexAny(s, "%+")
	if i < 0 {
		return s, true
	}
	ok = true
	b := make([]byte, i, len(s))
	copy(b, s)
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && isEscape(s, i):
			b = append(b, unhex[s[i+1]]<<4|unhex[s[i+2]])
			i += 2
		default:
			ok = ok && c != '%'
			b = append(b, c)
		}
	}
	return string(b), ok
}

// validEscapes says whether every % begins an escape.
func validEscapes(s string) bool {
	for i := strings.IndexByte(s, '%'); i >= 0; {
		if !isEscape(s, i) {
			return false
		}
		next := strings.IndexByte(s[i+3:], '%')
		if next < 0 {
			break
		}
		i += 3 + next
	}
	return true
}

// isEscape says whether two hex digits follow s[i].
func isEscape(s string, i int) bool {
	return i+2 < len(s) && unhex[s[i+1]] != notHex && unhex[s[i+2]] != notHex
}

const notHex = 0xff

// unhex is the value of each hex digit, notHex for all other bytes.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = notHex
	}
	for i := range byte(10) {
		t['0'+i] = i
	}
	for i := range byte(6) {
		t['a'+i], t['A'+i] = 10+i, 10+i
	}
	return t
}()
