package proxy

import "bytes"

// canonicalPath is the usual reading of an escaped path: decoded until nothing
// changes, "\\" as "/", cut at an (escaped) "?", "#" or NUL, ";…" cut in every
// segment, doubled slashes and dots resolved, trailing slash cut, ASCII lower
// case.
func canonicalPath(path string) string { return string(canonical([]byte(path))) }

func canonical(path []byte) []byte {
	b := decodeFully(string(path))
	if len(b) == 0 || b[0] != '/' {
		b = append([]byte{'/'}, b...)
	}
	for _, step := range [...]func([]byte) []byte{cutQuery, slashes, cutParameters, resolveMerged} {
		b = step(b)
	}
	return fold(b)
}

// What servers do with a path on their way to a route. Each does some of it, in
// an order of its own: one cuts ";…" before it decodes, so that to it
// "/token;%2f..%2fuserinfo" is /token, which to all others is /userinfo.
var steps = [...]func([]byte) []byte{
	func(b []byte) []byte { return decodeFully(string(b)) },
	decodeOnce, cutQuery, slashes, cutParameters, cutAllParameters, resolveMerged, resolveKept,
}

// maxReadings bounds the work that a stranger's path makes, in bytes that are
// read, beyond the first few readings.
const maxReadings = 256 << 10

// readings calls try with each way to read an escaped path, the usual one first,
// until it returns false. It returns false where there are too many.
func readings(path string, try func([]byte) bool) bool {
	if !try(canonical([]byte(path))) {
		return true
	}
	seen := map[string]struct{}{path: {}}
	left := max(maxReadings, 16*len(path))
	for queue := [][]byte{[]byte(path)}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if !bytes.Contains(at, []byte("..")) || len(resolveMerged(at)) == len(at) {
			if !try(fold(at)) {
				return true
			}
		}
		for _, step := range steps {
			next := step(at)
			if _, known := seen[string(next)]; known {
				continue
			}
			if left -= len(at); left < 0 {
				return false
			}
			seen[string(next)] = struct{}{}
			queue = append(queue, next)
		}
	}
	return true
}

// fold is ASCII lower case, without doubled and trailing slashes.
func fold(path []byte) []byte {
	b := make([]byte, 0, len(path)+1)
	if len(path) == 0 || path[0] != '/' {
		b = append(b, '/')
	}
	for _, c := range path {
		switch {
		case c == '/' && len(b) > 0 && b[len(b)-1] == '/':
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	if len(b) > 1 && b[len(b)-1] == '/' {
		b = b[:len(b)-1]
	}
	return b
}

// cutQuery cuts at what ends a path for who decodes before he splits, or for
// whom a NUL ends a string.
func cutQuery(b []byte) []byte {
	if i := bytes.IndexAny(b, "?#\x00"); i >= 0 {
		return b[:i]
	}
	return b
}

func slashes(b []byte) []byte { return bytes.ReplaceAll(b, []byte{'\\'}, []byte{'/'}) }

// cutParameters cuts ";…" in every segment (RFC 3986 section 3.3).
func cutParameters(path []byte) []byte {
	if bytes.IndexByte(path, ';') < 0 {
		return path
	}
	b, cut := make([]byte, 0, len(path)), false
	for _, c := range path {
		if c == '/' || c == ';' {
			cut = c == ';'
		}
		if !cut {
			b = append(b, c)
		}
	}
	return b
}

// cutAllParameters cuts at the first ";" (RFC 1808 section 2.1).
func cutAllParameters(b []byte) []byte {
	if i := bytes.IndexByte(b, ';'); i >= 0 {
		return b[:i]
	}
	return b
}

func resolveMerged(b []byte) []byte { return resolve(bytes.Clone(b), true) }

func resolveKept(b []byte) []byte { return resolve(bytes.Clone(b), false) }

// decodeOnce decodes each escape once.
func decodeOnce(path []byte) []byte {
	if bytes.IndexByte(path, '%') < 0 {
		return path
	}
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if hi, lo := unhex(path[i+1]), unhex(path[i+2]); hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, path[i])
	}
	return b
}

// decodeFully percent-decodes until nothing changes. An escape that appears by
// decoding ends where the decoded byte is, so one pass with a look back at the
// result finds them all, in linear time however deep they are nested.
func decodeFully(s string) []byte {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		b = append(b, s[i])
		for n := len(b); n >= 3 && b[n-3] == '%'; n = len(b) {
			hi, lo := unhex(b[n-2]), unhex(b[n-1])
			if hi < 0 || lo < 0 {
				break
			}
			b = append(b[:n-3], byte(hi<<4|lo))
		}
	}
	return b
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
