package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions/redisstore"
)

// valueError says what is wrong with a value, as the second half of a sentence that begins with the variable. It never
// repeats a value that may be a secret.
type valueError struct{ text string }

// Error is that half of a sentence.
func (e *valueError) Error() string { return e.text }

func wrong(format string, args ...any) error { return &valueError{fmt.Sprintf(format, args...)} }

// quoted shows a value in a message: one line, and not endless.
func quoted(s string) string {
	if len(s) > 40 {
		return strconv.QuoteToASCII(s[:40]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

// printable makes a name fit for a line.
func printable(s string) string {
	q := quoted(s)
	return strings.Trim(q, `"`)
}

// duration is longer than zero.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	var p pause
	if err := p.UnmarshalText(text); err != nil {
		return err
	}
	if p == 0 {
		return wrong("%s is zero: a duration must be longer", quoted(string(text)))
	}
	*d = duration(p)
	return nil
}

// pause is a duration that may be zero.
type pause time.Duration

func (p *pause) UnmarshalText(text []byte) error {
	s := string(text)
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && isNumber(s):
		return wrong("%s has no unit (s, m or h)", quoted(s))
	case err != nil:
		return wrong("%s is not a duration", quoted(s))
	case d < 0:
		return wrong("%s is negative", quoted(s))
	}
	*p = pause(d)
	return nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// count is a whole number, at least 1.
type count int

func (c *count) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return wrong("%s is out of range", quoted(string(text)))
	case err != nil:
		return wrong("%s is not a whole number", quoted(string(text)))
	case n < 1:
		return wrong("%s is less than 1", quoted(string(text)))
	}
	*c = count(n)
	return nil
}

// boolean is true or false, and nothing that looks like it: "no", "0" and "off" mean different things elsewhere.
type boolean bool

func (b *boolean) UnmarshalText(text []byte) error {
	s, err := choose(text, "true", "false")
	*b = s == "true"
	return err
}

// choose takes one of the allowed words.
func choose(text []byte, allowed ...string) (string, error) {
	if s := string(text); slices.Contains(allowed, s) {
		return s, nil
	}
	last := len(allowed) - 1
	return "", wrong("%s is not %s or %s", quoted(string(text)), strings.Join(allowed[:last], ", "), allowed[last])
}

type (
	upstreamEnd string
	authority   string
	nonceMode   string
	auth0Target string
	logFormat   string
	logLevel    slog.Level
)

func (v *upstreamEnd) UnmarshalText(text []byte) error {
	s, err := choose(text, "auto", "logout", "revoke", "none")
	*v = upstreamEnd(s)
	return err
}

func (v *authority) UnmarshalText(text []byte) error {
	s, err := choose(text, "gateway", "upstream")
	*v = authority(s)
	return err
}

func (v *nonceMode) UnmarshalText(text []byte) error {
	s, err := choose(text, "required", "off")
	*v = nonceMode(s)
	return err
}

func (v *auth0Target) UnmarshalText(text []byte) error {
	s, err := choose(text, "audience", "resource")
	*v = auth0Target(s)
	return err
}

func (v *logFormat) UnmarshalText(text []byte) error {
	s, err := choose(text, "json", "text")
	*v = logFormat(s)
	return err
}

func (v *logLevel) UnmarshalText(text []byte) error {
	s, err := choose(text, "debug", "info", "warn", "error")
	if err != nil {
		return err
	}
	return (*slog.Level)(v).UnmarshalText([]byte(s))
}

// items splits a list at its commas and hands each item to take; all faults become one.
func items(text []byte, take func(item string) error) error {
	var bad []string
	for i, item := range strings.Split(string(text), ",") {
		item = strings.TrimSpace(item)
		err := wrong("is empty")
		if item != "" {
			err = take(item)
		}
		if err != nil {
			bad = append(bad, fmt.Sprintf("item %d %v", i+1, err))
		}
	}
	if len(bad) > 0 {
		return wrong("%s", strings.Join(bad, "; "))
	}
	return nil
}

// names are identifiers of clients; "*" has a meaning.
type names []string

func (n *names) UnmarshalText(text []byte) error {
	return items(text, func(item string) error {
		if strings.ContainsFunc(item, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return wrong("has a control character")
		}
		*n = append(*n, item)
		return nil
	})
}

// plainNames are identifiers where "*" has no meaning: all is what holds where the variable is not set.
type plainNames []string

func (n *plainNames) UnmarshalText(text []byte) error {
	if err := (*names)(n).UnmarshalText(text); err != nil {
		return err
	}
	if slices.Contains(*n, "*") {
		return wrong("names *: leave it unset for all")
	}
	return nil
}

