package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"testing"
)

var addressFields = []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X-Real-Ip"}

func sentUp(public string, trusted []string, remote string, h http.Header) http.Header {
	u, _ := url.Parse(public)
	c := forwardConfig{Upstream: &url.URL{Scheme: "http", Host: "up"}, Public: u}
	for _, p := range trusted {
		c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
	}
	return newForwarder(c).header(&http.Request{Header: h, RemoteAddr: remote, ProtoMajor: 1, ProtoMinor: 1})
}

func TestAddressFieldsOfOtherPeersReplaced(t *testing.T) {
	for _, c := range []struct{ public, remote, wantFor, wantProto, wantHost, wantPort string }{
		{"https://login.example", "192.0.2.1:1234", "192.0.2.1", "https", "login.example", "443"},
		{"http://login.example", "192.0.2.1:1234", "192.0.2.1", "http", "login.example", "80"},
		{"https://login.example:8443", "[2001:db8::1]:1234", "2001:db8::1", "https", "login.example:8443", "8443"},
		{"https://login.example", "[fe80::1%eth0]:1234", "fe80::1", "https", "login.example", "443"},
		{"https://login.example", "[::ffff:192.0.2.1]:1234", "192.0.2.1", "https", "login.example", "443"},
		{"https://login.example", "@", "", "https", "login.example", "443"},
	} {
		h := http.Header{}
		for _, k := range addressFields {
			h[k] = []string{"6.6.6.6", "evil"}
		}
		h["X-Forwarded-Prefix"], h["X-Forwarded-Server"] = []string{"/x"}, []string{"x"}
		got := sentUp(c.public, []string{"10.0.0.0/8"}, c.remote, h)
		for k, want := range map[string]string{
			"X-Forwarded-For": c.wantFor, "X-Forwarded-Proto": c.wantProto, "X-Forwarded-Host": c.wantHost, "X-Forwarded-Port": c.wantPort,
			"Forwarded": "", "X-Real-Ip": "", "X-Forwarded-Prefix": "", "X-Forwarded-Server": "",
		} {
			if got.Get(k) != want || len(got[k]) > 1 {
				t.Errorf("%s: %s: %q, want %q", c.remote, k, got[k], want)
			}
		}
	}
}

