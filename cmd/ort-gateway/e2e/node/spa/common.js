// What both SPAs do beside their SDK: ask the gateway's session endpoint and read its events, by fetch from the page.
// The app fills in spa.ort() → the ORT, and spa.proof(url, method, nonce, token) → a DPoP proof.
'use strict';

const spa = { events: [], config: null };

// sessionRequest repeats the request once where a DPoP nonce is asked for.
async function sessionRequest(path) {
  const url = spa.config.origin + path;
  const ort = await spa.ort();
  let nonce;
  for (let attempt = 0; ; attempt += 1) {
    const response = await fetch(url, {
      headers: { Authorization: `DPoP ${ort}`, DPoP: await spa.proof(url, 'GET', nonce, ort) },
    });
    if (response.status !== 401 || attempt > 0) return response;
    nonce = response.headers.get('DPoP-Nonce');
    if (!nonce) throw new Error(`401 without a readable DPoP-Nonce: ${response.headers.get('WWW-Authenticate')}`);
    if (!response.headers.get('WWW-Authenticate')) throw new Error('401 without a readable WWW-Authenticate');
  }
}

spa.session = async () => {
  const response = await sessionRequest('/_ort/session');
  return { status: response.status, ...(await response.json()) };
};

// watch reads the events into spa.events in the background.
spa.watch = async () => {
  const response = await sessionRequest('/_ort/session/events');
  if (response.status !== 200) throw new Error(`events: ${response.status}`);
  const type = response.headers.get('Content-Type') ?? '';
  if (!type.startsWith('text/event-stream')) throw new Error(`events: ${type}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  (async () => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) { spa.events.push({ name: 'closed' }); return; }
      text += value;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const lines = text.slice(0, end).split('\n');
        text = text.slice(end + 2);
        const field = (name) => lines.filter((l) => l.startsWith(`${name}:`)).map((l) => l.slice(name.length + 1).trim()).join('\n');
        if (field('event')) spa.events.push({ name: field('event'), data: field('data') });
      }
    }
  })().catch((err) => spa.events.push({ name: 'broken', data: String(err) }));
  return true;
};

spa.event = async (name, ms) => {
  for (const end = Date.now() + ms; Date.now() < end;) {
    const found = spa.events.find((e) => e.name === name);
    if (found) return found;
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
  throw new Error(`no event ${name} within ${ms} ms; came: ${JSON.stringify(spa.events)}`);
};

// several makes n exchanges one after another and returns the access tokens.
spa.several = async (n) => {
  const tokens = [];
  for (let i = 0; i < n; i += 1) tokens.push(await spa.exchange());
  return tokens;
};

spa.refused = async () => {
  try {
    await spa.exchange();
  } catch (err) {
    return { error: err.error ?? err.name, description: err.error_description ?? err.message };
  }
  throw new Error('the exchange succeeded');
};

spa.start = async (callback) => {
  const state = document.getElementById('state');
  try {
    spa.config = await (await fetch('/config.json')).json();
    await callback(spa.config);
    if (new URLSearchParams(window.location.search).has('code')) {
      await spa.callback();
      window.history.replaceState({}, '', '/');
    }
    state.textContent = 'ready';
  } catch (err) {
    state.textContent = `failed: ${err.stack ?? err} ${window.location.search}`;
  }
};
