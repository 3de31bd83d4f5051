// Package sessions says what the gateway remembers: its records, and the
// [Store] that keeps them.
//
//	record       key                          lives until
//	Transaction  challenge (method, value)    ORT_LOGIN_TIMEOUT, or its request failed
//	Code         hash of an authorization     a while after the code can still be
//	             code                         exchanged
//	Session      random id                    its absolute deadline, ended or not
//	Grant        session, random id           its session's end, or its own
//
// A session begins with a code exchange and ends exactly once, always with an
// [EndReason]. An ended session stays as a marker until its absolute deadline,
// so that a code or a token that is still under way meets a clear answer; its
// grants, and with them the upstream credentials, are gone at once.
//
// # Three answers
//
// A lookup says alive, gone ([ErrNotFound], or a session with an [End]) or
// unknown (any other error). Unknown never means gone: whoever cannot read the
// store answers "temporarily unavailable" and deletes nothing.
//
// # Durability
//
// What [Store.Create] and [Store.Update] acknowledge is durable. Transactions
// and codes may be written behind by a second at most where one process owns
// the store: what is lost there makes a login fail, never succeed.
//
// The package imports nothing of the gateway; backends live below it, and
// package storetest holds the promises that each of them keeps.
package sessions
