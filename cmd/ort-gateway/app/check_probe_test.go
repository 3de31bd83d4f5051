package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// Why no answer came, in words that name the setting.
func TestWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		err          error
		text, change string
	}{
		"unknown authority": {x509.UnknownAuthorityError{}, "comes from nobody who is trusted here", "ORT_UPSTREAM_CA_FILE"},
		"another host":      {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "a"}, "is not for the host", "ORT_UPSTREAM_URL"},
		"over":              {x509.CertificateInvalidError{Reason: x509.Expired}, "has ended or is not yet valid", "renew"},
		"not good":          {&tls.CertificateVerificationError{Err: errors.New("odd\x1b[31m")}, "its certificate is not good: odd [31m", "ORT_UPSTREAM_CA_FILE"},
		"no TLS":            {tls.RecordHeaderError{Msg: "first record"}, "it speaks plain HTTP", "begin it with http://"},
		"HTTP for HTTPS":    {errors.New("http: server gave HTTP response to HTTPS client"), "it speaks plain HTTP", "begin it with http://"},
		"no such name":      {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "idp", IsNotFound: true}}, "its host name is not known here", "ORT_UPSTREAM_URL"},
		"silent":            {&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, "no answer came in time", "firewall"},
		"given up":          {context.DeadlineExceeded, "no answer came in time", "firewall"},
		"refused":           {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "connection refused", "is it running?"},
	} {
		if text, change := whyNot(fmt.Errorf("asking: %w", c.err)); !strings.Contains(text, c.text) || !strings.Contains(change, c.change) {
			t.Errorf("%s: %s; %s", name, text, change)
		}
	}
}

// What somebody else wrote is cut, and moves no cursor.
func TestPlainText(t *testing.T) {
	if got, want := plainText("a\x1b[2J\r\nb\u202eé"), "a [2J  b  "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := plainText(strings.Repeat("x", 1000)); got != strings.Repeat("x", 200)+"…" {
		t.Errorf("%d characters", len(got))
	}
}

// An error is the client's where the answer redirects to it, in the query or the fragment.
func TestRedirectError(t *testing.T) {
	for _, c := range []struct {
		status         int
		location, want string
	}{
		{302, "https://app.test/cb?error=login_required&error_description=why", "login_required why"},
		{303, "https://app.test/cb#error=login_required", "login_required "},
		{200, "https://app.test/cb?error=login_required", " "}, {400, "https://app.test/cb?error=login_required", " "},
		{302, "https://app.test/cb?code=a", " "}, {302, "", " "}, {302, "%zz", " "},
	} {
		code, description := (&answer{status: c.status, header: http.Header{"Location": {c.location}}}).redirectError()
		if got := code + " " + description; got != c.want {
			t.Errorf("%d %s: got %q, want %q", c.status, c.location, got, c.want)
		}
	}
}
