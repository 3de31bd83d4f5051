package app

import (
	"net/url"
	"strings"
)

// word is a thing to set at an identity provider.
type word int

const (
	wordDiscovery    word = iota // where the discovery document is
	wordIssuer                   // its public name
	wordForwarded                // that it heeds the fields of the proxy before it
	wordCode                     // the code flow
	wordPKCE                     // S256 challenges
	wordRefresh                  // the refresh grant, of one client
	wordScope                    // the scope for which refresh tokens are given
	wordClient                   // that a client is there
	wordOpen                     // that the token endpoint answers at all
	wordConfidential             // that a client must authenticate itself
	wordDPoP                     // that tokens are bound to keys
	wordNoDPoP                   // that a client need not send a proof
	wordSID                      // the claim sid
	wordSubjects                 // one sub for all clients
	wordRevocation               // RFC 7009
	wordEndSession               // RP-Initiated Logout
	wordBackChannel              // the URL that logout tokens go to
	wordCORS                     // the origins of a client
	wordLifetimes                // how long logins and refresh tokens live
	words
)

// idpKind is one kind of identity provider: how it is known by its metadata, what is peculiar to it, and what things are
// called there. In its words {origin}, {issuer}, {client} and {url} stand for the public origin, the issuer, the client
// and the gateway's back-channel URL.
type idpKind struct {
	name  string
	known func(*document) bool

	refreshUnasked bool     // gives refresh tokens of the login without a scope
	needsOffline   bool     // gives none without offline_access
	needsConsent   bool     // gives offline_access with prompt=consent alone
	listsScopes    bool     // scopes_supported is complete
	endsByLogout   bool     // ORT_UPSTREAM_END=auto is logout
	takesAnySecret bool     // a public client may send any secret
	noSecretCode   string   // its error for a confidential client without a secret, where that is not the one for an unknown client
	badTokenCode   string   // its error for a malformed refresh token, where that is not invalid_grant
	cookies        []string // any of these carries the login

	words [words]string
}

// say gives the identity provider's words for what is to be set, or the general ones.
func (i *idpKind) say(w word, t *target, client string) string {
	text := i.words[w]
	if text == "" {
		text = general.words[w]
	}
	named := quoted(client)
	if client == "" {
		named = "CLIENT"
	}
	origin := t.issuer
	if u, err := url.Parse(t.issuer); err == nil {
		origin = originOf(u)
	}
	return strings.NewReplacer("{origin}", origin, "{issuer}", t.issuer, "{client}", named, "{url}", origin+backChannelPath).Replace(text)
}

// kinds are those that are known, in the order in which they are looked for.
var kinds = []*idpKind{&keycloak, &authentik, &zitadel, &authelia, &hydra, &dex, &oidcProvider}

// recognise tells the identity provider by its metadata; the first that fits.
func recognise(d *document) *idpKind {
	for _, i := range kinds {
		if i.known(d) {
			return i
		}
	}
	return &general
}

// guess tells it by the issuer that is configured, where no document came.
func guess(issuer string) *idpKind {
	switch {
	case pathHas(issuer, "/realms/"):
		return &keycloak
	case pathHas(issuer, "/application/o/"):
		return &authentik
	}
	return &general
}

// endsWith compares the path of an address.
func endsWith(address, suffix string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), suffix)
}

func pathHas(address, part string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.Contains(u.Path, part)
}

// general is any other: the words of the specifications.
var general = idpKind{
	name: "the identity provider",
	words: [words]string{
		wordDiscovery:    "ORT_ISSUER must be the issuer as the identity provider names it, path included",
		wordIssuer:       "set the identity provider's public (external) URL so that its issuer is exactly {issuer}",
		wordForwarded:    "let the identity provider heed X-Forwarded-Proto, X-Forwarded-Host and X-Forwarded-Port from the gateway",
		wordCode:         "allow response_type code",
		wordPKCE:         "allow, or better demand, PKCE with code_challenge_method S256 of client {client}",
		wordRefresh:      "allow client {client} the grant type refresh_token",
		wordScope:        "allow the scope offline_access, or set ORT_UPSTREAM_SCOPE to the scope that gives refresh tokens",
		wordClient:       "is {client} registered at the identity provider?",
		wordOpen:         "look why the identity provider refuses all at its token endpoint",
		wordConfidential: "make {client} a confidential client: token_endpoint_auth_method other than none",
		wordDPoP:         "switch DPoP on at the identity provider",
		wordNoDPoP:       "dpop_bound_access_tokens: false for client {client}",
		wordSID:          "let ID tokens carry sid (often with backchannel_logout_session_required)",
		wordSubjects:     "subject_type public for all clients, and only public in subject_types_supported",
		wordRevocation:   "switch the revocation endpoint (RFC 7009) on",
		wordEndSession:   "switch RP-Initiated Logout on",
		wordBackChannel:  "backchannel_logout_uri {url} for each client",
		wordCORS:         "allow the apps' origins at the identity provider, or name them in ORT_CORS_ORIGINS",
		wordLifetimes:    "the lifetimes of its login and of its refresh tokens",
	},
}

