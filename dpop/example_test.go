package dpop_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

// An authorization server's token endpoint.
func ExampleVerifier() {
	verifier, err := dpop.New(dpop.Config{
		Nonces: dpop.NewNonces(dpop.NoncesConfig{}),
		Replay: dpop.NewMemoryReplay(0, nil, true),
	})
	if err != nil {
		panic(err)
	}
	const tokenEndpoint = "https://as.example/token" // public, never from the Host header

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proof, err := verifier.Verify(r.Context(), dpop.Request{
			Proofs: r.Header.Values("DPoP"),
			Method: r.Method,
			URL:    tokenEndpoint,
		})
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("DPoP-Nonce", verifier.Nonce())
		var refused *dpop.Error
		switch {
		case errors.As(err, &refused):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, refused.Code())
		case err != nil: // errors.Is(err, dpop.ErrUnavailable)
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, "token for a key with ", proof.Algorithm)
		}
	})

	// A client learns of the nonce, and tries again with it.
	key := dpoptest.NewKey("ES256")
	nonce := ""
	for range 2 {
		r := httptest.NewRequest("POST", "/token", nil)
		r.Header.Set("DPoP", key.Proof("POST", tokenEndpoint, dpoptest.Nonce(nonce)))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
		nonce = w.Header().Get("DPoP-Nonce")
	}
	// Output:
	// 400 use_dpop_nonce
	// 200 token for a key with ES256
}

// A resource server.
func ExampleMiddleware() {
	verifier, err := dpop.New(dpop.Config{Replay: dpop.NewMemoryReplay(0, nil, false)})
	if err != nil {
		panic(err)
	}
	key := dpoptest.NewKey("ES256")
	protect, err := dpop.Middleware(dpop.MiddlewareConfig{
		Verifier: verifier,
		URL:      dpop.PublicURL("https://api.example"),
		Resolve: func(r *http.Request, accessToken string) (string, error) {
			if accessToken != "at-1" { // check its signature, or ask the authorization server
				return "", errors.New("unknown token")
			}
			return key.Thumbprint(), nil // its cnf.jkt
		},
	})
	if err != nil {
		panic(err)
	}
	handler := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proof, _ := dpop.FromContext(r.Context())
		fmt.Fprint(w, "hello, ", proof.Method, " ", proof.URI)
	}))

	for _, scheme := range []string{"DPoP", "Bearer"} {
		r := httptest.NewRequest("GET", "/orders?page=2", nil)
		r.Header.Set("Authorization", scheme+" at-1")
		r.Header.Set("DPoP", key.Proof("GET", "https://api.example/orders", dpoptest.AccessToken("at-1")))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 hello, GET https://api.example/orders
	// 401 unauthorized
}

func ExampleThumbprint() {
	jkt, err := dpop.Thumbprint([]byte(`{
		"kty":"EC", "crv":"P-256",
		"x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
		"y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"
	}`))
	fmt.Println(jkt, err)
	// Output: 0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I <nil>
}

func ExampleError() {
	verifier, _ := dpop.New(dpop.Config{Replay: dpop.NewMemoryReplay(0, nil, false)})
	_, err := verifier.Verify(context.Background(), dpop.Request{Method: "POST", URL: "https://as.example/token"})
	var refused *dpop.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Reason, refused.Code(), refused)
	}
	// Output: missing invalid_dpop_proof DPoP proof is missing
}
