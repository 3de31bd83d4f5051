// Package ortengine holds the rules of online refresh tokens (ORTs): what is
// issued, exchanged and ended. It knows no HTTP: the upstream is called through
// a function ([Send]) that its caller hands in, and what a client must be told
// comes back as an [Error].
//
// # Authorization requests
//
// A request that asks for the scope online_access is recorded as a transaction
// ([Engine.Begin]). Its code challenge is replaced by one whose verifier only
// the gateway can derive, so the code that comes of it is worth nothing
// without the transaction: unknown, expired or pushed out, the upstream refuses
// it. Hence no answer to such a request ever carries the upstream's own refresh
// token, and no bookkeeping has to be perfect for that.
//
// # Code exchange ([Engine.ExchangeCode])
//
//	1  one exchange of a code at a time; one that succeeded is never sent again
//	2  the upstream is asked with the gateway's own verifier
//	3  no refresh token, or a login older than a session may be: no ORT
//	4  single sign-on ended since the code left the upstream: invalid_grant
//	5  the session is found or made, the grant kept, durably
//	6  the ORT is sealed
//
// # ORT exchange ([Engine.Exchange])
//
//	1  the session lives, the grant is in it
//	2  audience and resource are those of the authorization request, or allowed
//	3  one call at a time per grant; who waits too long is asked to come back
//	4  the upstream is asked with the sealed credential
//	5  a rotated credential is durable before anything else is looked at
//	6  the session still lives
//
// A call once sent upstream is seen through although its client left: the
// credential in its answer exists nowhere else. An answer that comes after the
// time-out is still read, for as long again, and kept; until then no other call
// for that grant is sent.
//
// # Choices
//
//   - An ORT of another client at the revocation endpoint is invalid_grant: RFC
//     7009 section 2.1 leaves the code open.
//   - The idle deadline may pass while the upstream is asked: the exchange came in
//     time and moves it, unless something ended the session first. The absolute
//     deadline may not.
//   - A login of which no browser was seen joins no session, not by its `sid`
//     either.
//   - Revocation by an ORT whose grant has ended, in a session that lives, ends the
//     session: its user logs out, and does not know that the grant was dropped.
//   - A store that does not take a rotated credential (a full disk) is asked
//     again until it does; the grant waits meanwhile, its clients get 503.
package ortengine
