// The page: buttons on one side, session.js on the other.

import { $, clock, cut, element, timeOfDay } from "./dom.js";
import { sha256 } from "./encoding.js";
import { OnlineSession, Refused } from "./session.js";
import { followGateway, showRequest } from "./panel.js";
import { attacks } from "./thief.js";

const config = await (await fetch("/demo/config.json")).json();
const { demo } = config;

// What is shown. `state` is one of: out, in, ended.
const view = { state: "out", reason: "", idleUntil: 0, absoluteUntil: 0, accessUntil: 0 };
const peer = { state: "closed" };
let session;
let accessToken;
let watching = new AbortController();
let copied = {}; // what a thief has: the ORT, and a proof that was used with it

function observe(record) {
  showRequest(record);
  if (record.status === 200 && record.form?.grant_type === "refresh_token") copied.proof = record.headers.DPoP;
}

// ---- actions --------------------------------------------------------------------------------------------------------

async function start() {
  showNames();
  showAttacks();
  followGateway(onPeer);
  setInterval(render, 250);
  session = await OnlineSession.open({ ...config, observe });
  if (new URLSearchParams(location.search).has("login")) {
    history.replaceState(null, "", location.pathname);
    if (!session.loggedIn) return session.login();
  }
  const answer = await session.completeLogin();
  if (answer) {
    take(answer);
    done("login");
  } else if (session.loggedIn) {
    try {
      take(await session.status());
    } catch (error) {
      if (error.status !== 401) throw error;
      await ended(error.message);
    }
  }
  if (session.loggedIn) await begin();
  share();
}

/** The session is alive: show it and follow it. */
async function begin() {
  view.state = "in";
  copied.ort = session.ort;
  $("fact-ort").textContent = cut(session.ort, 24);
  $("fact-key").textContent = cut(await thumbprint(session.key), 20);
  const since = session.user.since && new Date(session.user.since * 1000);
  $("fact-since").textContent = since ? `${timeOfDay(since)}, for both apps` : "–";
  watching = new AbortController();
  session.watch((name, data) => {
    if (name === "session") take(data);
    if (name === "ended") ended(data.reason);
  }, watching.signal);
}

/** Takes new deadlines, and an access token where the answer has one. */
function take(answer) {
  const now = Date.now();
  if (answer.session_idle_expires_in !== undefined) view.idleUntil = now + answer.session_idle_expires_in * 1000;
  if (answer.session_expires_in !== undefined) view.absoluteUntil = now + answer.session_expires_in * 1000;
  if (answer.access_token) {
    accessToken = answer.access_token;
    view.accessUntil = now + answer.expires_in * 1000;
  }
  share();
}

async function ended(reason) {
  if (view.state === "ended") return;
  watching.abort();
  Object.assign(view, { state: "ended", reason: words(reason) });
  if (seenBoth) done("logout");
  await session.forget();
  share();
}

const actions = {
  login: () => session.login(),
  switch: () => session.login({ prompt: "login" }),
  async exchange() {
    const before = $("guide").querySelector("[data-step=exchange]").classList.contains("done");
    take(await session.exchange());
    done(before ? "again" : "exchange");
  },
  async userinfo() {
    const url = session.metadata.userinfo_endpoint;
    const headers = { Authorization: `Bearer ${accessToken}` };
    const response = await fetch(url, { headers, cache: "no-store" });
    observe({ method: "GET", url, headers, status: response.status, failure: response.ok ? null : { error: "refused" }, response });
    if (!response.ok) throw new Error(`The access token is not taken any more (${response.status}).`);
    const { name, email } = await response.json();
    $("state-note").textContent = `The access token works: it is ${name}, ${email}.`;
  },
  async logout() {
    await session.logout();
    await ended("revoked");
  },
};

for (const [id, act] of Object.entries(actions)) {
  $(id).addEventListener("click", () => attempt($(id), act));
}

/** Runs an action of a button, and says what went wrong. */
async function attempt(button, act) {
  if (button.classList.contains("busy")) return;
  $("alert").hidden = true;
  button.classList.add("busy"); // not disabled: it would lose the keyboard's focus
  try {
    await act();
  } catch (error) {
    await failed(error);
  } finally {
    button.classList.remove("busy");
    render();
    if (button.hidden) $("session").focus();
  }
}

async function failed(error) {
  if (error instanceof Refused && error.code === "invalid_grant") return ended(error.message);
  const again = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  $("alert").textContent = `${error.message}${again}`;
  $("alert").hidden = false;
}

// ---- the other app --------------------------------------------------------------------------------------------------

let seenBoth = false;

function onPeer(state) {
  if (state.app !== demo.otherClientId) return;
  Object.assign(peer, state);
  if (peer.state === "in") done("second");
  render();
}

let lastShared = "";

/** Tells the other app's page, by way of the demo's server. No token is in it. */
function share(state = view.state) {
  const body = JSON.stringify({
    state, user: session?.user?.name ?? "", reason: view.reason, idle: view.idleUntil, absolute: view.absoluteUntil,
  });
  render();
  if (body === lastShared) return;
  lastShared = body;
  fetch("/demo/state", { method: "POST", body, keepalive: true, headers: { "Content-Type": "application/json" } }).catch(() => {});
}

addEventListener("pagehide", () => share("closed"));
addEventListener("pageshow", (event) => event.persisted && location.reload());

// ---- thief ----------------------------------------------------------------------------------------------------------

const tried = new Set();

