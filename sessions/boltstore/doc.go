// Package boltstore keeps sessions in one bbolt file, for a gateway that runs
// alone.
//
//	bucket  key                             value
//	meta    format, active, ready,          see open.go
//	        importing                       see move.go
//	s       session                         8 bytes filed deadline, the session
//	s       session 0 grant                 the grant: next to its session, so that
//	                                        an exchange writes one page
//	i       kind, 16 bytes hash, session    nothing: finds by browser, sid, subject
//	d       8 bytes deadline, session       nothing: what the sweeper looks at
//	w       't' number                      a transaction, in the order of arrival
//	w       'c' hash, 'r' hash              a code; what a request_uri is tied to
//
// # Writing
//
// One goroutine writes. Whatever arrives while a commit runs shares the next
// one: no timer, and many exchanges pay one fsync together. A caller's context
// counts until its change is handed over; from then on the change is seen
// through and the call waits for its outcome. A change that fails leaves the
// others of its commit alone. A commit that fails is the failure of each change
// in it (also of those that had an answer of their own: it may rest on a
// neighbour's change), nothing of it is half done, and the next change tries
// anew: a full disk that is freed needs no restart.
//
// # Deadlines
//
// An entry of bucket d is never later than the session's deadline, but may be
// earlier: an exchange moves the deadline and not the entry. The sweeper files
// such a session anew when its entry comes up.
//
// # In memory
//
// Transactions, the ties of request_uris and codes are answered from memory,
// bounded, and written behind by half a second; what is lost by a crash makes a
// login fail. That a code was exchanged is durable together with the grant that
// came of it. Leases and watchers live in memory alone: the process that has
// the file is the only one there is, bbolt's lock on the file sees to that.
//
// # Backup and moving
//
// [Store.Backup] copies the file as it stands at one moment into another one
// beside it and gives that out: whoever reads a backup slowly holds up nobody.
// While the copy is made (a local disk's time for the file's size) nothing is
// blocked as long as the file stays below 256 MiB; above, a change that makes
// the file grow past its mapping waits for the end of the copy.
//
// [Store.Import] writes in many commits, so that its memory is bounded, under a
// mark in bucket meta that goes with the last of them. A store with that mark is
// opened for nothing but the next import, which begins by emptying it.
package boltstore
