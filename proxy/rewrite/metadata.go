package rewrite

import (
	"encoding/json"
	"slices"
)

// AddToList appends the strings that a JSON array does not hold yet; what is in
// it keeps every byte. Anything but an array (nothing, null, a string) becomes a
// new array of the values.
func AddToList(raw json.RawMessage, values ...string) json.RawMessage {
	held, end, ok := scanList(raw)
	if !ok {
		raw, held, end = json.RawMessage("[]"), nil, 1
	}
	b := slices.Clip(raw[:end]) // clipped: the first append copies
	for _, v := range values {
		if slices.ContainsFunc(held, func(h json.RawMessage) bool { return isText(h, v) }) {
			continue
		}
		if len(held) > 0 {
			b = append(b, ',')
		}
		start := len(b)
		b = appendString(b, v)
		held = append(held, b[start:len(b):len(b)])
	}
	if len(b) == end {
		return raw
	}
	return append(b, raw[end:]...)
}

// AddToList appends strings to a member that is a list, as most members of a
// discovery document are. A member that is missing or no array begins as
// absent, which is what leaving it out means: RFC 8414 section 2 says
// authorization_code and implicit for grant_types_supported, and to list
// refresh_token alone would take those away. Where nothing is missing the
// member keeps its bytes.
func (o *Object) AddToList(name string, absent []string, values ...string) {
	raw, _ := o.Raw(name)
	if _, _, ok := scanList(raw); !ok {
		raw = AddToList(nil, absent...)
	} else if o.ListHas(name, values...) {
		return
	}
	o.set(name, AddToList(raw, values...))
}

// ListHas says whether the member is an array that holds all of the strings.
func (o *Object) ListHas(name string, values ...string) bool {
	raw, _ := o.Raw(name)
	held, _, ok := scanList(raw)
	if !ok {
		return false
	}
	for _, v := range values {
		if !slices.ContainsFunc(held, func(h json.RawMessage) bool { return isText(h, v) }) {
			return false
		}
	}
	return true
}

// List returns the strings of a member that is an array; what is no string in
// it is left out. ok is false where the member is missing or something else.
func (o *Object) List(name string) (texts []string, ok bool) {
	raw, _ := o.Raw(name)
	held, _, ok := scanList(raw)
	for _, h := range held {
		if t, isString := TextOf(h); isString {
			texts = append(texts, t)
		}
	}
	return texts, ok
}

// SetList is Set with an array of strings.
func (o *Object) SetList(name string, values ...string) {
	b := []byte{'['}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, v)
	}
	o.set(name, append(b, ']'))
}

// isText says whether raw is a JSON string that means v.
func isText(raw json.RawMessage, v string) bool {
	t, ok := TextOf(raw)
	return ok && t == v
}

// scanList returns the items of an array and where something can be put behind
// the last one. ok is false where raw is no array.
func scanList(raw json.RawMessage) (items []json.RawMessage, end int, ok bool) {
	if !isValue(raw) {
		return nil, 0, false
	}
	s := scanner{b: raw}
	if s.space() != '[' {
		return nil, 0, false
	}
	s.pos++
	end = s.pos
	for s.space() != ']' {
		if s.peek() == ',' {
			s.pos++
			s.space()
		}
		start := s.pos
		if !s.value(maxDepth) {
			return nil, 0, false // not reached: it is a valid value
		}
		end = s.pos
		items = append(items, raw[start:end])
	}
	return items, end, true
}