function showAttacks() {
  for (const attack of attacks) {
    const button = element("button", { id: `try-${attack.id}`, "aria-describedby": `about-${attack.id}` }, "Try");
    button.append(element("span", "visually-hidden", `: ${attack.title}`));
    const verdict = element("p", { class: "verdict", role: "status" });
    $("attacks").append(element("li", null,
      element("div", "attack",
        element("div", null, element("strong", null, attack.title), element("span", { id: `about-${attack.id}` }, attack.text)),
        button),
      verdict));
    button.addEventListener("click", () => attempt(button, () => steal(attack, verdict)));
  }
}

async function steal(attack, verdict) {
  const { status, failure } = await attack.run(session, copied.ort, copied.proof, observe);
  const refused = status === 400 && failure?.error === attack.expect;
  verdict.classList.toggle("broken", !refused);
  verdict.replaceChildren(
    element("b", null, refused ? "Refused" : "Not as it should be"), " ",
    element("code", null, `${status} ${failure?.error ?? ""}`), " ",
    refused ? attack.why : `Expected was ${attack.expect}.`);
  tried.add(attack.id);
  if (tried.size === attacks.length) done("thief");
}

// ---- showing --------------------------------------------------------------------------------------------------------

function showNames() {
  document.documentElement.dataset.app = demo.number;
  document.title = `${demo.name} · ort-gateway demo`;
  $("app-name").textContent = demo.name;
  $("app-which").textContent = demo.number === 1 ? "first of two apps" : "second of two apps";
  $("session-title").textContent = `Your session in ${demo.name}`;
  $("peer-title").textContent = `The other app: ${demo.otherName}`;
  for (const link of document.querySelectorAll(".other-link")) {
    link.firstElementChild.textContent = `Open ${demo.otherName}`;
    link.href = `${demo.otherUrl}?login`;
  }
  for (const step of JSON.parse(sessionStorage.getItem("guide") ?? "[]")) mark(step);
}

function mark(step) {
  $("guide").querySelector(`[data-step=${step}]`).classList.add("done");
}

function done(step) {
  const steps = new Set(JSON.parse(sessionStorage.getItem("guide") ?? "[]"));
  sessionStorage.setItem("guide", JSON.stringify([...steps.add(step)]));
  mark(step);
}

const notes = {
  out: "Nobody is logged in here. The login page belongs to the identity provider; the gateway passes it on unchanged.",
  in: "",
  ended: "The ORT that this app had is worth nothing any more.",
};

let shownState;

function render() {
  const { state } = view;
  if (session && shownState !== state) {
    shownState = state;
    const pill = $("state");
    pill.dataset.state = state;
    pill.textContent = { out: "Logged out", in: `Logged in as ${session.user?.name}`, ended: `Ended: ${view.reason}` }[state];
    $("state-note").textContent = state === "in" ? "Use it, or let it run out and see it end." : notes[state];
  }
  const alive = state === "in";
  $("deadlines").hidden = $("facts").hidden = !alive;
  $("login").hidden = alive;
  $("exchange").hidden = $("userinfo").hidden = $("logout").hidden = !alive;
  enable("login", session && !alive);
  enable("switch", session);
  enable("exchange", alive);
  enable("logout", alive);
  const fresh = view.accessUntil > Date.now();
  enable("userinfo", alive && fresh);
  $("fact-access").textContent = fresh ? `good for ${clock((view.accessUntil - Date.now()) / 1000)}` : accessToken ? "past its time" : "none yet";
  if (alive) countdown("", view.idleUntil, view.absoluteUntil);
  for (const attack of attacks) enable(`try-${attack.id}`, session && copied.ort && alive && (!attack.needsProof || copied.proof));
  renderPeer();
}

function renderPeer() {
  const alive = peer.state === "in";
  seenBoth ||= alive && view.state === "in";
  const pill = $("peer-state");
  const text = {
    closed: "Not open", out: "Logged out", in: `Logged in as ${peer.user}`, ended: `Ended: ${peer.reason}`,
  }[peer.state];
  if (pill.textContent !== text) {
    pill.dataset.state = peer.state;
    pill.textContent = text;
    $("peer-note").textContent = {
      closed: "It finds the session by itself: no password is asked.",
      out: "It is open, and nobody is logged in there.",
      in: "It has an ORT of its own, for the same session: what ends one ends both.",
      ended: "It was told at once.",
    }[peer.state];
  }
  $("peer-deadlines").hidden = !alive;
  $("peer-open").hidden = peer.state !== "closed";
  if (alive) countdown("peer-", peer.idle, peer.absolute);
}

function countdown(prefix, idleUntil, absoluteUntil) {
  for (const [name, until, total] of [["idle", idleUntil, demo.idle], ["absolute", absoluteUntil, demo.absolute]]) {
    const left = (until - Date.now()) / 1000;
    const text = $(`${prefix}${name}-left`);
    text.textContent = clock(left);
    text.parentElement.classList.toggle("low", left < Math.min(20, total / 4));
    $(`${prefix}${name}-bar`).value = Math.max(0, Math.min(1, left / total));
  }
}

/** A button that is at work stays as it is. */
function enable(id, yes) {
  const button = $(id);
  if (!button.classList.contains("busy")) button.disabled = !yes;
}

function words(reason) {
  const known = {
    revoked: "logged out", idle: "not used for too long", absolute: "its time is over", logout: "logged out",
    user_switch: "someone else logged in", admin: "by the administrator", backchannel_logout: "logged out",
    grants_ended: "the identity provider took it back", grant_ended: "the identity provider took it back",
    unknown: "the gateway does not know it",
  };
  return known[reason] ?? reason.replace(/^Unknown or invalid refresh token[:;,. ]*/, "");
}

/** RFC 7638: the name of the key, as the ORT has it sealed inside. */
async function thumbprint({ publicKey }) {
  const { crv, kty, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
  return sha256(JSON.stringify({ crv, kty, x, y }));
}

start().catch(failed);
