// A client on oauth4webapi, which checks what it gets as the specifications say: discovery, PAR with dpop_jkt, the code
// exchange with a DPoP nonce, refreshes, revocation. It prints what it saw as one JSON line; any fault ends it with 1.
//
//   node oauth4webapi.mjs '{"issuer":…,"clientID":…,"redirectURI":…,"user":…,"par":true,"jkt":true}'
import * as oauth from 'oauth4webapi';

const config = JSON.parse(process.argv[2]);
const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(config.issuer);
const seen = { nonceErrors: 0, forms: 0, exchanges: 0 };

// The browser: cookies by name (one host), redirects by hand.
const cookies = new Map();
async function visit(url, options = {}) {
  const response = await fetch(url, {
    ...options, redirect: 'manual',
    headers: { ...options.headers, cookie: [...cookies].map(([k, v]) => `${k}=${v}`).join('; ') },
  });
  for (const line of response.headers.getSetCookie()) {
    const [pair] = line.split(';');
    const at = pair.indexOf('=');
    cookies.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return response;
}

async function walk(start) {
  let url = start;
  let options = {};
  for (let pages = 0; pages < 20; pages += 1) {
    const response = await visit(url, options);
    options = {};
    const location = response.headers.get('location');
    if (location) {
      url = new URL(location, url);
      if (url.href.startsWith(config.redirectURI)) return url;
      continue;
    }
    const page = await response.text();
    const action = /<form[^>]*action="([^"]+)"/.exec(page)?.[1];
    if (!action) throw new Error(`${response.status} at ${url}: ${page.slice(0, 300)}`);
    seen.forms += 1;
    url = new URL(action, url);
    options = {
      method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ login: config.user, password: `${config.user}-pass` }).toString(),
    };
  }
  throw new Error('too many pages');
}

const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
const client = { client_id: config.clientID };
const authentication = config.secret ? oauth.ClientSecretBasic(config.secret) : oauth.None();
const keys = await oauth.generateKeyPair('ES256', { extractable: true });
const DPoP = oauth.DPoP(client, keys);
const options = { DPoP, ...insecure };

// again repeats a request once where the server asks for a nonce; the handle has taken it from the first answer.
async function again(request, process) {
  try {
    return await process(await request());
  } catch (err) {
    if (!oauth.isDPoPNonceError(err)) throw err;
    seen.nonceErrors += 1;
    return process(await request());
  }
}

const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const nonce = oauth.generateRandomNonce();
let parameters = new URLSearchParams({
  client_id: config.clientID, redirect_uri: config.redirectURI, response_type: 'code', scope: 'openid profile online_access',
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', state, nonce,
});
if (config.jkt) parameters.set('dpop_jkt', await DPoP.calculateThumbprint());
if (config.par) {
  const pushed = await again(
    () => oauth.pushedAuthorizationRequest(as, client, authentication, parameters, config.parProof ? options : insecure),
    (response) => oauth.processPushedAuthorizationResponse(as, client, response),
  );
  parameters = new URLSearchParams({ client_id: config.clientID, request_uri: pushed.request_uri });
}
const callback = oauth.validateAuthResponse(as, client, await walk(new URL(`${as.authorization_endpoint}?${parameters}`)), state);
const tokens = await again(
  () => oauth.authorizationCodeGrantRequest(as, client, authentication, callback, config.redirectURI, verifier, options),
  (response) => oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: nonce, requireIdToken: true }),
);
if (!tokens.refresh_token?.startsWith('ORT1.')) throw new Error(`no ORT: ${Object.keys(tokens)}`);
const sub = oauth.getValidatedIdTokenClaims(tokens)?.sub;
if (sub !== config.user) throw new Error(`sub ${sub}`);

const refresh = () => again(
  () => oauth.refreshTokenGrantRequest(as, client, authentication, tokens.refresh_token, options),
  (response) => oauth.processRefreshTokenResponse(as, client, response),
);
for (let i = 0; i < 5; i += 1) {
  const got = await refresh();
  if (got.refresh_token !== undefined || !got.access_token || typeof got.session_idle_expires_in !== 'number') {
    throw new Error(`exchange: ${Object.keys(got)}`);
  }
  seen.exchanges += 1;
}
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, authentication, tokens.refresh_token, insecure));
try {
  await refresh();
  throw new Error('the ORT works after its revocation');
} catch (err) {
  if (err.error !== 'invalid_grant') throw err;
  seen.error = err.error;
}
console.log(JSON.stringify(seen));
