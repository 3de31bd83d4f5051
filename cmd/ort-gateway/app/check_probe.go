package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// maxProbe bounds the body of an answer, in bytes.
const maxProbe = 1 << 20

// probe is one question to the upstream.
type probe struct {
	method string
	path   string // path and query as they go over the wire
	form   url.Values
	header http.Header
	bare   bool // under the upstream's own name, without any address header: as somebody does who reaches it directly
}

// answer is what came back. Redirects are not followed, cookies never sent back.
type answer struct {
	status int
	header http.Header
	body   []byte
	tls    *tls.ConnectionState
	sent   time.Time
	came   time.Time
}

// ask sends a question to the upstream, under the public name as the gateway does.
func (c *checker) ask(ctx context.Context, p probe) (*answer, error) {
	return c.send(ctx, c.upstream, c.settings.UpstreamURL, p)
}

func (c *checker) send(ctx context.Context, via http.RoundTripper, to *url.URL, p probe) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var body io.Reader
	if p.form != nil {
		body = strings.NewReader(p.form.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, p.method, to.Scheme+"://"+to.Host+p.path, body)
	if err != nil {
		return nil, errors.New("its address cannot be asked")
	}
	for name, values := range p.header {
		r.Header[name] = values
	}
	if p.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("User-Agent", "ort-gateway")
	if !p.bare {
		upstream.PublicName(r, c.settings.PublicOrigin)
	}
	a := &answer{sent: c.now()}
	resp, err := via.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a.came = c.now()
	a.status, a.header, a.tls = resp.StatusCode, resp.Header, resp.TLS
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxProbe+1)); err != nil {
		return nil, err
	}
	if len(a.body) > maxProbe {
		return nil, errors.New("its answer is longer than 1 MiB")
	}
	return a, nil
}

// oauthError is the error of an answer (RFC 6749 section 5.2), "" where it has none that can be read.
func (a *answer) oauthError() (code, description string) {
	var e struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(a.body, &e) != nil {
		return "", ""
	}
	return e.Error, e.Description
}

// redirectError is the error that an authorization answer carries to the client (RFC 6749 section 4.1.2.1).
func (a *answer) redirectError() (code, description string) {
	if a.status < 300 || a.status > 399 {
		return "", ""
	}
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		return "", ""
	}
	for _, raw := range []string{u.RawQuery, u.Fragment} {
		if q, _ := url.ParseQuery(raw); q.Get("error") != "" {
			return q.Get("error"), q.Get("error_description")
		}
	}
	return "", ""
}

// whyNot says why no answer came, and which setting may be at fault, without an address that is known already.
func whyNot(err error) (text, change string) {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
		timeout   net.Error
		notGood   *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &authority):
		return "its certificate comes from nobody who is trusted here", "ORT_UPSTREAM_CA_FILE: the PEM file of the authority that issued it"
	case errors.As(err, &hostname):
		return "its certificate is not for the host in ORT_UPSTREAM_URL", "ORT_UPSTREAM_URL: a name that the certificate has; or give the upstream a certificate for this one"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has ended or is not yet valid", "renew the upstream's certificate, or set the clock of this machine"
	case errors.As(err, &notGood):
		return "its certificate is not good: " + plainText(notGood.Err.Error()), "ORT_UPSTREAM_CA_FILE, or the upstream's certificate"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it speaks plain HTTP there", "ORT_UPSTREAM_URL: begin it with http://"
	case errors.As(err, &dns):
		return "its host name is not known here", "ORT_UPSTREAM_URL: a host that resolves on this machine"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "no answer came in time", "ORT_UPSTREAM_URL: is it the right host, and does a firewall stand between?"
	}
	return plainText(bare(err).Error()), "ORT_UPSTREAM_URL: where the identity provider listens; is it running?"
}

// plainText makes what somebody else wrote fit for a line of a terminal: no control bytes, and not endless.
func plainText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r > 0x7e {
			return ' '
		}
		return r
	}, s)
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// madeUp is a token or a secret that nobody has. Its look says where it comes from, for who reads the upstream's log.
func madeUp() string { return "ort-gateway-check-" + rand.Text() }
