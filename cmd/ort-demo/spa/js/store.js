// What must outlive a page load: one key pair and one online refresh token.
//
// IndexedDB can keep a CryptoKey without its bytes ever being visible to a script. localStorage cannot: a key that is
// kept there is a string, and a string can be stolen.

const NAME = "online-session";
const STORE = "values";

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function transact(mode, act) {
  const db = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = db.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    db.close();
  }
}

export const get = (name) => transact("readonly", (store) => store.get(name));
export const put = (name, value) => transact("readwrite", (store) => store.put(value, name));
export const remove = (name) => transact("readwrite", (store) => store.delete(name));