// scope is a list of scope names, separated by spaces (RFC 6749 section 3.3). It may be empty.
type scope string

func (v *scope) UnmarshalText(text []byte) error {
	fields := strings.Fields(string(text))
	for _, f := range fields {
		if strings.ContainsFunc(f, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
			return wrong("%s is not a scope", quoted(f))
		}
	}
	*v = scope(strings.Join(fields, " "))
	return nil
}

// cookieNames are tokens of RFC 9110 section 5.6.2.
type cookieNames []string

var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (n *cookieNames) UnmarshalText(text []byte) error {
	return items(text, func(item string) error {
		switch {
		case !token.MatchString(item):
			return wrong("is not a cookie name")
		case item == "ort" || item == "__Host-ort":
			return wrong("is the gateway's own cookie")
		}
		*n = append(*n, item)
		return nil
	})
}

// algorithms are JWS names (RFC 7518, RFC 8037, RFC 9864) that package dpop can verify.
type algorithms []string

var knownAlgorithms = []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "RS256"}

func (a *algorithms) UnmarshalText(text []byte) error {
	return items(text, func(item string) error {
		if !slices.Contains(knownAlgorithms, item) {
			return wrong("is none of %s", strings.Join(knownAlgorithms, ", "))
		}
		if !slices.Contains(*a, item) {
			*a = append(*a, item)
		}
		return nil
	})
}

// prefixes are networks and single addresses; "private" stands for those that are never routed on the Internet.
type prefixes []netip.Prefix

var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), // RFC 1918
	netip.MustParsePrefix("fc00::/7"),                                      // ULA, RFC 4193
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), // loopback
}

func (p *prefixes) UnmarshalText(text []byte) error {
	return items(text, func(item string) error {
		if item == "private" {
			*p = append(*p, privateNetworks...)
			return nil
		}
		prefix, err := parsePrefix(item)
		if err != nil {
			return wrong("is not a CIDR, an address or private")
		}
		*p = append(*p, prefix)
		return nil
	})
}

// parsePrefix reads a network or an address. IPv4 that is mapped into IPv6 becomes plain IPv4, as peers are compared so.
func parsePrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		if addr.Zone() != "" {
			return netip.Prefix{}, errors.New("zone")
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, errors.New("mapped IPv4, too wide")
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// listenAddr is host:port with a number for the port; the host may be missing.
type listenAddr string

var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$`)

func (a *listenAddr) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return wrong("%s is not host:port", quoted(string(text)))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return wrong("%s has a port that is not a number from 0 to 65535", quoted(string(text)))
	}
	if host != "" && !goodHost(host) {
		return wrong("%s has a host that is neither an address nor a name", quoted(string(text)))
	}
	*a = listenAddr(text)
	return nil
}

func goodHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || hostname.MatchString(host)
}

// storeURL names the store. It may carry a password, so nothing of it is ever shown.
type storeURL string

func (v *storeURL) UnmarshalText(text []byte) error {
	s := string(text)
	path, bolt := strings.CutPrefix(s, "bolt:")
	switch {
	case isShared(s):
		*v = storeURL(s)
		if err := redisstore.CheckURL(s); err != nil {
			return wrong("%s", err)
		}
		return nil
	case !bolt:
		return wrong("begins neither with bolt: nor with redis:// or rediss://")
	case path == "":
		return wrong("names no file")
	case strings.HasPrefix(path, "//"):
		return wrong("has // after bolt: a path follows at once")
	case strings.ContainsRune(path, 0):
		return wrong("has a zero byte in its path")
	}
	*v = storeURL(s)
	return nil
}

// path is the file of the embedded store, "" where it is another.
func (v storeURL) path() string {
	path, bolt := strings.CutPrefix(string(v), "bolt:")
	if !bolt {
		return ""
	}
	return path
}

// shared is the URL of a store that several replicas use; not set where it is the embedded one.
func (v storeURL) shared() Secret {
	if !isShared(string(v)) {
		return Secret{}
	}
	return NewSecret(string(v))
}

// isShared reports whether the URL is that of a store which several replicas use.
func isShared(storeURL string) bool {
	return strings.HasPrefix(storeURL, "redis://") || strings.HasPrefix(storeURL, "rediss://")
}

// adminToken is what a bearer token may be made of: visible ASCII (RFC 6750 section 2.1 allows less, clients send more).
type adminToken Secret

func (v *adminToken) UnmarshalText(text []byte) error {
	if slices.ContainsFunc(text, func(b byte) bool { return b <= ' ' || b >= 0x7f }) {
		return wrong("has a character that cannot be in a bearer token (space, control or not ASCII)")
	}
	*v = adminToken(NewSecret(string(text)))
	return nil
}
