// Small things that JOSE and OAuth need and the platform does not have under a name.

const utf8 = new TextEncoder();

/** base64url without padding (RFC 4648 section 5). */
export function base64url(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** A JSON value as base64url, as JWTs carry it. */
export function base64urlJSON(value) {
  return base64url(utf8.encode(JSON.stringify(value)));
}

/** base64url of the SHA-256 of a string. */
export async function sha256(text) {
  return base64url(await crypto.subtle.digest("SHA-256", utf8.encode(text)));
}

/** 256 random bits, for verifiers, states and the like. */
export function randomString() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

/** The claims of a JWT, unchecked: good for showing a name, for nothing else. */
export function claimsOf(jwt) {
  const payload = jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (c) => c.charCodeAt(0))));
}
