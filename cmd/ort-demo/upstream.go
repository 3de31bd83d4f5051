package main

import (
	"fmt"
	"net"

	"github.com/ort-gateway/ort-gateway/cmd/ort-demo/idp"
)

// The clients of the demo: two public ones, one for each app, and a
// confidential one for the walkthrough.
const (
	confidentialClient = "web"
	confidentialSecret = "web-secret"
	confidentialTarget = "http://127.0.0.1/web/callback" // nobody listens there: the walkthrough reads the redirect
)

// startIdP starts the identity provider behind the gateway. Its issuer is the
// gateway's origin, so every address that it gives out leads through the gateway.
func (w *world) startIdP(l net.Listener) error {
	config := idp.Config{
		Issuer: w.origin,
		Users: []idp.User{
			{Username: "alice", Password: "alice-pass", Name: "Alice Adams", Email: "alice@example.com"},
			{Username: "bob", Password: "bob-pass", Name: "Bob Brown", Email: "bob@example.com"},
		},
		Clients: []idp.Client{{
			ID: confidentialClient, Name: "Web", Secret: confidentialSecret, RedirectURIs: []string{confidentialTarget},
		}},
	}
	for _, a := range w.apps {
		config.Clients = append(config.Clients, idp.Client{
			ID: a.clientID, Name: a.name,
			RedirectURIs:           []string{a.origin + "/"},
			PostLogoutRedirectURIs: []string{a.origin + "/"},
			Origins:                []string{a.origin},
		})
	}
	provider, err := idp.New(config)
	if err != nil {
		return fmt.Errorf("starting the identity provider: %w", err)
	}
	w.idp = provider
	w.idpURL = "http://" + l.Addr().String()
	w.stopIdP = w.serve(l, provider)
	return nil
}
