package app

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// variable is what people are told about one setting. A variable and its _FILE variant share a row.
type variable struct {
	name     string
	unset    string // what holds where nothing is set, in words; "": the default of the struct tag
	meaning  string
	example  string
	fileOnly string // example of the _FILE variant; "": there is none
}

func (v variable) hasFile() bool { return v.fileOnly != "" }

// variables is the settings table, in the order of environment.
var variables = []variable{
	{name: "ORT_ISSUER", unset: "required", example: "https://login.example.com/realms/main",
		meaning: "issuer URL(s), comma-separated; all on the public origin"},
	{name: "ORT_UPSTREAM_URL", unset: "required", example: "http://127.0.0.1:8081",
		meaning: "where the IdP listens; scheme, host and port alone"},
	{name: "ORT_LISTEN_ADDR", example: ":8080",
		meaning: "public listener"},
	{name: "ORT_ADMIN_ADDR", example: ":9090",
		meaning: "admin listener, plain HTTP: `/metrics`, `/livez` (this process alone), `/readyz` (store and upstream too), session API"},
	{name: "ORT_ADMIN_TOKEN", unset: "none", example: "a-long-random-value", fileOnly: "/run/secrets/ort-admin-token",
		meaning: "bearer token of the session API; unset: the API is off (404); the file is re-read when it changes"},
	{name: "ORT_STORE_URL", example: "bolt:/data/ort-sessions.db", fileOnly: "/run/secrets/ort-store-url",
		meaning: "`bolt:PATH`, the embedded store of one gateway; or `redis://…`, `rediss://…` for several replicas: one server, Sentinel (`master_name=`) or Cluster (`addr=`); `key_prefix=`, `ca_file=`, `wait_replicas=`"},
	{name: "ORT_SEALING_KEYS", unset: "made once, kept beside the embedded store; required with Redis", example: "k1:BASE64-OF-32-BYTES (`ort-gateway keys` prints one)", fileOnly: "/run/secrets/ort-sealing-keys",
		meaning: "comma-separated `id:base64(32 bytes)`; the first seals, all open; the file is re-read when it changes"},
	{name: "ORT_SESSION_IDLE_TIMEOUT", example: "72h",
		meaning: "a session ends this long after its last code or ORT exchange; not longer than the absolute timeout"},
	{name: "ORT_SESSION_ABSOLUTE_TIMEOUT", example: "168h",
		meaning: "a session ends this long after its login, however busy"},
	{name: "ORT_LOGIN_TIMEOUT", example: "24h",
		meaning: "how long an authorization request may wait for its code"},
	{name: "ORT_MAX_TRANSACTIONS", example: "200000",
		meaning: "bound on waiting authorization requests; beyond it the oldest are pushed out"},
	{name: "ORT_CLIENTS", unset: "all", example: "spa,mobile",
		meaning: "clients that may get ORTs"},
	{name: "ORT_AUDIENCES", unset: "all", example: "https://api.example.com",
		meaning: "audiences/resources that ORTs may be asked for; where set, also those an exchange may name beyond its authorization request (unset: none beyond)"},
	{name: "ORT_CONFIDENTIAL_CLIENTS", unset: "none", example: "web-backend",
		meaning: "clients whose ORTs need no DPoP key, because the upstream authenticates them at every refresh; `*` takes any client that sends authentication, for upstreams that refuse wrong authentication of public clients"},
	{name: "ORT_ONLINE_ONLY_CLIENTS", unset: "none", example: "spa",
		meaning: "clients that get refresh tokens as ORTs alone, never one that outlives the session; `*` for all of `ORT_CLIENTS`"},
	{name: "ORT_UPSTREAM_SCOPE", unset: "`offline_access`; at Keycloak empty", example: "offline_access",
		meaning: "what `online_access` becomes upstream; may be set to nothing (Keycloak gives session-bound refresh tokens unasked, and `offline_access` would end single sign-on there)"},
	{name: "ORT_UPSTREAM_CONSENT", example: "true",
		meaning: "add `prompt=consent` where `offline_access` is added (OpenID Connect Core section 11)"},
	{name: "ORT_UPSTREAM_LOGIN_COOKIES", unset: "known names", example: "KEYCLOAK_IDENTITY,KEYCLOAK_SESSION",
		meaning: "the IdP's cookies that carry its login; default: `{default}`"},
	{name: "ORT_UPSTREAM_END", example: "revoke",
		meaning: "how upstream credentials are given back when single sign-on ended: `logout` (at the end-session endpoint), `revoke` (RFC 7009), `none`; `auto`: `logout` at Keycloak, else `revoke`"},
	{name: "ORT_UPSTREAM_TIMEOUT", example: "30s",
		meaning: "how long the upstream may take to begin its answer to a token call"},
	{name: "ORT_UPSTREAM_CA_FILE", unset: "system", example: "/etc/ort/upstream-ca.pem",
		meaning: "PEM certificates that the upstream's certificate must come from"},
	{name: "ORT_TRUSTED_PROXIES", unset: "none", example: "10.0.0.0/8,192.0.2.7",
		meaning: "proxies before us whose address headers count: CIDRs, single addresses, `private` (RFC 1918, ULA, loopback)"},
	{name: "ORT_DPOP_AUTHORITY", example: "gateway",
		meaning: "who binds tokens to DPoP keys: `gateway` (proofs end here) or `upstream` (they are forwarded)"},
	{name: "ORT_DPOP_NONCE", example: "required",
		meaning: "`required`: every proof carries a DPoP nonce of the gateway; `off`: for clients that cannot"},
	{name: "ORT_DPOP_NONCE_LIFETIME", example: "5m",
		meaning: "how long a DPoP nonce is the newest; it is good for twice as long at most"},
	{name: "ORT_DPOP_ALGS", example: "ES256,EdDSA",
		meaning: "algorithms of proofs that are taken"},
	{name: "ORT_DPOP_PROOF_LIFETIME", example: "60s",
		meaning: "without nonces: how far a proof's `iat` may lie in the past"},
	{name: "ORT_CORS_ORIGINS", unset: "upstream's", example: "https://app.example.com",
		meaning: "browser origins that may call the token and revocation endpoints and `/_ort/*`; unset: those that the upstream allows"},
	{name: "ORT_AUTH0_PATHS", example: "false",
		meaning: "serve the paths that Auth0's SDKs call, so that they run unmodified; one issuer, `ORT_DPOP_AUTHORITY=gateway`"},
	{name: "ORT_AUTH0_AUDIENCE", example: "resource",
		meaning: "`audience` passes, or goes upstream as `resource`"},
	{name: "ORT_TLS_CERT_FILE", unset: "none", example: "/etc/ort/tls.crt",
		meaning: "serve TLS (HTTP/2) with this certificate chain (PEM); re-read when it changes"},
	{name: "ORT_TLS_KEY_FILE", unset: "none", example: "/etc/ort/tls.key",
		meaning: "the certificate's key (PEM); re-read when it changes"},
	{name: "ORT_LOG_LEVEL", example: "info",
		meaning: "`debug`, `info`, `warn` or `error`"},
	{name: "ORT_LOG_FORMAT", example: "json",
		meaning: "`json` or `text`"},
	{name: "ORT_SHUTDOWN_DELAY", example: "5s",
		meaning: "after SIGTERM: not ready at once, but accepting this long, until load balancers have noticed; may be zero"},
	{name: "ORT_SHUTDOWN_TIMEOUT", example: "15s",
		meaning: "then: drain, flush, close, within this time"},
}

