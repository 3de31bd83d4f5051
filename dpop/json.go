package dpop

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxMembers bounds the members of one JSON object in a proof: looking for
// names given twice costs the square of it.
const maxMembers = 64

// maxBrackets bounds nesting before anything is parsed, by all brackets there
// are: 8 KiB of them would cost as much as a signature.
const maxBrackets = 64

// members walks the top level of one JSON object. Names that occur twice end
// the walk as a fault: two parsers may disagree on which one counts, and a
// second "jwk" or "htu" is how a proof is made to mean different things to the
// gateway and to the server behind it (RFC 7515 §4, RFC 7519 §4).
type members struct {
	data []byte
	at   int
	seen [maxMembers][]byte
	n    int
	bad  bool
}

// walk prepares the walk through data. It returns false unless data is exactly
// one JSON object in UTF-8.
func (m *members) walk(data []byte) bool {
	m.data, m.at, m.n, m.bad = data, 0, 0, false
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > maxBrackets {
		return false
	}
	if !json.Valid(data) || !utf8.Valid(data) {
		return false
	}
	m.space()
	if m.data[m.at] != '{' {
		return false
	}
	m.at++
	return true
}

// next returns the next member's decoded name and its value as it stands.
// After the last one, or at a fault (then m.bad is set), ok is false.
func (m *members) next() (name, value []byte, ok bool) {
	m.space()
	if m.data[m.at] == ',' {
		m.at++
		m.space()
	}
	if m.data[m.at] == '}' {
		return nil, nil, false
	}
	name = unquote(m.value())
	m.space()
	m.at++ // the colon; json.Valid has seen it
	m.space()
	value = m.value()
	if m.n == maxMembers {
		m.bad = true
		return nil, nil, false
	}
	for _, s := range m.seen[:m.n] {
		if bytes.Equal(s, name) {
			m.bad = true
			return nil, nil, false
		}
	}
	m.seen[m.n] = name
	m.n++
	return name, value, true
}

func (m *members) space() {
	for m.at < len(m.data) {
		switch m.data[m.at] {
		case ' ', '\t', '\n', '\r':
			m.at++
		default:
			return
		}
	}
}

// value steps over one value of valid JSON and returns its bytes.
func (m *members) value() []byte {
	start, depth := m.at, 0
	for m.at < len(m.data) {
		switch m.data[m.at] {
		case '"':
			m.str()
			if depth == 0 {
				return m.data[start:m.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // the end of the object around a number or word
				return m.data[start:m.at]
			}
			if depth--; depth == 0 {
				m.at++
				return m.data[start:m.at]
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return m.data[start:m.at]
			}
		}
		m.at++
	}
	return m.data[start:m.at]
}

// str steps over one string, quotes included.
func (m *members) str() {
	for m.at++; m.data[m.at] != '"'; m.at++ {
		if m.data[m.at] == '\\' {
			m.at++
		}
	}
	m.at++
}

// unquote decodes a JSON string that is known to be valid.
func unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	return []byte(s)
}

// text returns a JSON value's string; false for every other type.
func text(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	return string(unquote(raw)), true
}
