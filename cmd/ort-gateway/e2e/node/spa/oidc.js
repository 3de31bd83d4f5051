// A SPA on oidc-client-ts, unmodified, with DPoP.
'use strict';

spa.start(async (config) => {
  const manager = new oidc.UserManager({
    authority: config.issuer,
    client_id: config.clientID,
    redirect_uri: `${window.location.origin}/callback`,
    post_logout_redirect_uri: `${window.location.origin}/bye`,
    scope: 'openid profile online_access',
    dpop: { store: new oidc.IndexedDbDPoPStore(), bind_authorization_code: config.bindCode },
    userStore: new oidc.WebStorageStateStore({ store: config.cache === 'localstorage' ? window.localStorage : window.sessionStorage }),
    automaticSilentRenew: false,
    monitorSession: false,
  });
  spa.login = () => manager.signinRedirect();
  spa.callback = () => manager.signinRedirectCallback();
  spa.exchange = async () => (await manager.signinSilent()).access_token;
  spa.user = async () => (await manager.getUser())?.profile.sub;
  spa.idToken = async () => (await manager.getUser()).id_token;
  // The SDK sends its user's ID token as the hint; an app that has removed its user sends none.
  spa.logoutWithHint = () => manager.signoutRedirect();
  spa.logout = async () => {
    await manager.removeUser();
    await manager.signoutRedirect({ client_id: config.clientID });
  };
  spa.revoke = () => manager.revokeTokens(['refresh_token']);
  spa.ort = async () => (await manager.getUser()).refresh_token;
  spa.proof = async (url, method, nonce, accessToken) => manager.dpopProof(url, { ...(await manager.getUser()), access_token: accessToken }, method, nonce);
});
