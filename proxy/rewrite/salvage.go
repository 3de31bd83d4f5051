package rewrite

import "bytes"

// Salvage returns the last string that stands behind that member name anywhere
// in b, which need not be JSON as a whole: cut short, two objects in a row, an
// object in an array. It is for a credential in an answer that must not pass,
// which would otherwise stay alive at the upstream unknown to us. It is a best
// effort and takes time in proportion to b.
func Salvage(b []byte, name string) (text string, ok bool) {
	s := scanner{b: b}
	for {
		quoted := s.looseString()
		if quoted == nil {
			return text, ok
		}
		if n, isString := TextOf(quoted); !isString || n != name || s.space() != ':' {
			continue
		}
		s.pos++
		if s.space() != '"' {
			continue
		}
		if v, isString := TextOf(s.looseString()); isString {
			text, ok = v, true
		}
	}
}

// looseString returns the next text between quotes, with them, and skips it.
// Unlike string it takes everything up to the closing quote, so that one bad
// byte does not turn the inside of all later strings out.
func (s *scanner) looseString() []byte {
	i := bytes.IndexByte(s.b[s.pos:], '"')
	if i < 0 {
		return nil
	}
	start := s.pos + i
	for end := start + 1; end < len(s.b); end++ {
		switch s.b[end] {
		case '\\':
			end++
		case '"':
			s.pos = end + 1
			return s.b[start:s.pos]
		}
	}
	return nil
}