// sharedStoreExample is an ORT_STORE_URL for who has tried to name a Redis.
const sharedStoreExample = "redis://user:PASSWORD@redis.example.com:6379/0"

// variableNames lists every name that means something, _FILE variants too, in the order of the table.
var variableNames = func() []string {
	var all []string
	for _, v := range variables {
		all = append(all, v.name)
		if v.hasFile() {
			all = append(all, v.name+"_FILE")
		}
	}
	return all
}()

func orderOf(name string) int { return slices.Index(variableNames, name) }

// exampleOf gives a good value of the variable.
func exampleOf(name string) string {
	for _, v := range variables {
		switch name {
		case v.name:
			return v.example
		case v.name + "_FILE":
			return v.fileOnly
		}
	}
	return ""
}

// writeTable prints the settings as a Markdown table. It shows defaults, never what is set.
func writeTable(w io.Writer) error {
	defaults, err := defaultValues()
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, v := range variables {
		name, unset := "`"+v.name+"`", v.unset
		if v.hasFile() {
			name += ", `_FILE`"
		}
		if unset == "" {
			unset = "`" + defaults[v.name] + "`"
		}
		meaning := strings.ReplaceAll(v.meaning, "{default}", defaults[v.name])
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, unset, meaning)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// defaultValues reads the defaults out of the struct tags.
func defaultValues() (map[string]string, error) {
	params, err := env.GetFieldParamsWithOptions(&environment{}, env.Options{Environment: map[string]string{"ORT_": ""}})
	if err != nil {
		return nil, fmt.Errorf("reading the settings table: %w", err)
	}
	defaults := map[string]string{}
	for _, p := range params {
		defaults[p.Key] = p.DefaultValue
	}
	return defaults, nil
}
