// Command ort-demo shows ort-gateway at work, on loopback ports of one machine:
//
//	go run ./cmd/ort-demo                 a page to try it on
//	go run ./cmd/ort-demo --walkthrough   the same, scripted; exit code 1 when an answer is not as it should be
//
// It starts four things in one process:
//
//	app one   app two      two copies of the small single-page app in spa/, two origins, two clients
//	     \     /
//	     gateway           cmd/ort-gateway/app, as ort-gateway runs it
//	        │
//	identity provider      package idp, configured with the gateway's origin as its public one
//
// The app in spa/js is also meant to be copied: session.js with dpop.js, store.js
// and encoding.js is all that a page needs. Beside its own state each page shows what the
// gateway did: its log lines and counters, which the page's server passes on at
// /demo/events.
//
// Nothing is kept: without --data the sessions live in a temporary directory
// that is removed at the end.
package main
