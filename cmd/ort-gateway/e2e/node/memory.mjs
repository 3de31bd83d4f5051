// The provider's storage: everything in memory, nothing pushed out (the library's own forgets after 1,000 entries).

// What ends with its grant.
const ofGrants = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken', 'DeviceCode', 'BackchannelAuthenticationRequest']);

const now = () => Math.floor(Date.now() / 1000);

export class Memory {
  #entries = new Map(); // "Model:id" → { payload, expires }
  #byGrant = new Map(); // grant id → set of keys
  #waiting = new Map(); // grant id → refresh tokens that were used, their successor not yet

  constructor(reuse) {
    this.reuse = reuse;
  }

  set(key, payload, expiresIn) {
    this.#entries.set(key, { payload, expires: expiresIn ? now() + expiresIn : Infinity });
    if (payload.grantId && ofGrants.has(key.slice(0, key.indexOf(':')))) {
      if (!this.#byGrant.has(payload.grantId)) this.#byGrant.set(payload.grantId, new Set());
      this.#byGrant.get(payload.grantId).add(key);
    }
  }

  get(key) {
    const entry = this.#entries.get(key);
    return entry && entry.expires > now() ? entry.payload : undefined;
  }

  find(model, test) {
    for (const [key, { payload }] of this.#entries) {
      if (key.startsWith(`${model}:`) && test(payload)) return this.get(key);
    }
    return undefined;
  }

  remove(key) {
    this.#entries.delete(key);
  }

  removeGrant(grantId) {
    for (const key of this.#byGrant.get(grantId) ?? []) this.remove(key);
    this.#byGrant.delete(grantId);
  }

  // consume marks a one-time value as used. With reuse 'unacknowledged' a refresh token that was used counts as unused
  // until another one of its grant is used: a client that never got the answer may ask again.
  consume(model, key) {
    const payload = this.get(key);
    if (!payload) return;
    if (model !== 'RefreshToken' || this.reuse !== 'unacknowledged') {
      payload.consumed = now();
      return;
    }
    const waiting = this.#waiting.get(payload.grantId) ?? new Set();
    for (const other of waiting) {
      const predecessor = other === key ? undefined : this.get(other);
      if (predecessor) predecessor.consumed = now();
    }
    this.#waiting.set(payload.grantId, new Set([key]));
  }

  // sessions lists the provider's logins of one user, with their keys.
  sessions(sub) {
    return [...this.#entries].filter(([key, { payload }]) => key.startsWith('Session:') && payload.accountId === sub)
      .map(([key, { payload }]) => ({ key, payload }));
  }

  // alive counts a user's logins, and his refresh tokens that can still be used.
  alive(sub) {
    const tokens = [...this.#entries].filter(([key, { payload, expires }]) => key.startsWith('RefreshToken:')
      && payload.accountId === sub && !payload.consumed && expires > now());
    return { logins: this.sessions(sub).length, refreshTokens: tokens.length };
  }

  // endSessions ends the provider's logins of one user (of all without a name).
  endSessions(sub) {
    let ended = 0;
    for (const [key, { payload }] of this.#entries) {
      if (key.startsWith('Session:') && payload.accountId && (!sub || payload.accountId === sub)) {
        this.remove(key);
        ended += 1;
      }
    }
    return ended;
  }
}

export function memoryAdapter(memory) {
  return class Adapter {
    constructor(model) {
      this.model = model;
    }

    key(id) {
      return `${this.model}:${id}`;
    }

    async upsert(id, payload, expiresIn) {
      memory.set(this.key(id), payload, expiresIn);
    }

    async find(id) {
      return memory.get(this.key(id));
    }

    async findByUid(uid) {
      return memory.find(this.model, (payload) => payload.uid === uid);
    }

    async findByUserCode(userCode) {
      return memory.find(this.model, (payload) => payload.userCode === userCode);
    }

    async consume(id) {
      memory.consume(this.model, this.key(id));
    }

    async destroy(id) {
      memory.remove(this.key(id));
    }

    async revokeByGrantId(grantId) {
      memory.removeGrant(grantId);
    }
  };
}
