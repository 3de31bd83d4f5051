package app

import (
	"math"
	"net/http"
	"net/url"
	"syscall"
)

// timed measures calls of the gateway's own to an endpoint of the upstream.
func (p *parts) timed(endpoint string, next http.RoundTripper) http.RoundTripper {
	return p.metrics.Timed(next, func(*http.Request) string { return endpoint })
}

// returnedAt names the endpoint at which an upstream credential is given back.
func (p *parts) returnedAt(r *http.Request) string {
	for _, provider := range p.metadata.State().Providers {
		if provider == nil {
			continue
		}
		if u, err := url.Parse(provider.EndSession); err == nil && u.Path == r.URL.Path {
			return "end_session"
		}
	}
	return "revocation"
}

// diskFree is the space in bytes that is left to this process on the disk that a
// directory is on; not a number where nobody can tell.
func diskFree(dir string) float64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return math.NaN()
	}
	return float64(fs.Bavail) * float64(fs.Bsize)
}