func TestAddressFieldsOfTrustedPeersKept(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want http.Header
	}{
		{"all", http.Header{
			"X-Forwarded-For": {"1.1.1.1, 2.2.2.2"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"other"}, "X-Forwarded-Port": {"1"},
			"X-Real-Ip": {"1.1.1.1"}, "X-Forwarded-Prefix": {"/x"}, "Forwarded": {"for=1.1.1.1;proto=http", "for=2.2.2.2"},
		}, http.Header{
			"X-Forwarded-For": {"1.1.1.1, 2.2.2.2, 10.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"other"}, "X-Forwarded-Port": {"1"},
			"X-Real-Ip": {"1.1.1.1"}, "X-Forwarded-Prefix": {"/x"}, "Forwarded": {"for=1.1.1.1;proto=http", "for=2.2.2.2, for=10.0.0.1"},
		}},
		{"lines", http.Header{"X-Forwarded-For": {"1.1.1.1", "2.2.2.2"}, "X-Forwarded-Proto": {"https"}},
			http.Header{"X-Forwarded-For": {"1.1.1.1", "2.2.2.2, 10.0.0.1"}, "X-Forwarded-Proto": {"https"}}},
		{"none", http.Header{}, http.Header{
			"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"login.example"}, "X-Forwarded-Port": {"443"}}},
		{"certificates", http.Header{"X-Forwarded-Proto": {"https"}, "Client-Cert": {":abc:"}, "X-Original-Url": {"/a"}, "X_forwarded_for": {"x"}},
			http.Header{"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Proto": {"https"}, "Client-Cert": {":abc:"}, "X-Original-Url": {"/a"}, "X_forwarded_for": {"x"}}},
	} {
		before := fmt.Sprint(c.in)
		c.want["User-Agent"] = emptyValue
		if got := sentUp("https://login.example", []string{"10.0.0.0/8"}, "10.0.0.1:1", c.in); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if after := fmt.Sprint(c.in); after != before {
			t.Errorf("%s: the request itself changed to %s", c.name, after)
		}
	}
	got := sentUp("https://login.example", []string{"fd00::/8"}, "[fd00::1]:1", http.Header{"Forwarded": {"for=x"}})
	if want := `for=x, for="[fd00::1]"`; got.Get("Forwarded") != want {
		t.Errorf("Forwarded: %q, want %q", got.Get("Forwarded"), want)
	}
}

func TestNeighbourFieldsRemoved(t *testing.T) {
	for name, want := range map[string]bool{
		"Client-Cert": true, "Client-Cert-Chain": true, "SSL-Client-Cert": true, "SSL-Client-S-DN": true, "X-SSL-Cert": true, "X-SSL-Client-Verify": true,
		"X-Client-Cert": true, "X-Client-Certificate": true, "X-Client-Cert-Chain": true, "X-Amzn-Mtls-Clientcert": true, "X-ARR-ClientCert": true,
		"X-Original-URL": true, "X-Rewrite-URL": true, "X-Forwarded-For": true, "X-Forwarded-Anything": true, "Forwarded": true, "X-Real-IP": true,
		"X_Forwarded_For": true, "X_Real-IP": true, "client_cert": true, "SSL_CLIENT_S_DN": true, "X_SSL_Cert": true, "X-Original_Url": true,
		"X_Arr_ClientCert": true, "X_AMZN_MTLS_x": true, "x_rewrite_url": true,
		"X-SSL": false, "Client": false, "Client-Ce": false, "X-Forward": false, "X-Forwardedness": false, "X-Realm-IP": false, "X-Real-IP-2": false,
		"Cookie": false, "Content-Type": false, "Forwarded-For": false, "X-Original-URLs": false, "X": false, "X-Requested-With": false, "SSL-Clients": false,
	} {
		if got := isNeighbourField(textproto.CanonicalMIMEHeaderKey(name)); got != want {
			t.Errorf("isNeighbourField(%s) = %v", name, got)
		}
		_, passed := sentUp("https://login.example", nil, "192.0.2.1:1", http.Header{name: {"x"}})[name]
		if passed == want && name != "X-Forwarded-For" {
			t.Errorf("%s: passed is %v", name, passed)
		}
	}
}

func TestAddressFieldsOnTheWire(t *testing.T) {
	up := startWire(t, nil)
	g := startGate(t, up.Addr().String(), trusting("127.0.0.0/8"))
	g.get(t, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n\r\n")
	if got := fieldOf(up.only(t), "X-Forwarded-For"); got != "203.0.113.9, 127.0.0.1" {
		t.Errorf("upstream saw %q", got)
	}
}

func TestClientAddr(t *testing.T) {
	for _, c := range []struct {
		name, remote string
		h            http.Header
		want         string
	}{
		{"no proxy", "192.0.2.1:1", http.Header{"X-Forwarded-For": {"6.6.6.6"}}, "192.0.2.1"},
		{"mapped", "[::ffff:192.0.2.1]:1", nil, "192.0.2.1"},
		{"proxy that says nothing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"one proxy", "10.0.0.1:1", http.Header{"X-Forwarded-For": {"6.6.6.6, 203.0.113.9"}}, "203.0.113.9"},
		{"chain", "10.0.0.1:1", http.Header{"X-Forwarded-For": {"6.6.6.6, 203.0.113.9", "10.0.0.3,10.0.0.2 ,"}}, "203.0.113.9"},
		{"all trusted", "10.0.0.1:1", http.Header{"X-Forwarded-For": {"10.0.0.3, 10.0.0.2"}}, "10.0.0.3"},
		{"no address", "10.0.0.1:1", http.Header{"X-Forwarded-For": {"203.0.113.9, unknown, 10.0.0.2"}}, "10.0.0.2"},
		{"port", "10.0.0.1:1", http.Header{"X-Forwarded-For": {"203.0.113.9:443"}}, "203.0.113.9"},
		{"IPv6", "10.0.0.1:1", http.Header{"X-Forwarded-For": {"2001:db8::9"}}, "2001:db8::9"},
		{"IPv6, brackets", "10.0.0.1:1", http.Header{"X-Forwarded-For": {"[2001:db8::9]:1"}}, "2001:db8::9"},
		{"Forwarded", "10.0.0.1:1", http.Header{"Forwarded": {`for=6.6.6.6, proto=https;For="[2001:db8::9]:4711";by=x`}}, "2001:db8::9"},
		{"Forwarded, hidden", "10.0.0.1:1", http.Header{"Forwarded": {`for=6.6.6.6, for=_x`}}, "10.0.0.1"},
		{"Unix socket", "@", http.Header{"X-Forwarded-For": {"6.6.6.6"}}, "invalid IP"},
	} {
		f := newForwarder(forwardConfig{Upstream: &url.URL{}, Public: &url.URL{}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		if got := f.clientAddr(&http.Request{RemoteAddr: c.remote, Header: c.h}).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	f := newForwarder(forwardConfig{Upstream: &url.URL{}, Public: &url.URL{}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	h := http.Header{"Client-Cert": {":abc:"}}
	if !f.clientCertificate(&http.Request{RemoteAddr: "10.0.0.1:1", Header: h}) {
		t.Error("the word of a trusted proxy does not count")
	}
	if f.clientCertificate(&http.Request{RemoteAddr: "192.0.2.1:1", Header: h}) {
		t.Error("the word of a stranger counts")
	}
	if f.clientCertificate(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"Client-Cert": {""}, "X-Forwarded-For": {"x"}}}) {
		t.Error("an empty field counts")
	}
}
