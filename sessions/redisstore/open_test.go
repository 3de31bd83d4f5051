package redisstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

const secret = "geheim-4711"

// TestURLs: what is wrong is named, on one line, without what may be secret.
func TestURLs(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"redis://h": "", "redis://u:p@h:1/3?key_prefix=x:&wait_replicas=2&read_timeout=2s": "",
		"redis://s:26379?master_name=m&addr=s2:26379&username=u&password=p": "", "rediss://u:p@n1:6379?addr=n2:6379&key_prefix=a": "",
		"http://h":          "begins neither with redis:// nor with rediss://",
		"redis://":          "names no host",
		"redis://h:99999/0": "has a port that is no number from 1 to 65535", "redis://h:0": "has a port", "redis://h:1?addr=h2:70000": "has a port", "redis://[::1]:70000": "has a port",
		"redis://[::1]:6379/0": "", "redis://[::1]/0": "",
		"redis://u:" + secret + "%@h":               "is no URL",
		"redis://u:" + secret + "/x@h":              "is no URL",
		"redis://:a#" + secret + "@h":               "is no URL",
		"redis://h/#" + secret:                      "has a #",
		"redis://h/" + secret:                       "database number",
		"redis://h?" + secret + "=1":                "unknown parameter",
		"redis://h?reed_timeout=1s":                 `unknown parameter: "reed_timeout"`,
		"redis://h?read_timeout=" + secret:          "a parameter with a wrong value",
		"redis://h?key_prefix=":                     "key_prefix",
		"redis://h?key_prefix={" + secret + "}":     "key_prefix",
		"redis://h?wait_replicas=" + secret:         "wait_replicas",
		"redis://h?wait_replicas=1&wait_replicas=2": "twice",
		"redis://h?ca_file=" + ca:                   "use rediss://",
		"rediss://h?ca_file=/none":                  `ca_file "/none" that cannot be read`,
		"rediss://h?ca_file=" + ca:                  "without a PEM certificate",
		"redis://h?master_name=":                    "empty master_name",
		"redis://h?master_name=m&replica_only=true": "what was just written",
		"redis://h?addr=" + secret:                  "addr that is not HOST:PORT",
		"redis://h/2?addr=h:1":                      "one database alone",
	} {
		err := CheckURL(url)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: got error %v", url, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got error %v, want %q", url, err, want)
		case err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: it tells too much: %v", url, err)
		}
	}
}

// refused opens what a person must mend.
func refused(t *testing.T, name, url, want string) {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url})
	if err == nil {
		s.Close()
		t.Errorf("%s: it was opened", name)
		return
	}
	if !errors.Is(err, ErrFault) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: got error %v, want %q", name, err, want)
	}
}

// certificate makes an authority and a certificate of it for loopback.
func certificate(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	made := func(n int64, isCA bool, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: fmt.Sprint("redis test ", n)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: isCA, BasicConstraintsValid: true,
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		if parent == nil {
			parent, by = c, k
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &k.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		c, err = x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, k
	}
	root, rootKey := made(1, true, nil, nil)
	leaf, leafKey := made(2, false, root, rootKey)
	der, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	return write("ca.pem", "CERTIFICATE", root.Raw), write("cert.pem", "CERTIFICATE", leaf.Raw), write("key.pem", "EC PRIVATE KEY", der)
}

// rights are what the user of a store needs; the error that names them is held
// against it.
var rights = []any{"on", ">" + secret, "~t:*", "&t:*", "+@all", "-@dangerous", "-@admin", "+info"}

// TestRightsAreThoseOfTheScripts: every command of a script is among those that are
// tried as the store is opened.
func TestRightsAreThoseOfTheScripts(t *testing.T) {
	files, err := sources.ReadDir("lua")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`redis\.call\('([A-Z]+)'`)
	for _, file := range files {
		text, err := sources.ReadFile("lua/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range commands.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(scriptRights.source(), "{'"+m[1]+"'") {
				t.Errorf("%s runs %s, which lua/rights.lua does not try", file.Name(), m[1])
			}
		}
	}
}

// TestTLSAndUsers: the whole of storetest as a user with no more rights than it
// needs, over TLS with an authority of its own; and what it is told where one of
// them is wrong.
func TestTLSAndUsers(t *testing.T) {
	ca, cert, key := certificate(t)
	tls := freePort(t)
	srv := newServer(t, "--tls-port", fmt.Sprint(tls), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no")
	srv.cli(t, append([]any{"acl", "setuser", "gw"}, rights...)...)
	srv.cli(t, append([]any{"acl", "setuser", "mute"}, append(rights, "-eval", "-evalsha")...)...)
	srv.cli(t, append([]any{"acl", "setuser", "deaf"}, append(rights, "resetchannels")...)...)
	srv.cli(t, append([]any{"acl", "setuser", "narrow"}, append(rights, "resetkeys", "~other:*")...)...)
	base := fmt.Sprintf("127.0.0.1:%d?ca_file=%s", tls, ca)
	refused(t, "a wrong password", "rediss://gw:"+secret+"x@"+base+"&key_prefix=t:", "refuses the user or the password")
	refused(t, "a CA that is not known", fmt.Sprintf("rediss://gw:%s@127.0.0.1:%d?key_prefix=t:", secret, tls), "not trusted: name its file by ca_file=")
	refused(t, "no scripting", "rediss://mute:"+secret+"@"+base+"&key_prefix=t:", "may not do what the store needs")
	refused(t, "no channel", "rediss://deaf:"+secret+"@"+base+"&key_prefix=t:", "channel")
	refused(t, "no keys", "rediss://narrow:"+secret+"@"+base+"&key_prefix=t:", "may not do what the store needs")
	for _, command := range []string{"zadd", "zrangebylex", "incr", "subscribe"} {
		srv.cli(t, append([]any{"acl", "setuser", "poor"}, append(append([]any{"reset"}, rights...), "-"+command)...)...)
		refused(t, "no "+command, "rediss://poor:"+secret+"@"+base+"&key_prefix=t:", "the user may not run "+strings.ToUpper(command)+", which the store needs: ACL SETUSER")
	}
	srv.cli(t, append([]any{"acl", "setuser", "poor"}, append(append([]any{"reset"}, rights...), "-wait")...)...)
	refused(t, "no wait", "rediss://poor:"+secret+"@"+base+"&key_prefix=t:&wait_replicas=1", "may not run WAIT")
	refused(t, "a database that is not there", "redis://"+srv.addr()+"/99?key_prefix=t:", "no database of this number")
	refused(t, "no Sentinel", "redis://"+srv.addr()+"?key_prefix=t:&master_name=m", "has master_name=, but the server is no Sentinel")
	refused(t, "no Cluster", "redis://"+srv.addr()+"?key_prefix=t:&addr="+srv.addr(), "is no Cluster")
	srv.cli(t, "set", "foreign:meta", "x")
	srv.cli(t, "hset", "strange:meta", "format", "something else")
	srv.cli(t, "hset", "newer:meta", "format", magic+"9")
	refused(t, "another program's keys", srv.url()+"?key_prefix=strange:", "of another program")
	refused(t, "another program's key of another type", srv.url()+"?key_prefix=foreign:", "of another program")
	refused(t, "a newer format", srv.url()+"?key_prefix=newer:", "newer version of the gateway (format 9, this one knows 1)")
	srv.cli(t, "config", "set", "requirepass", secret)
	refused(t, "no password", srv.url()+"?key_prefix=t:", "asks for a password")
	storetest.Run(t, at("rediss://gw:"+secret+"@"+base))
}
