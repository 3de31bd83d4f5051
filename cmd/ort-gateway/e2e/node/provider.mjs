// The foreign OpenID Provider of the end-to-end tests: panva's oidc-provider behind the gateway's public origin.
//
//   node provider.mjs '{"issuer":"http://127.0.0.1:18080", …}'
//
// It prints one JSON line {"port":…,"hooks":…} when it listens, and ends when its standard input ends, so it never
// outlives the test that started it. Settings are the fields of `defaults`. The second port is for the test alone: it
// tells what the provider saw and issued, and makes the next answers err.
import { createServer } from 'node:http';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

import { Memory, memoryAdapter } from './memory.mjs';

const defaults = {
  issuer: '', // the gateway's public origin, perhaps with a path or a trailing slash
  clients: [], // client metadata; `origins` (not standard) lists the origins that CORS allows
  routes: 'default', // 'default', or 'auth0': the paths that Auth0's SDKs call
  dpop: false, // the provider binds tokens itself
  dpopNonces: false, // … and asks for nonces of its own
  post: false, // authorization requests by POST; browsers then want https, for SameSite=None
  par: true,
  refresh: 'offline_access', // a refresh token is issued for this scope (with consent), or 'always'
  reuse: 'revoke', // a refresh token used twice ends the whole grant; 'unacknowledged': not while its successor is unused
  pairwise: false, // each client knows a user by another sub
  resources: ['https://one.api.test', 'https://two.api.test'],
  resourceScope: 'read write', // what their access tokens can have
};

const auth0Routes = {
  authorization: '/authorize',
  token: '/oauth/token',
  revocation: '/oauth/revoke',
  end_session: '/v2/logout',
  jwks: '/.well-known/jwks.json',
  userinfo: '/userinfo',
  pushed_authorization_request: '/oauth/par',
  device_authorization: '/oauth/device/code',
};

const users = { alice: 'alice-pass', bob: 'bob-pass' };

const config = { ...defaults, ...JSON.parse(process.argv[2] ?? '{}') };
const memory = new Memory(config.reuse);

// What the test may look at.
const seen = {
  tokenCalls: 0, // requests at the token endpoint, those answered by a fault too
  exchanges: [], // successful answers of the token endpoint, in order
  refused: [], // error codes of the token endpoint, in order
  refreshTokens: [], // every refresh token that was ever issued
  accessTokens: [],
  codes: [],
  loginForms: 0, // how often a login form was shown
  revokedGrants: 0,
  revocations: 0, // requests at the revocation endpoint
  leaks: [], // where something of the gateway's own reached the provider
};
const faults = [];

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signingKey = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'e2e' };

function findAccount(_ctx, id) {
  if (!(id in users)) return undefined;
  return { accountId: id, claims: async () => ({ sub: id, name: id, email: `${id}@users.test`, email_verified: true }) };
}

// Everything that was asked for is granted without a consent page.
async function loadExistingGrant(ctx) {
  const { session, client, provider: op, result } = ctx.oidc;
  const id = result?.consent?.grantId ?? session.grantIdFor(client.clientId);
  const grant = (id && await op.Grant.find(id)) || new op.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope('openid profile email offline_access');
  grant.addOIDCClaims(['sub', 'name', 'email', 'email_verified']);
  for (const resource of config.resources) grant.addResourceScope(resource, config.resourceScope);
  await grant.save();
  return grant;
}

