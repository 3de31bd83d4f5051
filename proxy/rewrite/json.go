package rewrite

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
)

// maxMembers bounds what one object may make us remember.
const maxMembers = 1000

// Object is one JSON object of which single members can be changed. All other
// bytes stay: white space, order, the spelling of numbers and strings, members
// that occur twice. It keeps the bytes it was made from: they must not change.
type Object struct {
	raw     []byte
	head    []byte   // up to and with the {
	members []member // separated by commas
	tail    []byte   // white space, } and what follows
	dirty   bool     // members no longer spell raw
}

// member is what stands between two commas: before, value, after.
type member struct {
	before []byte // white space, name, colon, white space
	quoted []byte // the name with its quotes, part of before
	value  []byte
	after  []byte // white space in front of the comma; of the last one it is in tail
	plain  bool   // the name is spelt as it is meant
}

// newMember keeps the decoding of a name for those that need it.
func newMember(before, quoted, value, after []byte) member {
	return member{before, quoted, value, after, isPlain(quoted[1 : len(quoted)-1])}
}

// is says whether the member has that name.
func (m *member) is(name string) bool {
	if m.plain {
		return string(m.quoted[1:len(m.quoted)-1]) == name
	}
	return decodeString(m.quoted) == name
}

// ParseObject reads b, which must be exactly one JSON object (RFC 8259) with
// nothing but white space around it, at most 200 levels deep and with at most
// 1000 members of its own. All errors wrap ErrNotObject and hold nothing of b.
func ParseObject(b []byte) (*Object, error) {
	s := scanner{b: b}
	if s.space() != '{' {
		s.fail("no object")
		return nil, s.err
	}
	s.pos++
	o := &Object{raw: b, head: b[:s.pos]}
	if !o.parseMembers(&s) {
		return nil, s.err
	}
	s.pos++
	s.space()
	if s.pos != len(b) {
		s.fail("text behind the object")
		return nil, s.err
	}
	return o, nil
}

// parseMembers indexes the members and stops at the closing brace.
func (o *Object) parseMembers(s *scanner) bool {
	start := s.pos
	if s.space() == '}' {
		o.tail = s.b[start:]
		return true
	}
	o.members = make([]member, 0, 12)
	for {
		if len(o.members) == maxMembers {
			return s.fail("too many members")
		}
		quoted, ok := s.name()
		if !ok {
			return false
		}
		value := s.pos
		if !s.value(maxDepth - 1) {
			return false
		}
		end := s.pos
		c := s.space()
		o.members = append(o.members, newMember(s.b[start:value], quoted, s.b[value:end], s.b[end:s.pos]))
		switch c {
		case ',':
			s.pos++
			start = s.pos
			s.space()
		case '}':
			o.members[len(o.members)-1].after = nil
			o.tail = s.b[end:]
			return true
		default:
			return s.fail("no comma and no end")
		}
	}
}

// Raw returns the value of the last member of that name, as it is spelt.
func (o *Object) Raw(name string) (json.RawMessage, bool) {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].is(name) {
			return o.members[i].value, true
		}
	}
	return nil, false
}

// Text returns the value of a member that is a string; false where it is
// missing or something else.
func (o *Object) Text(name string) (string, bool) {
	v, _ := o.Raw(name)
	return TextOf(v)
}

// TextOf returns what a valid JSON string means; false where raw is something else.
func TextOf(raw json.RawMessage) (string, bool) {
	if s := (scanner{b: raw}); s.peek() != '"' || !s.string() || s.pos != len(raw) {
		return "", false
	}
	return decodeString(raw), true
}

// Number returns the value of a member that is a number; false where it is
// missing, something else (a number in quotes too) or larger than a float64.
func (o *Object) Number(name string) (float64, bool) {
	v, _ := o.Raw(name)
	if len(v) == 0 || v[0] != '-' && !isDigit(v[0]) {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(v), 64)
	return n, err == nil
}

// Set gives the member a value, which must be one JSON value: in the place of
// the first one of that name, the others are removed; at the end where there is
// none. Anything else than one JSON value is written as null, so that what
// leaves is always an object. The value is kept: it must not change later.
func (o *Object) Set(name string, value []byte) {
	if !isValue(value) {
		value = []byte("null")
	}
	o.set(name, value)
}

// SetText is Set with a string.
func (o *Object) SetText(name, v string) {
	o.set(name, appendString(make([]byte, 0, len(v)+2), v))
}

// SetNumber is Set with a whole number.
func (o *Object) SetNumber(name string, v int64) {
	o.set(name, strconv.AppendInt(nil, v, 10))
}

func (o *Object) set(name string, value []byte) {
	o.dirty = true
	i := slices.IndexFunc(o.members, func(m member) bool { return m.is(name) })
	if i >= 0 {
		o.members[i].value = value
		o.remove(name, i+1)
		return
	}
	quoted := appendString(make([]byte, 0, len(name)+3), name)
	o.members = append(o.members, newMember(append(quoted, ':'), quoted, value, nil))
}

// Del removes all members of that name.
func (o *Object) Del(name string) { o.remove(name, 0) }

// remove takes out the members of that name from index from on.
func (o *Object) remove(name string, from int) {
	n := len(o.members)
	kept := slices.DeleteFunc(o.members[from:], func(m member) bool { return m.is(name) })
	o.members = o.members[:from+len(kept)]
	o.dirty = o.dirty || len(o.members) != n
}

// Bytes returns the object as it goes on the wire. Unchanged, these are the
// very bytes that were parsed, white space around the object included.
func (o *Object) Bytes() []byte {
	if !o.dirty {
		return o.raw
	}
	n := len(o.head) + len(o.members) + len(o.tail)
	for i := range o.members {
		m := &o.members[i]
		n += len(m.before) + len(m.value) + len(m.after)
	}
	b := append(make([]byte, 0, n), o.head...)
	for i := range o.members {
		if i > 0 {
			b = append(b, ',')
		}
		m := &o.members[i]
		b = append(b, m.before...)
		b = append(b, m.value...)
		b = append(b, m.after...)
	}
	return append(b, o.tail...)
}

// LogValue keeps tokens out of logs.
func (o *Object) LogValue() slog.Value { return slog.StringValue("[redacted]") }
