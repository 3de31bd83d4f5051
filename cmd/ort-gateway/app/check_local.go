package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/sessions/boltstore"
)

// own notes a fact about the gateway itself.
func (c *checker) own(l level, topic, text, setting string) {
	c.report.add(fact{Level: l, Topic: topic, Fact: text, Setting: setting})
}

// checkKeys looks at the sealing keys; it names their ids, never a byte of them.
func (c *checker) checkKeys() {
	s := c.settings
	if s.SealingKeys.IsSet() {
		keys, err := seal.ParseKeys(s.SealingKeys.Reveal())
		if err != nil { // Load has parsed them
			c.own(levelFail, "sealing keys", plainText(err.Error()), "ORT_SEALING_KEYS")
			return
		}
		ids := keys.IDs()
		c.own(levelOK, "sealing keys", fmt.Sprintf("%d in ORT_SEALING_KEYS, %s seals", len(ids), quoted(ids[0])), "")
		return
	}
	path := s.StorePath + keyFileSuffix
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Stat(s.StorePath); err == nil && info.Size() > 0 {
			c.own(levelFail, "sealing keys", "the store is there, but not its key "+path+": no ORT that was handed out opens any more",
				"put the key file back, or its key into ORT_SEALING_KEYS; a new one ends all logins")
			return
		}
		c.own(levelOK, "sealing keys", "none yet; the first start makes one, kept in "+path, "")
		return
	}
	keys, err := seal.LoadOrCreate(path) // it is there, so nothing is made
	if err != nil {
		c.own(levelFail, "sealing keys", plainText(err.Error()), "the file of mode 0600, whole, and readable by the user that serves; or ORT_SEALING_KEYS")
		return
	}
	c.own(levelOK, "sealing keys", fmt.Sprintf("%d in %s", len(keys.IDs()), path), "")
}

// checkStoreFile opens the embedded store for a moment. One that a gateway has open is left alone.
func (c *checker) checkStoreFile() {
	path := c.settings.StorePath
	dir := filepath.Dir(path)
	if err := writable(dir); err != nil {
		c.own(levelFail, "store", fmt.Sprintf("nothing can be written in %s: %v", dir, err), "ORT_STORE_URL=bolt:PATH in a directory of the user that serves")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.own(levelOK, "store", path+" is not there yet; the first start makes it", "")
		return
	case err != nil:
		c.own(levelFail, "store", fmt.Sprintf("%s: %v", path, pathCause(err)), "ORT_STORE_URL")
		return
	case info.Mode().IsRegular() && info.Size() == 0:
		c.own(levelOK, "store", path+" is empty; the first start fills it", "")
		return
	}
	switch taken, err := locked(path); {
	case err != nil:
		c.own(levelFail, "store", fmt.Sprintf("%s: %v", path, err), "let the user that serves own the file")
		return
	case taken:
		c.own(levelSkip, "store", path+" is open in another process, the running gateway perhaps, so its content was not looked at", "")
		return
	}
	store, err := boltstore.Open(boltstore.Config{Path: path, MaxTransactions: c.settings.MaxTransactions})
	if err != nil {
		c.own(levelFail, "store", plainText(err.Error()), "ORT_STORE_URL")
		return
	}
	active := store.Stats().Active
	if err := store.Close(); err != nil {
		c.own(levelFail, "store", plainText(err.Error()), "ORT_STORE_URL")
		return
	}
	c.own(levelOK, "store", fmt.Sprintf("%s opens, %d sessions", path, active), "")
}

// writable makes a file in the directory and takes it away again: modes alone do not tell (read-only mounts, full disks).
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".ort-gateway-check-*")
	if err != nil {
		return pathCause(err)
	}
	f.Close()
	return pathCause(os.Remove(f.Name()))
}

// locked asks whether another process has the store open, with the lock that bbolt takes.
func locked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, pathCause(err)
	}
	defer f.Close() // and with it the lock
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, nil // where locks do not work, opening says more
}

// pathCause takes the path, which is said already, out of an error.
func pathCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// checkListener looks at the certificate that browsers will see.
func (c *checker) checkListener() {
	s := c.settings
	public := s.PublicOrigin
	if s.TLSCertFile == "" {
		if public.Scheme == "https" {
			c.own(levelSkip, "TLS", "ORT_TLS_CERT_FILE is not set, so something before the gateway must end TLS for "+originOf(public), "")
		}
		return
	}
	content, err := readFile(s.TLSCertFile)
	if err != nil {
		c.own(levelFail, "TLS", "ORT_TLS_CERT_FILE: the file "+err.Error(), "ORT_TLS_CERT_FILE")
		return
	}
	certs, err := certificatesIn(content)
	if err != nil {
		c.own(levelFail, "TLS", "ORT_TLS_CERT_FILE: the file "+err.Error(), "ORT_TLS_CERT_FILE")
		return
	}
	leaf := certs[0]
	until := leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case public.Scheme != "https":
		c.own(levelFail, "TLS", "the gateway serves TLS, but ORT_ISSUER begins with http://", "ORT_ISSUER=https://…, or take ORT_TLS_CERT_FILE away")
	case leaf.VerifyHostname(public.Hostname()) != nil:
		c.own(levelFail, "TLS", "the certificate is not for "+public.Hostname()+" but for "+plainText(strings.Join(leaf.DNSNames, ", ")), "ORT_TLS_CERT_FILE: a certificate for "+public.Hostname())
	case c.now().After(leaf.NotAfter):
		c.own(levelFail, "TLS", "the certificate ended on "+until, "ORT_TLS_CERT_FILE: a new certificate")
	case leaf.NotAfter.Sub(c.now()) < 14*24*time.Hour:
		c.own(levelWarn, "TLS", "the certificate ends on "+until, "ORT_TLS_CERT_FILE: a new certificate; it is re-read when it changes")
	default:
		c.own(levelOK, "TLS", "certificate for "+public.Hostname()+", good until "+until, "")
	}
}

// checkProxies looks whether the addresses of clients will be known.
func (c *checker) checkProxies() {
	s := c.settings
	switch {
	case len(s.TrustedProxies) > 0:
		c.own(levelOK, "trusted proxies", fmt.Sprintf("%d networks", len(s.TrustedProxies)), "")
	case s.PublicOrigin.Scheme == "https" && s.TLSCertFile == "":
		c.own(levelWarn, "trusted proxies", "none, though something before the gateway ends TLS: every user has that one's address in the upstream's log and in the bounds per address",
			"ORT_TRUSTED_PROXIES: the addresses of what ends TLS")
	default:
		c.own(levelOK, "trusted proxies", "none: clients connect to the gateway itself", "")
	}
}
