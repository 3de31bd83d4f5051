// A SPA on Auth0's SDK, unmodified, in online mode.
'use strict';

spa.start(async (config) => {
  const options = {
    domain: config.domain,
    issuer: config.issuer || undefined,
    clientId: config.clientID,
    useRefreshTokens: true,
    refreshTokenMode: 'online',
    useDpop: true,
    cacheLocation: config.cache,
    useFormData: !config.json,
    useMrrt: !!config.audience,
    authorizationParams: {
      redirect_uri: `${window.location.origin}/callback`,
      audience: config.audience || undefined,
    },
  };
  const client = new auth0.Auth0Client(options);
  spa.login = () => client.loginWithRedirect({ authorizationParams: { resource: config.resource || undefined } });
  spa.callback = () => client.handleRedirectCallback();
  spa.exchange = async () => (await client.getTokenSilently({ cacheMode: 'off', detailedResponse: true })).access_token;
  // The audience of an access token that was asked for another API.
  spa.exchangeFor = async (audience) => {
    const token = await client.getTokenSilently({ cacheMode: 'off', authorizationParams: { audience } });
    return JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).aud;
  };
  spa.user = async () => (await client.getUser())?.sub;
  spa.idToken = async () => (await client.getIdTokenClaims()).__raw;
  // What the SDK falls back to where an app has switched that on: a hidden frame.
  spa.fallback = () => new auth0.Auth0Client({ ...options, useRefreshTokensFallback: true }).getTokenSilently({ cacheMode: 'off' });
  spa.revoke = () => client.revokeRefreshToken();
  spa.ort = async () => {
    for (const key of Object.keys(window.localStorage)) {
      const token = JSON.parse(window.localStorage.getItem(key))?.body?.refresh_token;
      if (token) return token;
    }
    return undefined; // in memory it is the worker's alone
  };
  spa.popup = async (popup) => {
    await client.loginWithPopup({}, { popup });
    return (await client.getUser())?.sub;
  };
  // Without refresh tokens the SDK renews by a hidden frame.
  spa.frame = () => new auth0.Auth0Client({
    domain: config.domain, issuer: config.issuer || undefined, clientId: config.clientID, cacheLocation: 'memory',
    authorizationParams: { redirect_uri: `${window.location.origin}/callback` },
  }).getTokenSilently({ cacheMode: 'off' });
  spa.logout = () => client.logout({ logoutParams: { returnTo: `${window.location.origin}/bye` } });
  spa.proof = (url, method, nonce, accessToken) => client.generateDpopProof({ url, method, nonce, accessToken });
});