const provider = new Provider(config.issuer, {
  adapter: memoryAdapter(memory),
  clients: config.clients.map(({ origins: _, ...metadata }) => ({ ...metadata, subject_type: config.pairwise ? 'pairwise' : 'public' })),
  subjectTypes: config.pairwise ? ['public', 'pairwise'] : ['public'],
  pairwiseIdentifier: (_ctx, accountId, client) => createHash('sha256').update(`${client.clientId} ${accountId}`).digest('hex'),
  jwks: { keys: [signingKey] },
  cookies: {
    keys: [randomBytes(16).toString('hex')],
    long: { httpOnly: true, signed: true, sameSite: config.post ? 'none' : 'lax' },
  },
  enableHttpPostMethods: config.post,
  // By default it calls no back channel at a loopback or private address, as the gateway's is here.
  fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
  findAccount,
  loadExistingGrant,
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  clientBasedCORS: (_ctx, origin, client) => !!config.clients.find((c) => c.client_id === client.clientId)?.origins?.includes(origin),
  pkce: { required: () => false },
  rotateRefreshToken: true,
  issueRefreshToken: async (_ctx, client, code) => client.grantTypeAllowed('refresh_token')
    && (config.refresh === 'always' || code.scopes.has('offline_access')),
  routes: config.routes === 'auth0' ? auth0Routes : {},
  ttl: { AccessToken: 300, AuthorizationCode: 120, IdToken: 300, Interaction: 600, Grant: 86400, Session: 86400, RefreshToken: 86400 },
  features: {
    devInteractions: { enabled: false },
    dPoP: { enabled: config.dpop, nonceSecret: config.dpopNonces ? randomBytes(32) : undefined, requireNonce: () => config.dpopNonces },
    pushedAuthorizationRequests: { enabled: config.par },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => false,
      getResourceServerInfo: (_ctx, resource) => ({ audience: resource, scope: config.resourceScope, accessTokenFormat: 'jwt', accessTokenTTL: 300 }),
    },
  },
});
provider.proxy = true; // X-Forwarded-* of the gateway

