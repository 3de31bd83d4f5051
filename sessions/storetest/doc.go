// Package storetest is the proof of a sessions.Store: whatever the comments of
// the interface promise is a case here. A backend runs every case; one that
// cannot pass a case is not a backend.
//
//	storetest.Run(t, open)           one store, many cases
//	storetest.RunDurability(t, …)    closed or lost, and opened again
//	storetest.RunModel(t, open)      random operations against a plain map
//	storetest.Bench(b, open)         what an exchange costs
//
// Each case opens an empty store with a clock of its own and ends with the
// store's own check of its records and indexes, where it has a method Check.
package storetest
