package rewrite

import (
	"slices"
	"strings"
)

// LocationParams finds the parameters of an OAuth response in the Location of a
// redirect: those of the fragment where it holds a code or an error (RFC 6749
// section 4.2, OAuth 2.0 Multiple Response Types section 2.1), else those of the
// query where it does. ok is false where neither does, as in most redirects.
//
// A redirect_uri may carry a query of its own (section 3.1.2), so a name may
// occur twice: Values returns both. Bad escapes stand for themselves. A response
// packed into a JWT (JARM, the parameter response) is not looked into.
func LocationParams(location string) (params *Form, ok bool) {
	rest, fragment, _ := strings.Cut(location, "#")
	if f, ok := responseParams(fragment); ok {
		return f, true
	}
	_, query, _ := strings.Cut(rest, "?")
	return responseParams(query)
}

// responseParams parses s where it may hold a code or an error.
func responseParams(s string) (*Form, bool) {
	// Cheap for all other redirects. Servers write these names without escapes.
	if !strings.Contains(s, "code=") && !strings.Contains(s, "error=") {
		return nil, false
	}
	f, _ := ParseForm(s)
	if f == nil || !f.Has("code") && !f.Has("error") {
		return nil, false
	}
	return f, true
}

// AppendParams adds parameters to the query of a redirect_uri, or to its fragment,
// and changes no byte of what is there (RFC 6749 section 3.1.2: an existing query
// must be kept). It does not judge the redirect_uri: that it is the client's own
// must be known before. Pairs with an empty value are added like any other.
func AppendParams(redirectURI string, fragment bool, pairs ...[2]string) string {
	if len(pairs) == 0 {
		return redirectURI
	}
	head, tail := redirectURI, ""
	mark := byte('#')
	if !fragment {
		mark = '?'
		if i := strings.IndexByte(redirectURI, '#'); i >= 0 {
			head, tail = redirectURI[:i], redirectURI[i:]
		}
	}
	b := make([]byte, 0, len(redirectURI)+128)
	b = append(b, head...)
	switch i := strings.IndexByte(head, mark); {
	case i < 0:
		b = append(b, mark)
	case i == len(head)-1 || head[len(head)-1] == '&': // nothing to separate from
	default:
		b = append(b, '&')
	}
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = appendEscaped(b, p[0])
		b = append(b, '=')
		b = appendEscaped(b, p[1])
	}
	return string(append(b, tail...))
}

// Lookalike returns the first parameter name that is none of names but that a
// lenient server would take for one of them, or "". Such a parameter is read by
// the upstream and not by us: code.challenge beside code_challenge puts the
// client's own challenge back behind a rewritten one.
//
// It knows: letter case (.NET), white space around the name, a NUL that ends
// it, and . or space for _ (PHP), [] and [0] behind it (PHP, Rails, Node's qs),
// and a name behind a ; that an old server reads as & (HTML 4.01 appendix B.2.2).
// The returned name is the client's own text: it belongs in no answer.
func (f *Form) Lookalike(names ...string) string {
	for _, p := range f.pairs {
		if !slices.Contains(names, p.name) && slices.Contains(names, lenientName(p.name)) {
			return p.name
		}
		_, rest, more := strings.Cut(p.raw, ";")
		for more {
			var s string
			s, rest, more = strings.Cut(rest, ";")
			hidden, _ := parsePair(s)
			if slices.Contains(names, lenientName(hidden.name)) {
				return hidden.name
			}
		}
	}
	return ""
}

// Loosely returns the decoded values of all parameters that are of that name, or
// that a lenient server would take for one of it (see Lookalike), in order.
func (f *Form) Loosely(name string) []string {
	var values []string
	for _, p := range f.pairs {
		if p.isParam() && (p.name == name || lenientName(p.name) == name) {
			v, _ := unescape(p.value)
			values = append(values, v)
		}
		_, rest, more := strings.Cut(p.raw, ";")
		for more {
			var s string
			s, rest, more = strings.Cut(rest, ";")
			if hidden, _ := parsePair(s); lenientName(hidden.name) == name {
				v, _ := unescape(hidden.value)
				values = append(values, v)
			}
		}
	}
	return values
}

// lenientName is the name as the most lenient server reads it.
func lenientName(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	if i := strings.IndexByte(s, '['); i > 0 && strings.Contains(s[i:], "]") {
		s = s[:i]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '.' || r == ' ' || r == '[': // PHP: also a [ without its ]
			return '_'
		case 'A' <= r && r <= 'Z':
			return r + ('a' - 'A')
		}
		return r
	}, strings.TrimSpace(s))
}
