// What the page shows beside the app: requests that it sent, and what the gateway says of them.

import { $, cut, element, timeOfDay } from "./dom.js";
import { claimsOf } from "./encoding.js";

const MAX_REQUESTS = 40;
const MAX_LINES = 200;
const SECRET = /^(access_token|refresh_token|id_token|token|code|code_verifier|client_secret)$/;

// The log stays at its end until somebody scrolls up in it.
let following = true;

/** Follows the demo server: log lines and counters are shown here, the other app's state goes to `onPeer`. */
export function followGateway(onPeer) {
  const log = $("log");
  log.addEventListener("scroll", () => { following = log.scrollHeight - log.scrollTop - log.clientHeight < 40; });
  new ResizeObserver(() => { if (following) log.scrollTop = log.scrollHeight; }).observe(log);
  const source = new EventSource("/demo/events");
  source.addEventListener("open", () => log.replaceChildren()); // the past comes again after a reconnect
  source.addEventListener("log", (event) => showLine(JSON.parse(event.data)));
  source.addEventListener("counters", (event) => showCounters(JSON.parse(event.data)));
  source.addEventListener("peer", (event) => onPeer(JSON.parse(event.data)));
}

function showLine({ time, level = "INFO", msg, ...rest }) {
  const log = $("log");
  const details = Object.entries(rest).map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`);
  log.append(element("li", level.toLowerCase(),
    time ? element("time", { datetime: time }, timeOfDay(new Date(time))) : undefined, time ? " " : undefined,
    element("b", null, msg ?? ""), " ",
    element("span", "detail", details.join(" "))));
  while (log.childElementCount > MAX_LINES) log.firstElementChild.remove();
  if (following) log.scrollTop = log.scrollHeight;
}

const shown = new Map();

function showCounters(counters) {
  for (const { label, value } of counters) {
    let tile = shown.get(label);
    if (!tile) {
      tile = element("div", null, element("dt", null, label), element("dd", null, ""));
      shown.set(label, tile);
      $("counters").append(tile);
    }
    const number = tile.lastElementChild;
    const text = String(value);
    if (number.textContent === text) continue;
    if (number.textContent !== "") {
      tile.classList.add("changed");
      setTimeout(() => tile.classList.remove("changed"), 1200);
    }
    number.textContent = text;
  }
}

/** Shows one request and its answer. */
export async function showRequest({ method, url, headers, form, status, failure, response, thief }) {
  const list = $("requests");
  list.querySelector(".empty")?.remove();
  const path = new URL(url).pathname;
  const again = failure?.error === "use_dpop_nonce" && !thief;
  const pre = element("pre", null, request({ method, path, headers, form }));
  list.prepend(element("li", null, element("details", null,
    element("summary", null,
      element("span", failure ? (again ? "status again" : "status no") : "status", String(status)),
      element("span", null,
        element("span", "what", thief ? "A thief: " : "", name(path, form)), " ",
        element("span", "where", failure?.error ?? `${method} ${path}`))),
    pre)));
  while (list.childElementCount > MAX_REQUESTS) list.lastElementChild.remove();
  const type = response.headers.get("Content-Type") ?? "";
  const answer = failure ?? (type.includes("json") ? await response.clone().json().catch(() => null) : null);
  const nonce = response.headers.get("DPoP-Nonce");
  pre.append(`\n\n${status}`, nonce ? `\nDPoP-Nonce: ${cut(nonce)}` : "",
    answer ? `\n${JSON.stringify(answer, shorten, 2)}` : type ? `\n(${type})` : "");
}

function name(path, form) {
  if (form?.grant_type === "authorization_code") return "Code exchange";
  if (form?.grant_type === "refresh_token") return "ORT exchange";
  if (form?.token) return "Revocation";
  if (path.endsWith("/events")) return "Session events";
  if (path.endsWith("/session")) return "Session status";
  return "Userinfo";
}

function request({ method, path, headers, form }) {
  const lines = [`${method} ${path}`];
  for (const [field, value] of Object.entries(headers)) {
    lines.push(field === "DPoP" ? `DPoP: ${cut(value)}\n  ${JSON.stringify(claimsOf(value), shorten)}` : `${field}: ${cut(value, 26)}`);
  }
  for (const [field, value] of Object.entries(form ?? {})) lines.push(`${field}=${SECRET.test(field) ? cut(value) : value}`);
  return lines.join("\n");
}

function shorten(field, value) {
  if (typeof value !== "string") return value;
  return SECRET.test(field) || field === "nonce" || field === "ath" ? cut(value) : value;
}
