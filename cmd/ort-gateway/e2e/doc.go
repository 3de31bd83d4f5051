// Package e2e tests the whole program: the gateway's real binary as its own process, between foreign clients and
// foreign identity providers. It holds tests only.
//
// The upstream is panva's oidc-provider (node/provider.mjs), which revokes a whole grant when a refresh token is used
// twice, and tells through test hooks which refresh tokens it ever issued; the demo's provider; and a real Keycloak. The clients are a scripted one in Go, Auth0's
// SPA SDK and oidc-client-ts in Chromium, and oauth4webapi in Node.
//
//	npm ci --ignore-scripts --prefix cmd/ort-gateway/e2e/node
//	.ci/keycloak
//	go test ./cmd/ort-gateway/e2e
//
// What is not there (node, its modules, Chromium, Keycloak) skips the tests that need it; with CI=true it fails them.
// These variables say where things are:
//
//	E2E_GATEWAY   a gateway binary to test in place of the one built from this repository
//	E2E_NODE      the node program; "node" if unset
//	E2E_CHROMIUM  the browser; chromium, chromium-browser or google-chrome in PATH if unset
//	E2E_KEYCLOAK  where .ci/keycloak installed Keycloak; the directory that it uses by itself if unset
//	E2E_LOGS      a directory that keeps the output of every process; a temporary one if unset
//	E2E_KILLS     how often the kill test kills the gateway; 20 if unset, 5 with -short
//
// Every test that starts the gateway ends with the same checks: it stops with exit code 0 at SIGTERM, no data race was
// reported, nothing of the gateway's own reached the upstream, no answer that the scripted client got carries a refresh
// token of the upstream, and no token, code, proof or cookie stands in the gateway's output.
package e2e
