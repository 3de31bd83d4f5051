package app

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"sync/atomic"
)

// certificate is the current TLS certificate; it follows its files.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
	watch   *fileWatch
}

// loadCertificate reads the pair of the settings. Load has seen it already; it may have changed since.
func loadCertificate(s *Settings, log *slog.Logger) (*certificate, error) {
	paths := []string{s.TLSCertFile, s.TLSKeyFile}
	contents := make([][]byte, len(paths))
	for i, path := range paths {
		var err error
		if contents[i], err = readFile(path); err != nil {
			return nil, errors.New([]string{"ORT_TLS_CERT_FILE", "ORT_TLS_KEY_FILE"}[i] + ": the file " + err.Error())
		}
	}
	c := new(certificate)
	if err := c.use(contents); err != nil {
		return nil, err
	}
	c.watch = newFileWatch("ORT_TLS_CERT_FILE, ORT_TLS_KEY_FILE", paths, contents, log, c.use)
	return c, nil
}

// use takes a certificate and its key into use for handshakes from now on; open connections keep theirs.
func (c *certificate) use(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return errors.New("ORT_TLS_KEY_FILE: the file has no key for the certificate in ORT_TLS_CERT_FILE")
	}
	c.current.Store(&pair)
	return nil
}

// config is the listener's. HTTP/2 is added to it by net/http.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
