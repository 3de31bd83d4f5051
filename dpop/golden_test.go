package dpop

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

func newVerifier(t testing.TB, change func(*Config)) *Verifier {
	t.Helper()
	c := Config{Replay: NewMemoryReplay(0, nil, false)}
	if change != nil {
		change(&c)
	}
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func golden(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// The examples of RFC 9449, figures 2 and 12, by the key of figure 4, and the
// thumbprint of figure 9.
func TestGoldenProofs(t *testing.T) {
	const jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	for _, tt := range []struct {
		file string
		now  int64
		r    Request
		id   string
	}{
		{"rfc9449-figure-2.jwt", 1562262616, Request{Method: "POST", URL: "https://server.example.com/token"}, "-BwC3ESc6acc2lTc"},
		{"rfc9449-figure-12.jwt", 1562262618, Request{
			Method: "GET", URL: "https://resource.example.org/protectedresource",
			AccessToken: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
		}, "e1j3V_bKic8-LAEB"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			now := func() time.Time { return time.Unix(tt.now, 0) }
			v := newVerifier(t, func(c *Config) { c.Now = now; c.Replay = NewMemoryReplay(0, now, false) })
			tt.r.Proofs = []string{golden(t, tt.file)}
			tt.r.Thumbprint = jkt
			p, err := v.Verify(context.Background(), tt.r)
			if err != nil {
				t.Fatal(err)
			}
			want := Proof{Thumbprint: jkt, ID: tt.id, Algorithm: "ES256", Method: tt.r.Method, URI: tt.r.URL, IssuedAt: now()}
			if *p != want {
				t.Errorf("got %+v, want %+v", *p, want)
			}
		})
	}
}

func TestGoldenThumbprints(t *testing.T) {
	for file, want := range map[string]string{
		"rfc7638-section-3.1.json": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		"rfc9449-figure-4.json":    "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
		"rfc8037-appendix-a.json":  "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		got, err := Thumbprint([]byte(golden(t, file)))
		if err != nil || got != want {
			t.Errorf("Thumbprint(%s) = %q, %v; want %q", file, got, err, want)
		}
		if !ValidThumbprint(got) {
			t.Errorf("ValidThumbprint(%q) = false", got)
		}
	}
}

func TestEveryAlgorithm(t *testing.T) {
	v := newVerifier(t, nil)
	for _, alg := range v.Algs() {
		k := dpoptest.NewKey(alg)
		p, err := v.Verify(context.Background(), Request{
			Proofs: []string{k.Proof("POST", "https://as.example/token")},
			Method: "POST", URL: "https://as.example/token", Thumbprint: k.Thumbprint(),
		})
		if err != nil || p.Algorithm != alg {
			t.Errorf("%s: got %+v, %v", alg, p, err)
		}
	}
}
