package rewrite

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth bounds how deep arrays and objects nest, the outermost counts.
const maxDepth = 200

// ErrNotObject is wrapped by every error of ParseObject.
var ErrNotObject = errors.New("not one JSON object")

// scanner walks through JSON as RFC 8259 writes it. Its methods return false
// with err set where the text is something else.
type scanner struct {
	b   []byte
	pos int
	err error
}

// fail records why scanning ends. The text itself is not in the error: it may
// hold a credential.
func (s *scanner) fail(why string) bool {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %s at byte %d", ErrNotObject, why, s.pos)
	}
	return false
}

// peek returns the byte at pos, 0 at the end. A NUL is nowhere allowed, so the
// two need not be told apart.
func (s *scanner) peek() byte {
	if s.pos < len(s.b) {
		return s.b[s.pos]
	}
	return 0
}

// space skips white space (section 2) and returns the byte behind it.
func (s *scanner) space() byte {
	for s.pos < len(s.b) {
		switch c := s.b[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// value skips one value. depth is how many more levels may open.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case c == '"':
		return s.string()
	case c == '{':
		return s.nested('}', depth)
	case c == '[':
		return s.nested(']', depth)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '-' || isDigit(c):
		return s.number()
	}
	return s.fail("no value")
}

// nested skips the object or array that begins at pos and ends with end.
func (s *scanner) nested(end byte, depth int) bool {
	if depth == 0 {
		return s.fail("nested too deep")
	}
	s.pos++
	if s.space() == end {
		s.pos++
		return true
	}
	for {
		if end == '}' {
			if _, ok := s.name(); !ok {
				return false
			}
		}
		if !s.value(depth - 1) {
			return false
		}
		switch s.space() {
		case ',':
			s.pos++
			s.space()
		case end:
			s.pos++
			return true
		default:
			return s.fail("no comma and no end")
		}
	}
}

// name skips a member's name, the colon and the white space around it, and
// returns the name with its quotes.
func (s *scanner) name() (quoted []byte, ok bool) {
	start := s.pos
	if s.peek() != '"' {
		return nil, s.fail("no member name")
	}
	if !s.string() {
		return nil, false
	}
	quoted = s.b[start:s.pos]
	if s.space() != ':' {
		return nil, s.fail("no colon")
	}
	s.pos++
	s.space()
	return quoted, true
}

// string skips the string that begins at pos (section 7).
func (s *scanner) string() bool {
	b, i := s.b, s.pos+1
	for i < len(b) {
		for len(b)-i >= 8 && plain8(binary.LittleEndian.Uint64(b[i:])) {
			i += 8 // tokens are long: most of an answer is skipped here
		}
		if i == len(b) {
			break
		}
		if inString[b[i]] {
			i++
			continue
		}
		switch b[i] {
		case '"':
			s.pos = i + 1
			return true
		case '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				s.pos = i
				return s.fail("bad escape")
			}
			i += n
		default:
			s.pos = i
			return s.fail("control byte in a string")
		}
	}
	s.pos = i
	return s.fail("string without end")
}

// plain8 says whether none of eight bytes is a quote, a backslash or below 0x20.
// (v - 1) &^ v has a byte's highest bit set where that byte was 0, and above a
// byte that was, which does not matter here; so with 0x20 for smaller bytes.
func plain8(v uint64) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	quote, backslash := v^'"'*ones, v^'\\'*ones
	return ((v-0x20*ones)&^v|(quote-ones)&^quote|(backslash-ones)&^backslash)&high == 0
}

// escapeLen returns the length of the escape that b begins with, 0 for a bad one.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && unhex[b[2]]|unhex[b[3]]|unhex[b[4]]|unhex[b[5]] != notHex {
			return 6
		}
	}
	return 0
}

// inString marks the bytes that stand for themselves in a string.
var inString = func() (t [256]bool) {
	for i := range t {
		t[i] = i >= 0x20 && i != '"' && i != '\\'
	}
	return t
}()

// number skips a number (section 6).
func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++ // no digit may follow a leading zero
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return true
}

// digits skips one digit or more.
func (s *scanner) digits() bool {
	if !isDigit(s.peek()) {
		return s.fail("no digit")
	}
	for isDigit(s.peek()) {
		s.pos++
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// literal skips one of the three words.
func (s *scanner) literal(word string) bool {
	if end := s.pos + len(word); end <= len(s.b) && string(s.b[s.pos:end]) == word {
		s.pos = end
		return true
	}
	return s.fail("no value")
}

// isValue says whether b is exactly one JSON value that may stand in an object.
func isValue(b []byte) bool {
	s := scanner{b: b}
	s.space()
	if !s.value(maxDepth - 1) {
		return false
	}
	s.space()
	return s.pos == len(b)
}

// decodeString returns what a valid JSON string with its quotes means.
func decodeString(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if isPlain(inner) {
		return string(inner)
	}
	var v string
	if json.Unmarshal(quoted, &v) != nil {
		return "" // not reached: the scanner accepts what encoding/json does
	}
	return v
}

// isPlain says whether the text between the quotes stands for itself.
func isPlain(inner []byte) bool {
	return bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner)
}

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD, as
// encoding/json writes it; unlike there nothing is escaped for HTML.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20:
			b = append(b, '\\', 'u', '0', '0', upperHex[r>>4], upperHex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
