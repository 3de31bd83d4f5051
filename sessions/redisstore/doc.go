// Package redisstore keeps sessions in Redis (6.2 or newer, or Valkey), for any
// number of gateways: one server, Sentinel or Cluster.
//
//	key (behind key_prefix)    value                                  gone after
//	s:{session}                hash: r revisions, s the session, g…   its absolute deadline + 24 h
//	                           each grant, o outbox
//	l:{session}:grant, l:{…}   hash: a lease's token, until when      10 minutes
//	f:KIND HASH                sorted set of sessions: finds by       its sessions
//	                           browser, sid, subject, login cookie
//	x: y: i: o: {0…15}         sorted sets of all sessions: living    its sessions
//	                           and ended by deadline; all and those
//	                           that owe, by id
//	n:KIND HASH                a note                                 its time + 1 h
//	w:{w}:…                    transactions, codes, request_uris      their time + 1 h
//	p:{p}:…                    proofs, generation of nonces           as long as they count
//	meta                       format; an import under way            never
//	ready, sweep               readiness is tried; who sweeps         1 minute
//	channel "changes"          sessions that changed, leases given back
//
// Times in records are the gateway's and are looked at by the gateway; Redis'
// expiry only sweeps up what no gateway has.
//
// # One step
//
// What must be atomic is one script in one slot: a session with its grants under
// a revision (read, run the change, write where the revision still stands, else
// again), a lease together with the change that is made under it, all of what
// waits, all proofs. Scripts carry a token of their call: go-redis sends a call
// again whose answer was lost, and it must not read as somebody else's.
//
// What leads to a session from other slots is written before the session and taken
// out after it; whoever reads it looks at the session. What a change writes to
// other slots (notes, that a code was exchanged) is part of the session as its
// outbox until it is delivered, before the change is acknowledged; the sweeper
// delivers what a process left that died in between.
//
// # What Redis can promise, and what not
//
// Redis acknowledges before it has written to disk and before its replicas have
// the change. With appendonly yes and appendfsync everysec (recommended) a crash
// of the machine may lose the last second; with always nothing; without a file a
// restart loses all, and every user logs in again. A failover may lose what the
// replica had not: a session made or a credential rotated in that moment, whose
// user logs in again. The end of a session and a dead login cookie are looked
// after for 50 minutes by the gateway that wrote them (its newest 20,000), and
// written again where they are lost, as long as that process lives. wait_replicas=N
// makes every acknowledged change of a session one that N replicas have, or an
// error (503).
//
// Of proofs a failover may lose the newest, too. Whenever another server answers,
// or the same one started again, a new generation of nonces begins within a second
// and no proof of before counts: each client fetches one nonce more. Without nonces
// of our own, proofs that were made before that moment are refused.
//
// What waits and the proofs lie in one slot each. In a Cluster these two slots
// ({w}, {p}) are moved while no gateway works: their scripts would find one half.
//
// maxmemory-policy must be noeviction: any other lets Redis forget a logout, or a
// proof, to make room. `ort-gateway check` looks at both.
//
// An error that is neither sessions.ErrNotFound nor sessions.ErrLeaseLost says
// nothing: Redis is away, read-only, loading or slow. Nothing is kept in the
// process instead.
package redisstore
