// DPoP (RFC 9449): prove with each request that the key is still here.

import { base64url, base64urlJSON, sha256 } from "./encoding.js";
import * as store from "./store.js";

/** A new P-256 key pair. `false`: no script can ever read the private half, not even this one. */
export function newKey() {
  return crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
}

/** This origin's key pair, made on the first visit and the same in every tab. */
export function loadKey() {
  return navigator.locks.request("dpop-key", async () => {
    let key = await store.get("key");
    if (!key) {
      key = await newKey();
      await store.put("key", key);
    }
    return key;
  });
}

/**
 * One proof for one request; every request needs its own (a `jti` is taken once).
 *
 * @param {CryptoKeyPair} key
 * @param {{method: string, url: string, nonce?: string, accessToken?: string}} request `accessToken` where a token goes
 *     along in the Authorization header, `nonce` the last one that the server gave
 */
export async function proof(key, { method, url, nonce, accessToken }) {
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", key.publicKey);
  const header = { typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } };
  const target = new URL(url);
  const claims = {
    jti: crypto.randomUUID(),
    htm: method,
    htu: target.origin + target.pathname, // without query and fragment
    iat: Math.floor(Date.now() / 1000),
  };
  if (nonce) claims.nonce = nonce;
  if (accessToken) claims.ath = await sha256(accessToken);
  const signed = `${base64urlJSON(header)}.${base64urlJSON(claims)}`;
  const signature = await crypto.subtle.sign(
    { name: "ECDSA", hash: "SHA-256" }, key.privateKey, new TextEncoder().encode(signed));
  return `${signed}.${base64url(signature)}`;
}
