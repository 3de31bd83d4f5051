package dpoptest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

func ExampleKey_Proof() {
	verifier, err := dpop.New(dpop.Config{Replay: dpop.NewMemoryReplay(0, nil, false)})
	if err != nil {
		panic(err)
	}
	key := dpoptest.NewKey("Ed25519")
	for _, proof := range []string{
		key.Proof("POST", "https://as.example/token"),
		key.Proof("POST", "https://as.example/token", dpoptest.IssuedAt(time.Now().Add(time.Hour))),
		key.Proof("POST", "https://as.example/token", dpoptest.JWK("d", "c2VjcmV0")),
		key.Proof("POST", "https://as.example/token", dpoptest.SignedBy(dpoptest.NewKey("Ed25519"))),
	} {
		_, err := verifier.Verify(context.Background(), dpop.Request{
			Proofs: []string{proof}, Method: "POST", URL: "https://as.example/token",
		})
		var refused *dpop.Error
		errors.As(err, &refused)
		if refused == nil {
			fmt.Println("accepted")
		} else {
			fmt.Println(refused.Reason)
		}
	}
	// Output:
	// accepted
	// iat_future
	// private_key
	// signature
}

func TestThumbprint(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "PS256"} {
		if got := dpoptest.NewKey(alg).Thumbprint(); !dpop.ValidThumbprint(got) {
			t.Errorf("%s: %q is no thumbprint", alg, got)
		}
	}
}
