// Package upstream makes the gateway's own calls to the identity provider, and
// reads what it publishes of itself.
//
// [Metadata] keeps each issuer's discovery documents: OpenID Connect Discovery's
// and RFC 8414's, together where both exist. They are fetched through the
// address at which the upstream listens, under the public name, so that every
// link in them carries it. A document whose issuer is not exactly the
// configured one is not used (RFC 8414 section 3.3). What was fetched is kept
// while the upstream is down.
//
// [ReadIDToken] reads an ID token that came straight from the token endpoint:
// there the connection stands for the signature (OIDC Core section 3.1.3.7, 6).
package upstream
