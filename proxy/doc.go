// Package proxy knows HTTP: which request is which endpoint, what changes in it,
// and what passes.
//
//	endpoint                     what happens
//	authorization, PAR           a request for online_access is recorded and rewritten
//	token                        code and ORT exchanges; other grants lose online_access
//	revocation                   of an ORT: its session ends
//	introspection, end session   an ORT never reaches the upstream
//	discovery                    the upstream's document with what the gateway adds
//	/_ort/session, …/events      how long a session lives, and that it ended
//	everything else              forwarded, not one byte changed
//
// Paths are matched as a tolerant upstream would read them, and forwarded as the
// client spelled them. While nothing is known of the upstream's endpoints,
// nothing is forwarded: a token endpoint that is not recognised would let the
// upstream's own refresh tokens pass.
//
// # Choices
//
//   - Parameters that decide about tokens are refused in the query of a token,
//     revocation, PAR or device request: some upstreams merge query and body.
//   - A parameter whose name a lenient upstream would read as one that the gateway
//     rewrites (Scope, code.challenge, scope[]) is refused where online_access is
//     asked for.
//   - Other 2xx and 3xx statuses than 200 of a token endpoint are faults (502).
package proxy
