// Package proxytest is an identity provider that errs on demand, for tests of what
// stands before one.
//
// [New] starts a small but working OpenID Provider: authorization requests with
// PKCE (S256), in query, fragment and form_post, single sign-on by a cookie,
// prompt, max_age, pushed requests; codes, refresh tokens that rotate and whose
// reuse ends their family, client_credentials, device codes; revocation,
// introspection, logout, both discovery documents, keys, and CORS by client.
//
// [IdP.Next] and [IdP.Always] make an endpoint fail: late, with an error, with
// the answer lost, with something that is no answer. [IdP.Requests] is what came in.
//
// It is made for tests and checks no more than they need: it is no provider to put
// before users.
package proxytest
