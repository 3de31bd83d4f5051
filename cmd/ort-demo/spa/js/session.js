// A session that lasts as long as the user is there: the whole client side of an online refresh token (ORT).
//
//   const session = await OnlineSession.open({ issuer, clientId, redirectUri, scope: "openid online_access" });
//   await session.completeLogin();        // after a redirect back; does nothing on other page loads
//   if (!session.loggedIn) await session.login();      // leaves the page
//   const { access_token } = await session.exchange(); // as often as one is needed
//
// It is OAuth 2.0 for browser apps as it is written today: authorization code with PKCE, DPoP, nothing else. What is
// particular to the gateway is the scope `online_access` and the two members that tell when the session ends.

import { claimsOf, randomString, sha256 } from "./encoding.js";
import { loadKey, proof } from "./dpop.js";
import * as store from "./store.js";

/** An answer that says no, with the server's own words. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer.error_description ?? answer.error ?? `status ${status}`);
    this.status = status;
    this.code = answer.error; // "invalid_grant": the session is over; log in again
    this.retryAfter = answer.retryAfter;
  }
}

export class OnlineSession {
  #nonce = ""; // the newest that the gateway gave
  #observe;

  /**
   * @param config issuer, clientId, redirectUri, scope; `observe` is called with each request and its answer (the demo
   *     shows them; an app has no need of it)
   */
  static async open(config) {
    const session = new OnlineSession();
    session.config = config;
    session.#observe = config.observe ?? (() => {});
    const answer = await fetch(`${config.issuer}/.well-known/openid-configuration`);
    session.metadata = await answer.json();
    // The metadata decide where tokens are sent, so they must be those of the issuer that was asked (RFC 8414 section 3.3).
    if (session.metadata.issuer !== config.issuer) throw new Error("the metadata are of another issuer");
    session.key = await loadKey();
    session.ort = await store.get("ort");
    session.user = await store.get("user");
    return session;
  }

  get loggedIn() {
    return Boolean(this.ort);
  }

  /** Goes to the login page. With single sign-on it comes back at once. */
  async login(parameters = {}) {
    const verifier = randomString();
    const state = randomString();
    const nonce = randomString();
    sessionStorage.setItem("login", JSON.stringify({ verifier, state, nonce }));
    const url = new URL(this.metadata.authorization_endpoint);
    url.search = new URLSearchParams({
      response_type: "code",
      client_id: this.config.clientId,
      redirect_uri: this.config.redirectUri,
      scope: this.config.scope,
      state,
      nonce,
      code_challenge: await sha256(verifier),
      code_challenge_method: "S256",
      ...parameters,
    });
    location.assign(url);
  }

  /** Takes the code out of the address, and turns it into an ORT. Returns the answer, or null when there was no code. */
  async completeLogin() {
    const parameters = new URLSearchParams(location.search);
    if (!parameters.has("state")) return null;
    // Out of the address at once: a code must not stay in the history, and a reload must not send it again.
    history.replaceState(null, "", location.pathname);
    const expected = JSON.parse(sessionStorage.getItem("login") ?? "{}");
    sessionStorage.removeItem("login");
    if (parameters.get("state") !== expected.state) throw new Error("This answer belongs to no login of this tab.");
    if (parameters.has("error")) {
      throw new Refused(302, { error: parameters.get("error"), error_description: parameters.get("error_description") ?? undefined });
    }
    const answer = await this.#token({
      grant_type: "authorization_code",
      code: parameters.get("code"),
      redirect_uri: this.config.redirectUri,
      code_verifier: expected.verifier,
    });
    const claims = claimsOf(answer.id_token); // straight from the token endpoint: OpenID Connect Core 3.1.3.7 (6)
    if (claims.nonce !== expected.nonce) throw new Error("The ID token belongs to another login.");
    await this.#keep(answer.refresh_token, { sub: claims.sub, name: claims.name ?? claims.sub, since: claims.auth_time });
    return answer;
  }

  /** A fresh access token. The ORT stays the same, so any number of tabs may do this at once. */
  exchange() {
    return this.#token({ grant_type: "refresh_token", refresh_token: this.ort });
  }

  /** When the session ends, without making it last longer. */
  async status() {
    const url = this.metadata.ort_session_endpoint;
    const response = await this.#send("GET", url, { authorization: this.ort });
    return response.json();
  }

  /**
   * Calls `listener` with each event of the session ("session", "ended") until the session ends or `signal` says so.
   * It comes back by itself when the stream breaks.
   */
  async watch(listener, signal) {
    for (let wait = 1; !signal.aborted; wait = Math.min(2 * wait, 30)) {
      try {
        const url = `${this.metadata.ort_session_endpoint}/events`;
        const response = await this.#send("GET", url, { authorization: this.ort, signal });
        wait = 1;
        for await (const event of serverSentEvents(response.body)) {
          listener(event.name, event.data);
          if (event.name === "ended") return;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused && error.status === 401) {
          listener("ended", { reason: error.message });
          return;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  }

  /** Revokes the ORT (RFC 7009): the session ends, in every app that shares it. */
  async logout() {
    await this.#send("POST", this.metadata.revocation_endpoint, {
      form: { token: this.ort, token_type_hint: "refresh_token", client_id: this.config.clientId },
    });
    await this.forget();
  }

  /** Forgets the ORT. The key stays: it is of no use to anybody without one. */
  async forget() {
    this.ort = this.user = undefined;
    await store.remove("ort");
    await store.remove("user");
  }

  async #keep(ort, user) {
    if (!ort) throw new Error("The answer has no refresh token. Was online_access asked for?");
    this.ort = ort;
    this.user = user;
    await store.put("ort", ort);
    await store.put("user", user);
  }

  async #token(form) {
    const response = await this.#send("POST", this.metadata.token_endpoint, {
      form: { ...form, client_id: this.config.clientId },
      proven: true,
    });
    return response.json();
  }

  /**
   * One request, with a proof where one is needed. The gateway asks for its nonce in every proof; when it says
   * `use_dpop_nonce`, ours was missing or too old, and the request is sent once more with the new one.
   */
  async #send(method, url, { form, authorization, proven = Boolean(authorization), signal }) {
    for (let last = false; ; last = true) {
      const headers = {};
      if (proven) {
        headers.DPoP = await proof(this.key, { method, url, nonce: this.#nonce, accessToken: authorization });
      }
      if (authorization) headers.Authorization = `DPoP ${authorization}`;
      const body = form && new URLSearchParams(form);
      const response = await fetch(url, { method, headers, body, signal, cache: "no-store" });
      this.#nonce = response.headers.get("DPoP-Nonce") ?? this.#nonce;
      const failure = response.ok ? null : await explain(response);
      this.#observe({ method, url, headers, form, status: response.status, failure, response });
      if (!failure) return response;
      if (failure.error !== "use_dpop_nonce" || last) throw new Refused(response.status, failure);
    }
  }
}

/** What an answer says that is not 2xx: JSON at OAuth endpoints, WWW-Authenticate at resources. */
export async function explain(response) {
  const challenge = response.headers.get("WWW-Authenticate") ?? "";
  const answer = await response.clone().json().catch(() => ({}));
  for (const [, name, value] of challenge.matchAll(/(error|error_description)="([^"]*)"/g)) answer[name] ??= value;
  answer.retryAfter = Number(response.headers.get("Retry-After")) || undefined;
  return answer;
}

/** Reads server-sent events from a body; EventSource could not send the proof along. */
async function* serverSentEvents(body) {
  let text = "";
  for await (const chunk of decoded(body)) {
    text += chunk;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").filter((line) => line.startsWith(name + ":"))
        .map((line) => line.slice(name.length + 1).replace(/^ /, "")).join("\n");
      const data = field("data");
      if (data) yield { name: field("event") || "message", data: JSON.parse(data) };
    }
  }
}

async function* decoded(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let next; !(next = await reader.read()).done;) yield next.value;
}
