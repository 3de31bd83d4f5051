// The little that the pages need to show things. Text goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** An element with attributes (or a class name) and children. */
export function element(name, attributes, ...children) {
  const made = document.createElement(name);
  if (typeof attributes === "string") made.className = attributes;
  else for (const [key, value] of Object.entries(attributes ?? {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

/** The beginning of a secret, enough to tell two apart. */
export function cut(text, length = 18) {
  return text.length > length + 1 ? `${text.slice(0, length)}…` : text;
}

/** Seconds as 1:05, or 2:00:00. */
export function clock(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function timeOfDay(date) {
  return date.toLocaleTimeString("en-GB");
}
