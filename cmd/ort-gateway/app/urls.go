package app

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// issuerList are issuer URLs, each kept exactly as written: issuers are compared byte for byte (RFC 8414 section 3.3).
type issuerList []string

func (v *issuerList) UnmarshalText(text []byte) error {
	var first string
	return items(text, func(item string) error {
		u, err := webURL(item)
		switch {
		case err != nil:
			return err
		case slices.Contains(*v, item):
			return wrong("is there twice")
		case first != "" && originOf(u) != first:
			return wrong("is on another origin than the first")
		}
		first = originOf(u)
		*v = append(*v, item)
		return nil
	})
}

// upstreamURL is scheme, host and port, nothing more.
type upstreamURL string

func (v *upstreamURL) UnmarshalText(text []byte) error {
	u, err := webURL(string(text))
	if err != nil {
		return err
	}
	if u.Path != "" && u.Path != "/" {
		return wrong("has a path: requests keep the path that the client asked for")
	}
	*v = upstreamURL(originOf(u))
	return nil
}

// origins are origins as browsers write them in the Origin field.
type origins []string

func (v *origins) UnmarshalText(text []byte) error {
	return items(text, func(item string) error {
		if item == "*" {
			return wrong("is *: name each origin")
		}
		u, err := anyURL(item)
		switch {
		case err != nil:
			return err
		case u.Path != "":
			return wrong("has a path: an origin ends with its host or port")
		}
		*v = append(*v, originOf(u))
		return nil
	})
}

// webURL reads an http or https URL that has no query, no fragment and no user.
func webURL(s string) (*url.URL, error) {
	u, err := anyURL(s)
	if err == nil && u.Scheme != "http" && u.Scheme != "https" {
		err = wrong("is neither http nor https")
	}
	return u, err
}

func anyURL(s string) (*url.URL, error) {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"<>\^{|}`+"`", r) }) {
		return nil, wrong("has a character that cannot be in a URL")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme == "", u.Opaque != "":
		return nil, wrong("is not an absolute URL")
	case u.User != nil:
		return nil, wrong("has a user name")
	case u.Hostname() == "":
		return nil, wrong("names no host")
	case !goodHost(u.Hostname()):
		return nil, wrong("has a host that is neither an address nor a name")
	case strings.Contains(s, "?"):
		return nil, wrong("has a query")
	case strings.Contains(s, "#"):
		return nil, wrong("has a fragment")
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); strings.HasSuffix(u.Host, ":") || u.Port() != "" && (err != nil || n == 0) {
		return nil, wrong("has a port that is not a number from 1 to 65535")
	}
	return u, nil
}

// originOf writes an origin as browsers do: lower case, no default port (RFC 6454 section 6.2).
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme + ":" + u.Port() {
	case "http:80", "https:443":
		host = strings.TrimSuffix(host, ":"+u.Port())
	}
	return u.Scheme + "://" + host
}

// isLoopback reports whether the host is this machine by name or address.
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
