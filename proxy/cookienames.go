package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// loginCookies knows the identity provider's own cookies that carry its login, by
// name. Their values are only ever hashed.
type loginCookies struct {
	names []string
	now   func() time.Time
}

// loginCookie is one of them as a request carries it.
type loginCookie struct {
	pair string // name=value as sent
	name string // the configured one
	// hash is of the value. It is empty for the rest of a cookie that was cut into
	// pieces: the first piece stands for all.
	hash sessions.CookieHash
	// loose says that some upstreams only would read it there.
	loose bool
}

// in are the login cookies of a request. A pair is read as the most tolerant
// upstream would (RFC 2965 section 3.3.4 has commas between cookies): who holds a
// dead cookie must not pass it by another spelling.
func (l *loginCookies) in(h http.Header) (found []loginCookie) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if c, ok := l.read(pair, pair); ok {
				found = append(found, c)
			}
			if !strings.Contains(pair, ",") {
				continue
			}
			for part := range strings.SplitSeq(pair, ",") {
				if c, ok := l.read(pair, part); ok && c.hash != "" {
					c.loose = true
					found = append(found, c)
				}
			}
		}
	}
	return found
}

// read is the login cookie that a text is, within the pair that carries it.
func (l *loginCookies) read(pair, text string) (loginCookie, bool) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || value == "" {
		return loginCookie{}, false
	}
	known, rest, ok := l.named(spelling(name))
	if value = spelling(value); !ok || value == "" {
		return loginCookie{}, false
	}
	c := loginCookie{pair: pair, name: known}
	if !rest && !countsChunks(value) {
		c.hash = sessions.HashLoginCookie(known, value)
	}
	return c, true
}

// spelling is what tolerant readers make of a cookie's name or value: without
// quotes, white space and escapes.
func spelling(s string) string {
	plain := true
	for _, c := range []byte(s) {
		plain = plain && c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '%'
	}
	if plain {
		return s
	}
	b := decodeFully(s)
	out := b[:0]
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+3 < len(b) { // RFC 2109 quoting, as Python writes it
			if n, err := strconv.ParseUint(string(b[i+1:i+4]), 8, 8); err == nil {
				c, i = byte(n), i+3
			}
		}
		if c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			out = append(out, c)
		}
	}
	return string(out)
}

// named is the configured name that a cookie's belongs to. rest says that it is a
// further piece of one that was cut, as providers do with what is too long for a
// browser: NAMEC1, NAMEC2 beside a NAME that counts them (ASP.NET), or NAME.0,
// NAME.1 (JavaScript's libraries).
func (l *loginCookies) named(name string) (known string, rest, ok bool) {
	for _, n := range l.names {
		if strings.EqualFold(name, n) {
			return n, false, true
		}
	}
	for _, n := range l.names {
		if len(name) <= len(n) || !strings.EqualFold(name[:len(n)], n) {
			continue
		}
		first := uint64(0)
		switch name[len(n)] {
		case 'C':
			first = 1
		case '.':
		default:
			continue
		}
		if number, err := strconv.ParseUint(name[len(n)+1:], 10, 8); err == nil {
			return n, number != first, true
		}
	}
	return "", false, false
}

// countsChunks says whether a value only tells how many pieces there are: it is
// the same for all users.
func countsChunks(value string) bool {
	n, ok := strings.CutPrefix(value, "chunks")
	if !ok || n == "" || n[0] != '-' && n[0] != ':' {
		return false
	}
	_, err := strconv.ParseUint(n[1:], 10, 8)
	return err == nil
}

// setBy are the login cookies that an answer sets; expired says whether it ends
// one.
func (l *loginCookies) setBy(h http.Header) (set []sessions.CookieHash, expired bool) {
	for _, line := range h["Set-Cookie"] {
		first, attributes, _ := strings.Cut(line, ";")
		name, value, ok := strings.Cut(first, "=")
		if !ok {
			continue
		}
		known, rest, ok := l.named(strings.TrimSpace(name))
		if value = spelling(value); !ok || rest || countsChunks(value) {
			continue
		}
		if value == "" || l.over(attributes) {
			expired = true
			continue
		}
		set = append(set, sessions.HashLoginCookie(known, value))
	}
	return set, expired
}

// over says whether a Set-Cookie line's attributes end the cookie at once (RFC
// 6265 section 5.2: Max-Age goes before Expires).
func (l *loginCookies) over(attributes string) bool {
	expired := false
	for a := range strings.SplitSeq(attributes, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(a), "=")
		switch {
		case strings.EqualFold(name, "Max-Age"):
			if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
				return n <= 0
			}
		case strings.EqualFold(name, "Expires"):
			if at, ok := cookieDate(strings.TrimSpace(value)); ok {
				expired = !at.After(l.now())
			}
		}
	}
	return expired
}

// netscapeDate is how cookies' dates were first written, and are still by some.
const netscapeDate = "Mon, 02-Jan-2006 15:04:05 MST"

func cookieDate(text string) (time.Time, bool) {
	at, err := http.ParseTime(text)
	if err != nil {
		at, err = time.Parse(netscapeDate, text)
	}
	return at, err == nil
}