var keycloak = idpKind{
	name: "Keycloak",
	known: func(d *document) bool {
		return endsWith(d.EndSession, "/protocol/openid-connect/logout") || endsWith(d.Authorization, "/protocol/openid-connect/auth")
	},
	refreshUnasked: true, endsByLogout: true, takesAnySecret: true, noSecretCode: "unauthorized_client",
	cookies: []string{"KEYCLOAK_IDENTITY"},
	words: [words]string{
		wordDiscovery:    "ORT_ISSUER={origin}/realms/REALM (with --http-relative-path, or before version 17, /auth/realms/REALM)",
		wordIssuer:       "start Keycloak with --hostname={origin} (KC_HOSTNAME), and leave Realm settings, General, Frontend URL empty",
		wordForwarded:    "start Keycloak with --proxy-headers=xforwarded (KC_PROXY_HEADERS)",
		wordCode:         "Clients, {client}, Settings, Capability config: Standard flow on",
		wordPKCE:         "Clients, {client}, PKCE Method (older: Advanced, Proof Key for Code Exchange Code Challenge Method): S256",
		wordRefresh:      "Clients, {client}, Advanced, OpenID Connect Compatibility Modes: Use refresh tokens on",
		wordScope:        "leave ORT_UPSTREAM_SCOPE unset; a scope named in it must be under Client scopes, and assigned to the client",
		wordClient:       "Clients: is {client} there, and Enabled?",
		wordOpen:         "Realm settings, General: Enabled on, Require SSL none or external requests; and --proxy-headers=xforwarded",
		wordConfidential: "Clients, {client}, Settings, Capability config: Client authentication on",
		wordDPoP:         "start Keycloak with the feature dpop (on by default from 26.4 on), and Clients, {client}: Require DPoP bound tokens on",
		wordNoDPoP:       "Clients, {client}, Settings, Capability config: Require DPoP bound tokens off",
		wordSID:          "Clients, {client}, Client scopes: keep basic assigned as Default",
		wordSubjects:     "Clients, {client}, Client scopes, dedicated scope: no mapper Pairwise subject identifier",
		wordBackChannel:  "Clients, {client}, Settings, Logout settings: Backchannel logout URL {url}, Backchannel logout session required on",
		wordCORS:         "Clients, {client}, Settings, Web origins: the app's origin (+ for those of its redirect URIs)",
		wordLifetimes:    "Realm settings, Sessions: SSO Session Idle, SSO Session Max, Client Session Idle, Client Session Max",
	},
}

var oidcProvider = idpKind{
	name: "oidc-provider",
	known: func(d *document) bool {
		return endsWith(d.Authorization, "/auth") && endsWith(d.Token, "/token") &&
			(endsWith(d.EndSession, "/session/end") || endsWith(d.Userinfo, "/me") && endsWith(d.JWKS, "/jwks"))
	},
	needsConsent: true, listsScopes: true,
	cookies: []string{"_session"},
	words: [words]string{
		wordDiscovery:    "ORT_ISSUER must be the first argument of new Provider(issuer, …)",
		wordIssuer:       "new Provider('{issuer}', …), and provider.proxy = true",
		wordForwarded:    "provider.proxy = true",
		wordCode:         "configuration responseTypes: ['code'], and the client's response_types",
		wordPKCE:         "configuration pkce: { required: () => true }",
		wordRefresh:      "the client's grant_types: ['authorization_code', 'refresh_token'], and configuration issueRefreshToken",
		wordScope:        "configuration scopes: ['openid', 'offline_access'], and the client's scope where it has one",
		wordClient:       "configuration clients (or the adapter): is {client} there?",
		wordConfidential: "the client's token_endpoint_auth_method: 'client_secret_basic' (not 'none')",
		wordDPoP:         "configuration features.dPoP.enabled: true",
		wordNoDPoP:       "the client's dpop_bound_access_tokens: false",
		wordSID:          "the client's backchannel_logout_uri and backchannel_logout_session_required: true (features.backchannelLogout.enabled: true)",
		wordSubjects:     "configuration subjectTypes: ['public']",
		wordRevocation:   "configuration features.revocation.enabled: true",
		wordEndSession:   "configuration features.rpInitiatedLogout.enabled: true",
		wordBackChannel:  "configuration features.backchannelLogout.enabled: true, and the client's backchannel_logout_uri: '{url}', backchannel_logout_session_required: true",
		wordCORS:         "configuration clientBasedCORS(ctx, origin, client) must return true for the app's origin",
		wordLifetimes:    "configuration ttl: Session, Grant, RefreshToken",
	},
}

