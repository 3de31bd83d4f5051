// Package dpop says whether a DPoP proof (RFC 9449) is valid, or why not.
//
// An authorization server makes one [Verifier] with [New] and calls
// [Verifier.Verify] with the values of the request's DPoP header field, its
// method and the public URL of its endpoint. A resource server wraps its
// handlers with [Middleware]. [NewNonces] makes the server's nonces, and
// [NewMemoryReplay] remembers which proofs were taken; a service of several
// processes brings its own [ReplayCache].
//
//	verifier, err := dpop.New(dpop.Config{
//		Nonces: dpop.NewNonces(dpop.NoncesConfig{}),
//		Replay: dpop.NewMemoryReplay(0, nil, true),
//	})
//
// # What is checked
//
// The checks of RFC 9449 section 4.3, all of them, in this order. Each has one
// [Reason].
//
//	missing, several               (1)  exactly one DPoP header field, one proof in it
//	size, form, header             (2)  compact JWS, 8 KiB at most, strict base64url, one JSON object
//	typ                            (4)  dpop+jwt
//	crit                                no extension is understood (RFC 7515 section 4.1.11)
//	alg                            (5)  one of Config.Algs; never none, never a MAC
//	jwk, private_key, key_type, key (7) a public key, fit for alg, on its curve, of bounded size
//	claims                         (2)  the payload is one JSON object
//	jti, iat                       (3)  there, and within bounds
//	htm, htu                       (8), (9)
//	ath                            (12) where Request.AccessToken is set
//	nonce_missing, nonce_stale,    (10) where nonces are issued
//	nonce_foreign
//	iat_past, iat_future,          (11) where no nonce tells the time
//	iat_before_start
//	signature                      (6)
//	key_mismatch                   (12) where Request.Thumbprint is set
//	replayed                       section 11.1
//
// What can be read without a signature check comes first: it is cheap to refuse,
// and a client learns of a nonce it needs before it learns anything else. The
// replay memory comes last: a proof that is refused for anything is not used up.
//
// # What is promised
//
// A proof is accepted once. It is remembered at least as long as it could be
// accepted, also when its iat lies in the future, when the memory is full, and
// when the clock is set back. After a restart no old proof is accepted where
// [NoncesConfig.Epoch] is the process's own, or Config.NotBefore is its start.
// Memory and work that strangers can cause are bounded. Errors hold no byte of
// what was sent.
//
// # What is left to the caller
//
// Access tokens: whether one is valid, and which key it is bound to. That
// everything that is bound to a key is asked for it: pass the thumbprint, never
// decide by whether a proof was sent. The public URL: this package believes the
// one it is given. TLS, CORS and the body of the answer. DPoP does not help
// against a script in the client's own page (section 11.4).
//
// # Choices
//
// Where the RFC leaves a choice:
//
//   - htu is compared after syntax-based and scheme-based normalisation (RFC
//     3986 sections 6.2.2 and 6.2.3): case of scheme, host and escapes, escaped
//     unreserved characters, dot segments, default port, empty path.
//   - Members given twice, in the header, the jwk or the payload, are refused, by
//     their decoded names.
//   - An object has at most 64 members, and 64 objects and arrays in it.
//   - alg, use, key_ops and kid of a jwk are not looked at, nor x5c and the like.
//   - A nonce is good for many proofs, each with a jti of its own. A valid nonce
//     proves the time, so iat must be there but is not held against the clock.
//   - A repeated proof is answered with use_dpop_nonce where nonces are issued:
//     an honest client that repeats a request recovers by itself.
//   - The memory has no bound per key: a key costs a stranger nothing, so it would
//     bound honest clients alone. What fills the memory costs him a signature for
//     each entry, and honest clients one more round trip for a new nonce; without
//     nonces it empties itself within ProofLifetime.
//   - RSA keys have 2048 to 8192 bits and PS256 a salt as long as its hash.
//   - Both "EdDSA" and "Ed25519" (RFC 9864) name Ed25519.
package dpop
