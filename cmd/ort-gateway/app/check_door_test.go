package app

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// serveAt answers at that address with that document, and gives the port.
func serveAt(t *testing.T, address, document string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(document)) }))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// An upstream that is asked on loopback and listens at every address is an open door past the gateway; 127.0.0.2 stands for the
// machine's address here. The gateway itself at that address and port is none.
func TestCheckFindsAnOpenDoor(t *testing.T) {
	const idp, gateway = `{"issuer":"https://login.test/main"}`, `{"issuer":"https://login.test/main","ort_session_endpoint":"x"}`
	for name, row := range map[string]struct {
		listen, beside, want string
	}{
		"on loopback alone":   {listen: "127.0.0.1:0", want: "ok   direct access: the upstream answers on this machine alone"},
		"everywhere":          {listen: "0.0.0.0:0", want: "warn direct access: the upstream answers at 127.0.0.2:"},
		"the gateway beside":  {listen: "127.0.0.1:0", beside: gateway, want: "ok   direct access"},
		"another server says": {listen: "127.0.0.1:0", beside: idp, want: "change: let the upstream listen on 127.0.0.1 alone"},
	} {
		t.Run(name, func(t *testing.T) {
			port := serveAt(t, row.listen, idp)
			if row.beside != "" {
				serveAt(t, "127.0.0.2:"+port, row.beside)
			}
			public, _ := url.Parse("https://login.test")
			c := newChecker(&Settings{PublicOrigin: public, UpstreamURL: &url.URL{Scheme: "http", Host: "127.0.0.1:" + port}})
			c.addresses = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.2")} }
			c.checkOpenDoor(t.Context(), &target{report: c.report, issuer: "https://login.test/main", doc: &document{from: "/main/.well-known/openid-configuration"}})
			var b strings.Builder
			if err := c.report.write(&b, false, 1); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), row.want) {
				t.Errorf("got %s, want %s", b.String(), row.want)
			}
		})
	}
	for _, addr := range ownAddresses() {
		if addr.IsLoopback() {
			t.Errorf("%s is no address that others reach", addr)
		}
	}
}
