package rewrite

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
)

// maxPairs bounds what one form may make us remember.
const maxPairs = 1000

// Errors of ParseForm.
var (
	// ErrBadEscape says that a name or value holds a % without two hex digits.
	// The form is returned beside it.
	ErrBadEscape = errors.New("bad percent escape in form")
	// ErrTooManyPairs says that there are more than 1000 pairs. No form is returned.
	ErrTooManyPairs = errors.New("too many pairs in form")
)

// Form is a query or form body that can be changed pair by pair. Pairs that
// are not set or removed keep every byte and their place. The zero Form is empty.
type Form struct {
	raw   string
	pairs []pair
	dirty bool // pairs no longer spell raw
}

// pair is what stands between two ampersands.
type pair struct {
	raw   string
	name  string // decoded
	value string // raw part behind the first =, still encoded
}

// isParam says whether a receiver sees a parameter here. "" between two
// ampersands is none (WHATWG URL 5.1); "=" is one with an empty name.
func (p pair) isParam() bool { return p.raw != "" }

// ParseForm reads the query of a URL (without its ?) or a form body.
//
// With ErrBadEscape the form is returned as well, and a bad escape in it
// stands for itself: the caller decides whether that is refused. With
// ErrTooManyPairs the form is nil.
func ParseForm(raw string) (*Form, error) {
	f := &Form{raw: raw}
	if raw == "" {
		return f, nil
	}
	n := strings.Count(raw, "&") + 1
	if n > maxPairs {
		return nil, ErrTooManyPairs
	}
	f.pairs = make([]pair, 0, n+2) // room for what is usually added
	var err error
	for s := range strings.SplitSeq(raw, "&") {
		p, ok := parsePair(s)
		if !ok {
			err = ErrBadEscape
		}
		f.pairs = append(f.pairs, p)
	}
	return f, err
}

// parsePair splits one pair; ok is false where an escape in it is bad.
func parsePair(s string) (p pair, ok bool) {
	name, value, _ := strings.Cut(s, "=")
	name, ok = unescape(name)
	return pair{raw: s, name: name, value: value}, ok && validEscapes(value)
}

// Get returns the decoded value of the first parameter of that name, or "".
// Has tells an empty one from a missing one; RFC 6749 section 3.1 treats both
// alike.
func (f *Form) Get(name string) string {
	if i := f.index(name); i >= 0 {
		v, _ := unescape(f.pairs[i].value)
		return v
	}
	return ""
}

// Has says whether there is a parameter of that name.
func (f *Form) Has(name string) bool { return f.index(name) >= 0 }

// Values returns the decoded values of all parameters of that name, in order.
func (f *Form) Values(name string) []string {
	var values []string
	for _, p := range f.pairs {
		if p.name == name && p.isParam() {
			v, _ := unescape(p.value)
			values = append(values, v)
		}
	}
	return values
}

// Duplicate returns the name of the first parameter that is given twice and is
// not among those allowed, or "". RFC 6749 section 3.1 forbids repetition:
// receivers differ in which one they take, so a checked value might not be the
// one used. The name is the client's own text: it belongs in no answer.
// Parameters with an empty name mean nothing to OAuth and may repeat.
func (f *Form) Duplicate(allowed ...string) string {
	const few = 32 // up to here comparing each with each is cheaper than a map
	if len(f.pairs) <= few {
		for i, p := range f.pairs {
			if p.name == "" || slices.Contains(allowed, p.name) {
				continue
			}
			if slices.ContainsFunc(f.pairs[:i], func(q pair) bool { return q.name == p.name }) {
				return p.name
			}
		}
		return ""
	}
	seen := make(map[string]struct{}, len(f.pairs))
	for _, p := range f.pairs {
		if p.name == "" || slices.Contains(allowed, p.name) {
			continue
		}
		if _, twice := seen[p.name]; twice {
			return p.name
		}
		seen[p.name] = struct{}{}
	}
	return ""
}

// Set gives the parameter a value: in the place of the first one of that name,
// the others are removed; at the end where there is none. A single parameter
// that already has this value keeps its spelling.
func (f *Form) Set(name, value string) {
	i := f.index(name)
	if i < 0 {
		f.Add(name, value)
		return
	}
	if v, _ := unescape(f.pairs[i].value); v != value {
		f.pairs[i] = newPair(name, value)
		f.dirty = true
	}
	f.remove(name, i+1)
}

// Add appends a parameter, whether or not there is one of that name.
func (f *Form) Add(name, value string) {
	f.pairs = append(f.pairs, newPair(name, value))
	f.dirty = true
}

// Del removes all parameters of that name.
func (f *Form) Del(name string) { f.remove(name, 0) }

// remove takes out the parameters of that name from index from on.
func (f *Form) remove(name string, from int) {
	n := len(f.pairs)
	kept := slices.DeleteFunc(f.pairs[from:], func(p pair) bool { return p.name == name && p.isParam() })
	f.pairs = f.pairs[:from+len(kept)]
	f.dirty = f.dirty || len(f.pairs) != n
}

// String returns the form as it goes on the wire. Unchanged, it is the very
// string that was parsed.
func (f *Form) String() string {
	if !f.dirty {
		return f.raw
	}
	n := len(f.pairs)
	for _, p := range f.pairs {
		n += len(p.raw)
	}
	var b strings.Builder
	b.Grow(n)
	for i, p := range f.pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.raw)
	}
	return b.String()
}

// LogValue keeps codes, verifiers and secrets out of logs.
func (f *Form) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// index returns where the first parameter of that name is, or -1.
func (f *Form) index(name string) int {
	return slices.IndexFunc(f.pairs, func(p pair) bool { return p.name == name && p.isParam() })
}

// newPair encodes a parameter.
func newPair(name, value string) pair {
	b := make([]byte, 0, len(name)+1+len(value)+16)
	b = appendEscaped(b, name)
	b = append(b, '=')
	eq := len(b)
	b = appendEscaped(b, value)
	raw := string(b)
	return pair{raw: raw, name: name, value: raw[eq:]}
}
