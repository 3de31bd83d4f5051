// Package idp is a small OpenID Provider for the demo and for end-to-end
// tests: github.com/zitadel/oidc answers the protocol, this package adds what
// every deployment has to bring itself: clients, users, a login page with its
// own single sign-on cookie, and tokens in memory.
//
// It stands for the identity provider behind the gateway, so it is meant to be
// an ordinary and rather strict one:
//
//   - It knows nothing of DPoP and nothing of online_access. A scope that it
//     does not know is an error (invalid_scope), so a scope that should have
//     been taken out on the way shows at once.
//   - Refresh tokens are given for offline_access alone, rotate at each use,
//     and outlive the login, as offline tokens do. One that was rotated away
//     and comes again ends its whole family (RFC 9700 section 4.14.2); so does
//     an authorization code that comes twice (RFC 6749 section 4.1.2). Both are
//     counted in [Stats]: behind a correct gateway they stay at 0.
//   - prompt=none, prompt=login and max_age are honoured, auth_time and sid are
//     in every ID token, and sid is the same for all clients of one login.
//   - [Provider.LogOut] ends logins as an administrator would, and tells the
//     clients by OpenID Connect Back-Channel Logout 1.0, by sid or by sub.
//   - Cross-origin requests are answered for the origins of its clients alone,
//     and the DPoP header field is not among those it allows.
//
// Choices: the issuer is the public origin, that of the gateway, while the
// provider itself listens elsewhere; every address in its answers is therefore
// the public one. The login page is at /login. Only the code flow with PKCE
// (S256) is offered. Logging out without an ID token of this very login asks
// for confirmation (OpenID Connect RP-Initiated Logout 1.0 section 2).
//
// Everything is kept in memory and bounded; nothing survives a restart. It is
// not made for production: passwords are compared as they are configured.
package idp