var hydra = idpKind{
	name: "Hydra",
	known: func(d *document) bool {
		return endsWith(d.Authorization, "/oauth2/auth") && endsWith(d.Token, "/oauth2/token")
	},
	needsOffline: true,
	cookies:      []string{"ory_hydra_session"},
	words: [words]string{
		wordDiscovery:    "ORT_ISSUER must be urls.self.issuer (URLS_SELF_ISSUER)",
		wordIssuer:       "urls.self.issuer: {issuer} and urls.self.public: {origin} (URLS_SELF_ISSUER, URLS_SELF_PUBLIC)",
		wordForwarded:    "serve.tls.allow_termination_from: the gateway's network",
		wordCode:         "the client's response_types: code",
		wordPKCE:         "oauth2.pkce.enforced_for_public_clients: true (or oauth2.pkce.enforced)",
		wordRefresh:      "the client's grant_types: authorization_code, refresh_token",
		wordScope:        "the client's scope must have offline_access, the consent app must grant it (grant_scope), and webfinger.oidc_discovery.supported_scope may list it",
		wordClient:       "hydra get oauth2-client {client}: is it there?",
		wordConfidential: "the client's token_endpoint_auth_method: client_secret_basic (not none)",
		wordDPoP:         "Hydra has no DPoP",
		wordNoDPoP:       "Hydra has no DPoP; something between asks for it",
		wordSID:          "let the login app accept with remember: true, so that sid stays the same for all clients",
		wordSubjects:     "oidc.subject_identifiers.supported_types: [public]",
		wordEndSession:   "urls.logout and urls.post_logout_redirect",
		wordBackChannel:  "the client's backchannel_logout_uri: {url}, backchannel_logout_session_required: true",
		wordCORS:         "serve.public.cors.enabled: true, with serve.public.cors.allowed_origins or the client's allowed_cors_origins",
		wordLifetimes:    "ttl.refresh_token, and remember_for of the login app",
	},
}

var dex = idpKind{
	name: "Dex",
	known: func(d *document) bool {
		return endsWith(d.Authorization, "/auth") && endsWith(d.Token, "/token") && endsWith(d.JWKS, "/keys") && endsWith(d.Userinfo, "/userinfo")
	},
	needsOffline: true, listsScopes: true, badTokenCode: "invalid_request",
	cookies: []string{"dex_session"},
	words: [words]string{
		wordDiscovery:    "ORT_ISSUER must be Dex's issuer, path included",
		wordIssuer:       "issuer: {issuer}",
		wordForwarded:    "Dex makes its links of issuer alone: issuer: {issuer}",
		wordCode:         "oauth2.responseTypes: [\"code\"]",
		wordPKCE:         "oauth2.pkce.codeChallengeMethodsSupported: [\"S256\"], oauth2.pkce.enforce: true",
		wordRefresh:      "oauth2.grantTypes: with refresh_token, and a connector that can refresh",
		wordScope:        "leave ORT_UPSTREAM_SCOPE unset",
		wordClient:       "staticClients: is id {client} there?",
		wordConfidential: "staticClients, id {client}: public: false, with a secret",
		wordDPoP:         "Dex has no DPoP",
		wordNoDPoP:       "Dex has no DPoP; something between asks for it",
		wordSID:          "DEX_SESSIONS_ENABLED=true and a sessions section",
		wordRevocation:   "ORT_UPSTREAM_END=none says that Dex has no revocation endpoint",
		wordEndSession:   "DEX_SESSIONS_ENABLED=true and a sessions section",
		wordBackChannel:  "DEX_SESSIONS_ENABLED=true, a sessions section, and for each of staticClients backchannelLogoutURI: {url}",
		wordCORS:         "web.allowedOrigins: the apps' origins, web.allowedHeaders",
		wordLifetimes:    "sessions.absoluteLifetime, sessions.validIfNotUsedFor, expiry.refreshTokens.absoluteLifetime, expiry.refreshTokens.validIfNotUsedFor",
	},
}