provider.use(async (ctx, next) => {
  await next();
  const text = JSON.stringify([ctx.oidc?.body ?? null, ctx.querystring, ctx.headers]);
  if (text.includes('ORT1.')) seen.leaks.push(`ORT at ${ctx.method} ${ctx.path}`);
  if (/(^|[;\s"])(__Host-)?ort=/.test(ctx.headers.cookie ?? '')) seen.leaks.push(`browser cookie at ${ctx.method} ${ctx.path}`);
  // A request object cannot be rewritten: such a request is forwarded as it is.
  const object = /[?&]request(_uri)?=/.test(ctx.url);
  if (text.includes('online_access') && !object) seen.leaks.push(`online_access at ${ctx.method} ${ctx.path}`);
});
provider.on('grant.success', (ctx) => {
  const { params } = ctx.oidc;
  const { body } = ctx;
  seen.exchanges.push({
    grantType: params.grant_type, clientID: ctx.oidc.client.clientId, presented: params.refresh_token ?? '',
    refreshToken: body.refresh_token ?? '', accessToken: body.access_token ?? '', scope: body.scope ?? '',
    resource: params.resource ?? '', tokenType: body.token_type, dpop: ctx.get('DPoP') !== '',
  });
});
provider.on('grant.error', (ctx, err) => {
  seen.refused.push(`${err.error}: ${err.error_description ?? ''}${err.error_detail ? ` (${err.error_detail})` : ''}`);
});
provider.on('refresh_token.saved', (token) => seen.refreshTokens.push(token.jti));
provider.on('access_token.saved', (token) => seen.accessTokens.push(token.jti));
provider.on('authorization_code.saved', (token) => seen.codes.push(token.jti));
provider.on('grant.revoked', () => { seen.revokedGrants += 1; });
provider.on('server_error', (_ctx, err) => console.error(err));

const paths = config.routes === 'auth0'
  ? { token: '/oauth/token', revocation: '/oauth/revoke' }
  : { token: '/token', revocation: '/token/revocation' };

// takeFault finds the first fault that waits for this endpoint and uses it up.
function takeFault(endpoint) {
  const i = faults.findIndex((f) => (f.endpoint ?? 'token') === endpoint);
  if (i < 0) return undefined;
  const fault = faults[i];
  if (fault.count > 1) fault.count -= 1; else faults.splice(i, 1);
  return fault;
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// withFault serves one request as the fault says:
//   error   nothing is done, `status` and `body` are the answer
//   late    the request is handled `ms` later
//   slow    it is handled at once, its answer leaves `ms` later
//   lost    it is handled at once, the connection breaks in place of the answer
async function withFault(fault, req, res, serve) {
  switch (fault.kind) {
    case 'error':
      res.writeHead(fault.status ?? 503, { 'Content-Type': fault.type ?? 'application/json' });
      res.end(typeof fault.body === 'string' ? fault.body : JSON.stringify(fault.body ?? { error: 'server_error' }));
      return;
    case 'late':
      await pause(fault.ms);
      break;
    case 'slow': {
      const end = res.end.bind(res);
      res.end = (...args) => { setTimeout(() => end(...args), fault.ms); return res; };
      break;
    }
    case 'lost':
      res.end = () => { req.socket.destroy(); return res; };
      break;
    default:
      throw new Error(`unknown fault ${fault.kind}`);
  }
  serve(req, res);
}

async function readBody(req) {
  const parts = [];
  for await (const part of req) parts.push(part);
  return Buffer.concat(parts).toString();
}

const loginForm = (uid, fault) => `<!DOCTYPE html><title>Login</title><form method="post" action="/interaction/${uid}">
${fault}<input id="login" name="login"><input id="password" name="password" type="password"><button id="submit">Sign in</button></form>`;

async function interact(req, res) {
  const { uid, prompt } = await provider.interactionDetails(req, res);
  if (prompt.name === 'consent') {
    await provider.interactionFinished(req, res, { consent: {} }, { mergeWithLastSubmission: true });
    return;
  }
  let fault = '';
  if (req.method === 'POST') {
    const form = new URLSearchParams(await readBody(req));
    const login = form.get('login');
    if (login in users && users[login] === form.get('password')) {
      await provider.interactionFinished(req, res, { login: { accountId: login } }, { mergeWithLastSubmission: false });
      return;
    }
    fault = '<p>Wrong name or password</p>';
  }
  seen.loginForms += 1;
  res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' });
  res.end(loginForm(uid, fault));
}

const serve = provider.callback();
const server = createServer((req, res) => {
  const { pathname } = new URL(req.url, 'http://provider');
  if (pathname.startsWith('/interaction/')) {
    interact(req, res).catch((err) => { res.writeHead(400, { 'Content-Type': 'text/plain' }); res.end(String(err)); });
    return;
  }
  const endpoint = Object.keys(paths).find((name) => paths[name] === pathname) ?? pathname;
  if (req.method === 'POST' && endpoint === 'token') seen.tokenCalls += 1;
  if (req.method === 'POST' && endpoint === 'revocation') seen.revocations += 1;
  const fault = req.method === 'POST' ? takeFault(endpoint) : undefined;
  if (fault) withFault(fault, req, res, serve); else serve(req, res);
});
server.keepAliveTimeout = 30_000;

// logOut ends logins as an administrator would, and calls the back channel of each client (Back-Channel Logout 1.0): with
// sid the login that some client knows by it, each client by its own; without, every login of the user, by sub alone.
async function logOut({ sub, sid }) {
  let calls = 0;
  for (const { key, payload } of memory.sessions(sub)) {
    const known = Object.entries(payload.authorizations ?? {});
    if (sid && !known.some(([, authorization]) => authorization.sid === sid)) continue;
    memory.remove(key);
    for (const [id, authorization] of known) {
      const client = await provider.Client.find(id);
      await client.backchannelLogout(sub, sid ? authorization.sid : undefined);
      calls += 1;
    }
  }
  return { calls };
}

// The hooks: GET /seen, POST /faults (a list of faults), DELETE /faults, POST /end-sessions {"sub":…},
// POST /log-out {"sub":…,"sid":…}, POST /alive {"sub":…}.
const hooks = createServer(async (req, res) => {
  let answer = {};
  switch (`${req.method} ${req.url}`) {
    case 'GET /seen': answer = seen; break;
    case 'POST /faults': faults.push(...JSON.parse(await readBody(req))); break;
    case 'DELETE /faults': faults.length = 0; break;
    case 'POST /end-sessions': answer = { ended: memory.endSessions(JSON.parse(await readBody(req)).sub) }; break;
    case 'POST /alive': answer = memory.alive(JSON.parse(await readBody(req)).sub); break;
    case 'POST /log-out': answer = await logOut(JSON.parse(await readBody(req))); break;
    default: res.statusCode = 404;
  }
  res.setHeader('Content-Type', 'application/json');
  res.end(JSON.stringify(answer));
});

const listen = (s) => new Promise((resolve) => { s.listen(0, '127.0.0.1', () => resolve(s.address().port)); });
const ports = { port: await listen(server), hooks: await listen(hooks) };
console.log(JSON.stringify(ports));

process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
