// Package app turns an environment into a running gateway: it reads and checks the settings, opens the listeners, puts
// the store, the rules and the HTTP side together, and ends in good order.
//
// What it decides:
//
//   - which values of the ORT_ variables are good. All faults are found before any port opens and are told at once, one
//     line each, with the variable, what is wrong and an example, never with a secret (exit code 2);
//   - when the process is ready, and in which order it stops;
//   - where log lines go, and that nothing written through the standard library's logger carries a token into them.
//
// What it leaves to others: every rule about tokens, sessions and requests. Those packages get plain Go values from
// Settings and check them in their New.
//
//	start    Load ─▶ logger ─▶ store, engine, proxy (serve.go) ─▶ listen ─▶ serve
//	SIGTERM  not ready ─▶ accept for ORT_SHUTDOWN_DELAY ─▶ end streams ─▶ drain ─▶ flush ─▶ close ─▶ exit 0
//
// Exit codes: 0 good; 1 what only trying shows (a port that is taken, a store that cannot be opened, "not ready"), or a
// second signal while stopping; 2 a wrong setting or a wrong command line.
//
// # Choices
//
//   - An empty item in a list is refused, not skipped: "ORT_CLIENTS=," from an unset template variable must not mean
//     "all clients".
//   - Files that may change (sealing keys, admin token, TLS certificate and key) are read again every few seconds, by content, so
//     that mounts, links and clocks do not matter. A change counts only when two readings in a row agree, so a file
//     that is being written is not taken half.
//   - The path in a _FILE variable is not repeated in a fault: people put the secret itself there.
package app
