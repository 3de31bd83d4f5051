package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"
)

// settings maps the variables to plain values, and checks what takes more than one of them, or a file.
func (l *loader) settings(e *environment) *Settings {
	s := &Settings{
		Issuers:                e.Issuer,
		ListenAddr:             string(e.ListenAddr),
		AdminAddr:              string(e.AdminAddr),
		AdminToken:             Secret(e.AdminToken),
		AdminTokenFile:         e.AdminTokenFile,
		StorePath:              e.StoreURL.path(),
		StoreURL:               e.StoreURL.shared(),
		SealingKeys:            e.SealingKeys,
		SealingKeysFile:        e.SealingKeysFile,
		SessionIdleTimeout:     time.Duration(e.IdleTimeout),
		SessionAbsoluteTimeout: time.Duration(e.AbsoluteTimeout),
		LoginTimeout:           time.Duration(e.LoginTimeout),
		MaxTransactions:        int(e.MaxTransactions),
		Clients:                e.Clients,
		Audiences:              e.Audiences,
		ConfidentialClients:    e.Confidential,
		OnlineOnlyClients:      e.OnlineOnly,
		UpstreamConsent:        bool(e.UpstreamConsent),
		UpstreamLoginCookies:   e.LoginCookies,
		UpstreamEnd:            string(e.UpstreamEnd),
		UpstreamTimeout:        time.Duration(e.UpstreamTimeout),
		TrustedProxies:         e.TrustedProxies,
		DPoPAuthority:          string(e.DPoPAuthority),
		DPoPNonceRequired:      e.DPoPNonce == "required",
		DPoPNonceLifetime:      time.Duration(e.DPoPNonceLifetime),
		DPoPAlgs:               e.DPoPAlgs,
		DPoPProofLifetime:      time.Duration(e.DPoPProofLifetime),
		CORSOrigins:            e.CORSOrigins,
		Auth0Paths:             bool(e.Auth0Paths),
		Auth0Audience:          string(e.Auth0Audience),
		TLSCertFile:            e.TLSCertFile,
		TLSKeyFile:             e.TLSKeyFile,
		LogLevel:               slog.Level(e.LogLevel),
		LogFormat:              string(e.LogFormat),
		ShutdownDelay:          time.Duration(e.ShutdownDelay),
		ShutdownTimeout:        time.Duration(e.ShutdownTimeout),
	}
	if l.scopeSet {
		text := string(e.UpstreamScope)
		s.UpstreamScope = &text
	}
	l.checkOrigins(s, e)
	l.checkListeners(s)
	l.checkStore(e)
	l.checkTimeouts(s)
	l.checkClients(s)
	l.checkAuth0(s)
	l.checkTLS(s)
	for _, p := range s.TrustedProxies {
		if p.Bits() == 0 { // then a client certificate is what any stranger writes into a field
			l.warn("ORT_TRUSTED_PROXIES", p.String()+" trusts the address and certificate fields of every client")
		}
	}
	s.UpstreamCAs = l.readCAs(e.UpstreamCAFile)
	return s
}

