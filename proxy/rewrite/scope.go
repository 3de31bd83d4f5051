package rewrite

import (
	"slices"
	"strings"
)

// HasScope says whether name is among the scopes of the list.
func HasScope(scope, name string) bool {
	if !strings.Contains(scope, name) {
		return false
	}
	for s := range strings.FieldsSeq(scope) {
		if s == name {
			return true
		}
	}
	return false
}

// RemoveScope takes the names out of the list; the others keep their order,
// separated by one space. A list that holds none of them is returned as it is.
// Where nothing is left the result is "": RFC 6749 section 3.3 has no empty
// scope, so the caller removes the parameter.
func RemoveScope(scope string, names ...string) string {
	if !slices.ContainsFunc(names, func(n string) bool { return HasScope(scope, n) }) {
		return scope
	}
	var b strings.Builder
	b.Grow(len(scope))
	for s := range strings.FieldsSeq(scope) {
		if slices.Contains(names, s) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}

// AddScope appends those of the names that the list does not hold yet. What is
// there keeps every byte.
func AddScope(scope string, names ...string) string {
	for _, n := range names {
		switch {
		case n == "" || HasScope(scope, n):
		case scope == "" || scope[len(scope)-1] == ' ':
			scope += n
		default:
			scope += " " + n
		}
	}
	return scope
}
