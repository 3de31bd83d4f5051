// Package proxy knows HTTP: which request is which endpoint, what changes in it,
// and what passes.
//
//	endpoint                     what happens
//	authorization, PAR           a request for online_access is recorded and rewritten
//	token                        code and ORT exchanges; other grants lose online_access
//	device, CIBA                 lose online_access; no refresh token comes of them
//	revocation                   of an ORT: its session ends
//	introspection, end session   an ORT never reaches the upstream
//	discovery                    the upstream's document with what the gateway adds
//	/_ort/session, …/events      how long a session lives, and that it ended
//	everything else              forwarded, not one byte changed
//
// The admin listener ([Admin]) is another server: health, metrics and the session
// API ([AdminSessions]).
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
//   - An authorization request whose query and body are two different requests is
//     refused where one of them asks for online_access or is of an online-only
//     client: upstreams that merge them would read a third. A body may repeat what
//     the query says, as login forms do.
//   - At the authorization endpoint methods other than GET, HEAD, POST and a plain
//     OPTIONS are 405, as is a field that stands for another method: some upstreams
//     route them all to the same code. At the token, PAR and device endpoints a GET
//     is.
//   - A client that may be an online-only one (none is named, or in a form that the
//     gateway cannot read) counts as one.
//   - Client authentication that cannot be read is 401 invalid_client, not passed.
//   - Other 2xx and 3xx statuses than 200 of a token endpoint are faults where an
//     ORT is concerned: 502, and 503 at an ORT exchange, which may be tried again.
//   - Two Authorization fields are refused where bodies are read: they could name
//     two clients.
//   - An ORT is looked for in whatever escapes it stands, and in queries too. Where
//     it is neither exchanged nor revoked, the request is refused.
//   - DPoP in requests of clients or audiences that get no ORT is between client and
//     upstream, whatever ORT_DPOP_AUTHORITY is.
//   - A max_age that is not plain digits is replaced, as a larger one is.
//   - offline_access that the gateway itself put into a request of an online-only
//     client stays when the upstream sends that request back to it, in a form or a
//     redirect. Which requests those are is remembered by this process for an hour.
//   - What the gateway asks the upstream because a stranger came (an origin, a
//     redirect_uri) it asks once at a time, 32 such questions at most; a no is good
//     for ten seconds. Bodies that it reads take 64 MiB in memory together; those of
//     up to 16 KiB do not count.
//   - A query that an endpoint is published with goes along in the gateway's own
//     calls of it.
//   - An allowance that the upstream gave when it was asked (a preflight names no
//     client) is not one of a client's own answers: each is remembered for itself.
package proxy