// checkOrigins fills the two URLs and looks at them side by side.
func (l *loader) checkOrigins(s *Settings, e *environment) {
	if !l.faults.has("ORT_ISSUER") {
		issuer, _ := url.Parse(e.Issuer[0]) // was parsed before
		s.PublicOrigin, _ = url.Parse(originOf(issuer))
		if issuer.Scheme == "http" && !isLoopback(issuer.Hostname()) {
			l.warn("ORT_ISSUER", "is http, so tokens and cookies cross the network in the clear; use https anywhere but on loopback")
		}
	}
	if l.faults.has("ORT_UPSTREAM_URL") {
		return
	}
	s.UpstreamURL, _ = url.Parse(string(e.UpstreamURL))
	if s.PublicOrigin != nil && *s.PublicOrigin == *s.UpstreamURL {
		l.warn("ORT_UPSTREAM_URL", "is the public origin; unless its name leads to the IdP here, the gateway would call itself")
	}
	host, port, err := net.SplitHostPort(s.ListenAddr)
	if err == nil && port == portOf(s.UpstreamURL) && isLoopback(s.UpstreamURL.Hostname()) &&
		(isWildcard(host) || isLoopback(host)) {
		l.fault("ORT_UPSTREAM_URL", "is the gateway's own public listener ("+s.ListenAddr+")")
	}
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// isWildcard reports whether a listener's host means all addresses.
func isWildcard(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

// shortToken is a length that can be guessed by trying.
const shortToken = 16

// checkListeners refuses two listeners that cannot be open together.
func (l *loader) checkListeners(s *Settings) {
	if l.faults.has("ORT_LISTEN_ADDR", "ORT_ADMIN_ADDR") {
		return
	}
	publicHost, publicPort, _ := net.SplitHostPort(s.ListenAddr)
	adminHost, adminPort, _ := net.SplitHostPort(s.AdminAddr)
	if publicPort == adminPort && strings.Trim(publicPort, "0") != "" &&
		(publicHost == adminHost || isWildcard(publicHost) || isWildcard(adminHost)) {
		l.fault("ORT_ADMIN_ADDR", s.AdminAddr+" is taken by ORT_LISTEN_ADDR ("+s.ListenAddr+")")
	}
}

// checkStore looks at the store and the keys that protect it.
func (l *loader) checkStore(e *environment) {
	if token := Secret(e.AdminToken); token.IsSet() && len(token.Reveal()) < shortToken {
		l.warn("ORT_ADMIN_TOKEN", fmt.Sprintf("has less than %d characters, so it can be guessed", shortToken))
	}
	if l.faults.has("ORT_SEALING_KEYS") {
		return
	}
	if !e.SealingKeys.IsSet() {
		// Each replica would make a key of its own, and none could open the tokens of another.
		if isShared(string(e.StoreURL)) && !l.faults.has("ORT_STORE_URL") {
			l.fault("ORT_SEALING_KEYS", "is not set, and a store that several replicas share needs keys that they share: `ort-gateway keys` makes one")
		}
		return
	}
	if err := l.parseKeys(e.SealingKeys.Reveal()); err != nil {
		if l.fromFile["ORT_SEALING_KEYS"] {
			l.fault("ORT_SEALING_KEYS", "has wrong content: "+err.Error())
			return
		}
		l.fault("ORT_SEALING_KEYS", "has a wrong value: "+err.Error())
	}
}

func (l *loader) checkTimeouts(s *Settings) {
	if l.faults.has("ORT_SESSION_IDLE_TIMEOUT", "ORT_SESSION_ABSOLUTE_TIMEOUT") || s.SessionIdleTimeout <= s.SessionAbsoluteTimeout {
		return
	}
	shown := func(name string, d time.Duration) string {
		if value, set := l.values[name]; set {
			return value
		}
		return d.String() + ", the default"
	}
	l.faults = append(l.faults, fault{
		variable: "ORT_SESSION_IDLE_TIMEOUT", shown: "ORT_SESSION_IDLE_TIMEOUT",
		text: fmt.Sprintf("the idle timeout (%s) is longer than ORT_SESSION_ABSOLUTE_TIMEOUT (%s)",
			shown("ORT_SESSION_IDLE_TIMEOUT", s.SessionIdleTimeout), shown("ORT_SESSION_ABSOLUTE_TIMEOUT", s.SessionAbsoluteTimeout)),
		example: s.SessionAbsoluteTimeout.String(),
	})
}

// checkClients warns of lists that contradict one another.
func (l *loader) checkClients(s *Settings) {
	lists := []struct {
		name  string
		items []string
	}{
		{"ORT_CLIENTS", s.Clients}, {"ORT_AUDIENCES", s.Audiences},
		{"ORT_CONFIDENTIAL_CLIENTS", s.ConfidentialClients}, {"ORT_ONLINE_ONLY_CLIENTS", s.OnlineOnlyClients},
	}
	allowed := map[string]bool{"*": true}
	for _, c := range s.Clients {
		allowed[c] = true
	}
	for _, list := range lists {
		for _, item := range list.items {
			switch {
			case strings.Contains(item, " "):
				l.warn(list.name, quoted(item)+" has a space; items are separated by commas")
			case strings.HasSuffix(list.name, "_CLIENTS") && list.name != "ORT_CLIENTS" && s.Clients != nil && !allowed[item]:
				l.warn(list.name, quoted(item)+" is not in ORT_CLIENTS, so it gets no ORTs")
			}
		}
	}
}

func (l *loader) checkAuth0(s *Settings) {
	if s.Auth0Paths {
		if len(s.Issuers) > 1 {
			l.fault("ORT_AUTH0_PATHS", "needs a single issuer: its paths are at the root of the origin")
		}
		if s.DPoPAuthority == "upstream" {
			l.fault("ORT_AUTH0_PATHS", "needs ORT_DPOP_AUTHORITY=gateway: proofs name its paths, which the upstream does not know")
		}
		return
	}
	if _, set := l.values["ORT_AUTH0_AUDIENCE"]; set {
		l.warn("ORT_AUTH0_AUDIENCE", "has no effect without ORT_AUTH0_PATHS")
	}
}

// checkTLS reads certificate and key, so that a pair that cannot serve is told before any port opens.
func (l *loader) checkTLS(s *Settings) {
	switch {
	case s.TLSCertFile == "" && s.TLSKeyFile == "":
		return
	case s.TLSKeyFile == "":
		l.fault("ORT_TLS_KEY_FILE", "is not set, but ORT_TLS_CERT_FILE is: TLS takes both")
		return
	case s.TLSCertFile == "":
		l.fault("ORT_TLS_CERT_FILE", "is not set, but ORT_TLS_KEY_FILE is: TLS takes both")
		return
	}
	cert, certErr := readFile(s.TLSCertFile)
	if certErr != nil {
		l.fault("ORT_TLS_CERT_FILE", "the file "+certErr.Error())
	}
	key, keyErr := readFile(s.TLSKeyFile)
	if keyErr != nil {
		l.fault("ORT_TLS_KEY_FILE", "the file "+keyErr.Error())
	}
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := certificatesIn(cert); err != nil {
		l.fault("ORT_TLS_CERT_FILE", "the file "+err.Error())
		return
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil { // the library's texts name PEM types and mismatches, never the key
		l.fault("ORT_TLS_KEY_FILE", "the file has no key for the certificate in ORT_TLS_CERT_FILE")
		return
	}
	if leaf := pair.Leaf; leaf != nil && time.Now().After(leaf.NotAfter) {
		l.warn("ORT_TLS_CERT_FILE", "the certificate ended on "+leaf.NotAfter.UTC().Format(time.DateOnly))
	}
}

// readCAs reads the certificates that the upstream's must come from; nil without a file.
func (l *loader) readCAs(path string) *x509.CertPool {
	if path == "" {
		return nil
	}
	content, err := readFile(path)
	if err == nil {
		var certs []*x509.Certificate
		if certs, err = certificatesIn(content); err == nil {
			pool := x509.NewCertPool()
			for _, c := range certs {
				pool.AddCert(c)
			}
			return pool
		}
	}
	l.fault("ORT_UPSTREAM_CA_FILE", "the file "+err.Error())
	return nil
}

// certificatesIn reads all certificates of a PEM file; there must be one at least, and none that is broken.
func certificatesIn(content []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, wrong("has a certificate that cannot be read (number %d)", len(certs)+1)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, wrong("has no certificate in PEM form")
	}
	return certs, nil
}
