// What somebody could try who has copied the ORT. These requests are sent by hand, past session.js: a thief would.

import { newKey, proof } from "./dpop.js";
import { explain } from "./session.js";

async function send(session, ort, dpop, observe) {
  const url = session.metadata.token_endpoint;
  const form = { grant_type: "refresh_token", refresh_token: ort, client_id: session.config.clientId };
  const headers = dpop ? { DPoP: dpop } : {};
  const response = await fetch(url, { method: "POST", headers, body: new URLSearchParams(form), cache: "no-store" });
  const failure = response.ok ? null : await explain(response);
  observe({ method: "POST", url, headers, form, status: response.status, failure, response, thief: true });
  return { status: response.status, failure, nonce: response.headers.get("DPoP-Nonce") };
}

/**
 * Each attack: what it does, the error that it must get, and why.
 * `run(session, ort, seen, observe)`; `seen` is a proof that went over the wire with a good exchange.
 */
export const attacks = [
  {
    id: "no-proof",
    title: "Send the ORT alone",
    text: "As any bearer token could be.",
    expect: "invalid_dpop_proof",
    why: "An ORT of a browser app is bound to a key. Without a proof by it, the gateway does not even ask the identity provider.",
    run: (session, ort, seen, observe) => send(session, ort, null, observe),
  },
  {
    id: "foreign-key",
    title: "Sign with another key",
    text: "A proof that is right in everything, by a key of the thief’s own.",
    expect: "invalid_dpop_proof",
    why: "The proof is good, but for another key: its thumbprint is not the one sealed in the ORT.",
    async run(session, ort, seen, observe) {
      const key = await newKey();
      const request = { method: "POST", url: session.metadata.token_endpoint };
      const first = await send(session, ort, await proof(key, request), observe);
      if (first.failure?.error !== "use_dpop_nonce") return first;
      return send(session, ort, await proof(key, { ...request, nonce: first.nonce }), observe);
    },
  },
  {
    id: "replay",
    title: "Send a proof again",
    text: "One that was seen on its way with a good exchange, byte for byte.",
    expect: "use_dpop_nonce",
    why: "Each proof is taken once. The answer asks for a new one with a fresh nonce: easy for whoever has the key, impossible for a thief.",
    needsProof: true,
    run: (session, ort, seen, observe) => send(session, ort, seen, observe),
  },
];
