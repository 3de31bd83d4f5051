// A SPA on oauth4webapi, unmodified: the library makes and checks the messages, the page keeps the tokens and its key.
'use strict';

spa.start(async (config) => {
  const oauth = await import('/sdk.js');
  const key = (name) => `spa.${config.clientID}.${name}`;
  const read = (name) => JSON.parse(window.localStorage.getItem(key(name)));
  const write = (name, value) => window.localStorage.setItem(key(name), JSON.stringify(value));
  const insecure = { [oauth.allowInsecureRequests]: true };
  const issuer = new URL(config.issuer);
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
  const client = { client_id: config.clientID };
  const redirect = `${window.location.origin}/callback`;
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };

  // The key outlives a reload; an app keeps it in IndexedDB, where it need not be extractable.
  async function keys() {
    const kept = read('key');
    if (kept) {
      return {
        privateKey: await crypto.subtle.importKey('jwk', kept.privateKey, algorithm, false, ['sign']),
        publicKey: await crypto.subtle.importKey('jwk', kept.publicKey, algorithm, true, ['verify']),
      };
    }
    const made = await oauth.generateKeyPair('ES256', { extractable: true });
    write('key', {
      privateKey: await crypto.subtle.exportKey('jwk', made.privateKey), publicKey: await crypto.subtle.exportKey('jwk', made.publicKey),
    });
    return made;
  }
  const pair = await keys();
  const DPoP = oauth.DPoP(client, pair);
  const options = { DPoP, ...insecure };

  // again repeats a request once where the server asks for a nonce; the handle has taken it from the first answer.
  async function again(request, process) {
    try {
      return await process(await request());
    } catch (err) {
      if (!oauth.isDPoPNonceError(err)) throw err;
      return process(await request());
    }
  }

  spa.login = async () => {
    const [verifier, state, nonce] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState(), oauth.generateRandomNonce()];
    write('login', { verifier, state, nonce });
    window.location.assign(`${as.authorization_endpoint}?${new URLSearchParams({
      client_id: config.clientID, redirect_uri: redirect, response_type: 'code', scope: 'openid profile online_access',
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', state, nonce,
    })}`);
  };
  spa.callback = async () => {
    const { verifier, state, nonce } = read('login');
    const callback = oauth.validateAuthResponse(as, client, new URL(window.location.href), state);
    const tokens = await again(
      () => oauth.authorizationCodeGrantRequest(as, client, oauth.None(), callback, redirect, verifier, options),
      (response) => oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: nonce, requireIdToken: true }),
    );
    write('tokens', { ...tokens, sub: oauth.getValidatedIdTokenClaims(tokens).sub });
  };
  spa.exchange = async () => (await again(
    () => oauth.refreshTokenGrantRequest(as, client, oauth.None(), read('tokens').refresh_token, options),
    (response) => oauth.processRefreshTokenResponse(as, client, response),
  )).access_token;
  spa.user = async () => read('tokens').sub;
  spa.idToken = async () => read('tokens').id_token;
  spa.ort = async () => read('tokens').refresh_token;
  spa.revoke = async () => oauth.processRevocationResponse(
    await oauth.revocationRequest(as, client, oauth.None(), read('tokens').refresh_token, insecure),
  );
  const leaving = { client_id: config.clientID, post_logout_redirect_uri: `${window.location.origin}/bye` };
  const leave = (parameters) => window.location.assign(`${as.end_session_endpoint}?${new URLSearchParams(parameters)}`);
  spa.logout = async () => leave(leaving);
  spa.logoutWithHint = async () => leave({ ...leaving, id_token_hint: await spa.idToken() });
  spa.logoutByPost = async () => {
    const form = Object.assign(document.createElement('form'), { method: 'post', action: as.end_session_endpoint });
    for (const [name, value] of Object.entries({ ...leaving, id_token_hint: await spa.idToken() })) {
      form.append(Object.assign(document.createElement('input'), { type: 'hidden', name, value }));
    }
    document.body.append(form);
    form.submit();
  };
  // The library makes proofs for its own requests alone; those for the gateway's session endpoint are the page's.
  spa.proof = async (url, method, nonce, accessToken) => {
    const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    const text = (value) => encode(new TextEncoder().encode(JSON.stringify(value)));
    const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey);
    const input = `${text({ typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } })}.${text({
      jti: crypto.randomUUID(), htm: method, htu: url, iat: Math.floor(Date.now() / 1000), nonce,
      ath: encode(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(accessToken))),
    })}`;
    return `${input}.${encode(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, pair.privateKey, new TextEncoder().encode(input)))}`;
  };
});
