package sessions

import (
	"context"
	"errors"
	"time"
)

// Errors that a caller decides on. Any other error means unknown: nothing may
// be concluded from it.
var (
	// ErrNotFound: the record is not there, or its time has passed.
	ErrNotFound = errors.New("not found")
	// ErrDifferent: another transaction stands for this challenge, with other
	// values.
	ErrDifferent = errors.New("another transaction stands for this challenge")
	// ErrLeaseLost: the lease that a change was made under is held no more.
	ErrLeaseLost = errors.New("the lease is lost")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// Store keeps what the gateway remembers. It is safe for concurrent use. Times
// come back in UTC, to the millisecond.
type Store interface {
	Lister

	// AddTransaction keeps a transaction, unless one stands for its key: that one
	// then meets the new one's browser and is returned with added false. It is
	// ErrDifferent where the standing one asks for something else. When more than
	// the store's bound wait, the oldest are dropped, first those of the address
	// that holds most.
	AddTransaction(ctx context.Context, t Transaction) (standing Transaction, added bool, err error)
	// Transaction is the transaction of a key. ErrNotFound: unknown, or past its
	// time.
	Transaction(ctx context.Context, key TransactionKey) (Transaction, error)
	// DropTransaction forgets a transaction; an unknown one is no error.
	DropTransaction(ctx context.Context, key TransactionKey) error
	// TieRequestURI lets a pushed request be found by its request_uri until a
	// moment (RFC 9126).
	TieRequestURI(ctx context.Context, uri RequestURIHash, key TransactionKey, until time.Time) error
	// RequestURI is the key that a request_uri was tied to.
	RequestURI(ctx context.Context, uri RequestURIHash) (TransactionKey, error)

	// AddCode keeps what was seen of a code. What was seen first stays, as a whole: no
	// later redirect with that code gives it another browser or time. A code never
	// becomes one that was not exchanged.
	AddCode(ctx context.Context, c Code) error
	// Code is what is known of a code.
	Code(ctx context.Context, hash CodeHash) (Code, error)

	// Create keeps a new session with its first grant, durable on return, and marks
	// the grant's code as exchanged until codeUntil (no code: a zero hash).
	Create(ctx context.Context, s Session, g Grant, codeUntil time.Time) error
	// Session is one session, an ended one with its End. One whose limit has passed
	// is there, alive, until a sweep ends it: the caller looks at its Deadline.
	Session(ctx context.Context, id ID) (Session, error)
	// Grant is one session with one of its grants, read at one moment. ErrNotFound
	// where the session is unknown; where the session is there and the grant is
	// not, the session comes back with ErrNotFound.
	Grant(ctx context.Context, id ID, grant GrantID) (Session, Grant, error)
	// Grants are all grants of a session, oldest first.
	Grants(ctx context.Context, id ID) ([]Grant, error)
	// Find is every session of a browser, an upstream session or a subject that the
	// store still has, ended ones too, the newest first. One of the fields is set.
	Find(ctx context.Context, by Finder) ([]Session, error)
	// Update changes one session and its grants, atomically, durable on return. f
	// may run again, must have no other effect and must not use the store; its
	// error is returned and nothing is changed. The context counts until the change
	// is taken: from then on it is seen through, and Update returns its outcome.
	// Under a lease (nil: none) it is ErrLeaseLost where that is held no more. An
	// ended session stays as it ended, and no grant is put into it: both are errors.
	Update(ctx context.Context, id ID, under Lease, f func(*Draft) error) error
	// AddNote keeps a note, durable on return. Where a live one of that kind and key
	// stands, it is not the first, and both times become the later ones.
	AddNote(ctx context.Context, n Note) (first bool, err error)
	// Note is a note that holds now. ErrNotFound: there is none, or its time has
	// passed. It is read with each request that carries a login cookie: it is cheap,
	// and answers while nothing can be written.
	Note(ctx context.Context, kind NoteKind, key string) (Note, error)
	// DropNote forgets a note, durable on return; an unknown one is no error.
	DropNote(ctx context.Context, kind NoteKind, key string) error
	// Owing are sessions that owe upstream credentials, in the order of their ids,
	// from after one on.
	Owing(ctx context.Context, after ID, limit int) ([]Session, error)
	// Waits says whether a transaction of a client waits.
	Waits(ctx context.Context, client string) (bool, error)

	// Lease waits until nobody else holds the key, or the context ends. A holder
	// that dies loses it.
	Lease(ctx context.Context, key string) (Lease, error)
	// LeaseGrant is a lease of the right to use a grant's credential, with the
	// session and the grant as they stand when it is held, read as Grant does. Where
	// one of them is missing nothing is held.
	LeaseGrant(ctx context.Context, id ID, grant GrantID) (Lease, Session, Grant, error)
	// Watch signals after each change of a session, one pending signal at most,
	// until stop is called. The reader reads the session again.
	Watch(id ID) (changed <-chan struct{}, stop func())

	// Sweep ends sessions whose limit has passed and removes records past their
	// time, limit of them at most, in small steps that do not hold up others.
	Sweep(ctx context.Context, now time.Time, limit int) (Swept, error)
	// Ready says whether the store can be read and written now.
	Ready(ctx context.Context) error
	// Stats counts, without a scan.
	Stats() Stats
	// Close writes what is still in memory and lets the store go. Twice is fine.
	Close() error
}

// Lease is the right to be the only one that works on something.
type Lease interface {
	// Lost is closed when the lease ended without Release, or the store was closed.
	Lost() <-chan struct{}
	// Last says that the next change under it is the last one: a store may give the
	// lease back together with that. Release is called all the same.
	Last()
	// Release gives it back. Twice is fine.
	Release()
}

// Swept is what a sweep did.
type Swept struct {
	// Ended are sessions that the sweep ended, with their reason.
	Ended []Session
	// Removed counts sessions, transactions, ties and codes that are gone for good,
	// as far as the store does not let them vanish by itself.
	Removed int
	// More says that the limit stopped it.
	More bool
}

// Stats are the store's own figures.
type Stats struct {
	Active       int   // sessions without an end
	Notes        int   // notes, as far as the store knows; those past their time count until they go
	Owing        int   // sessions that owe upstream credentials
	Transactions int   // waiting
	PushedOut    int   // transactions dropped for the bound since the start
	Bytes        int64 // size of the embedded store's file, 0 elsewhere
}