var authentik = idpKind{
	name: "authentik",
	known: func(d *document) bool {
		return pathHas(d.Authorization, "/application/o/") || pathHas(d.Token, "/application/o/")
	},
	needsOffline: true, needsConsent: true, listsScopes: true,
	cookies: []string{"authentik_session"},
	words: [words]string{
		wordDiscovery:    "ORT_ISSUER={origin}/application/o/SLUG/ (with the slash at its end)",
		wordIssuer:       "Applications, Providers, Edit, Advanced protocol settings: Issuer mode; its host comes from X-Forwarded-Host, so AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS must have the gateway's address",
		wordForwarded:    "AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS must have the gateway's address",
		wordPKCE:         "authentik takes S256 from 2022.6 on; update it",
		wordRefresh:      "Applications, Providers, Edit: Grant types (newer versions) with Refresh token, and the scope mapping offline_access",
		wordScope:        "Applications, Providers, Edit, Advanced protocol settings, Scopes: add authentik default OAuth Mapping: OpenID 'offline_access'",
		wordClient:       "Applications, Providers: does one have the Client ID {client}?",
		wordConfidential: "Applications, Providers, Edit: Client type Confidential",
		wordDPoP:         "authentik has no DPoP",
		wordNoDPoP:       "authentik has no DPoP; something between asks for it",
		wordSID:          "update authentik: back-channel logout came with 2025.8",
		wordSubjects:     "Applications, Providers, Edit, Advanced protocol settings: the same Subject mode for all",
		wordEndSession:   "update authentik",
		wordBackChannel:  "Applications, Providers, Edit: Logout URI {url}, Logout Method Back-channel",
		wordCORS:         "Applications, Providers, Edit, Redirect URIs/Origins: one of the app's origin",
		wordLifetimes:    "Applications, Providers, Edit, Advanced protocol settings: Refresh Token validity; and Session duration of the user login stage",
	},
}

var zitadel = idpKind{
	name:         "Zitadel",
	known:        func(d *document) bool { return endsWith(d.Authorization, "/oauth/v2/authorize") },
	needsOffline: true, listsScopes: true,
	words: [words]string{
		wordDiscovery:    "ORT_ISSUER={origin}: one of the instance's domains",
		wordIssuer:       "ExternalDomain, ExternalPort, ExternalSecure of Zitadel's configuration (ZITADEL_EXTERNALDOMAIN …) as in {origin}",
		wordForwarded:    "InstanceHostHeaders and PublicHostHeaders of Zitadel's configuration must have x-forwarded-host, ExternalSecure must fit {origin}",
		wordCode:         "the application's OIDC configuration: Response Types with Code",
		wordPKCE:         "the application's OIDC configuration: Authentication Method None (PKCE)",
		wordRefresh:      "the application's OIDC configuration: Grant Types with Refresh Token",
		wordScope:        "leave ORT_UPSTREAM_SCOPE unset, and Grant Types of the application with Refresh Token",
		wordClient:       "does an application have the Client ID {client}?",
		wordConfidential: "the application's OIDC configuration: Authentication Method Basic or Post (not None)",
		wordDPoP:         "Zitadel has no DPoP",
		wordNoDPoP:       "Zitadel has no DPoP; something between asks for it",
		wordSID:          "update Zitadel: its ID tokens carry sid",
		wordBackChannel:  "the application's Back-Channel Logout URI {url} (a feature of the instance that may have to be switched on)",
		wordCORS:         "the application's Additional Origins: the app's origin",
		wordLifetimes:    "Default settings, OIDC Token Lifetimes and Expiration: Refresh Token Idle Expiration, Refresh Token Expiration; and the login policy's lifetimes",
	},
}

var authelia = idpKind{
	name:         "Authelia",
	known:        func(d *document) bool { return pathHas(d.Authorization, "/api/oidc/") },
	needsOffline: true, listsScopes: true,
	cookies: []string{"authelia_session"},
	words: [words]string{
		wordDiscovery:    "ORT_ISSUER={origin}: session.cookies[].authelia_url",
		wordIssuer:       "Authelia's issuer is the name that it is asked by: session.cookies[].authelia_url: {origin}",
		wordForwarded:    "Authelia heeds X-Forwarded-Proto and X-Forwarded-Host; something between takes them away",
		wordCode:         "identity_providers.oidc.clients[].response_types: ['code']",
		wordPKCE:         "identity_providers.oidc.enforce_pkce: 'public_clients_only', and the client's pkce_challenge_method: 'S256'",
		wordRefresh:      "identity_providers.oidc.clients[].grant_types: ['authorization_code', 'refresh_token']",
		wordScope:        "identity_providers.oidc.clients[].scopes: with 'offline_access'",
		wordClient:       "identity_providers.oidc.clients[]: is client_id {client} there?",
		wordConfidential: "identity_providers.oidc.clients[], client_id {client}: public: false, with client_secret and token_endpoint_auth_method",
		wordDPoP:         "Authelia has no DPoP",
		wordNoDPoP:       "Authelia has no DPoP; something between asks for it",
		wordSID:          "Authelia has no sid; nothing to change",
		wordEndSession:   "Authelia has no end-session endpoint; nothing to change",
		wordBackChannel:  "Authelia has no back-channel logout; nothing to change",
		wordCORS:         "identity_providers.oidc.cors.endpoints: with 'token', 'revocation', 'userinfo', and allowed_origins (or allowed_origins_from_client_redirect_uris: true)",
		wordLifetimes:    "identity_providers.oidc.lifespans.refresh_token; session.expiration, session.inactivity and session.remember_me",
	},
}
