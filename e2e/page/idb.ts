/** Raw access to a database of the package, as another script of the page's origin has it. */

/** A record as stored in IndexedDB. Tests may store anything there. */
export interface RawRecord {
  head: Uint8Array<ArrayBuffer>;
  body: ArrayBuffer | Uint8Array<ArrayBuffer>;
}

const done = <T>(request: IDBRequest<T>) =>
  new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const connections = new Map<string, Promise<IDBDatabase>>();

function connect(database: string): Promise<IDBDatabase> {
  const connection = connections.get(database) ?? done(indexedDB.open(database));
  connections.set(database, connection);
  return connection;
}

async function write(
  database: string,
  store: string,
  issue: (store: IDBObjectStore) => void,
): Promise<void> {
  const tx = (await connect(database)).transaction(store, 'readwrite');
  issue(tx.objectStore(store));
  await new Promise((resolve, reject) =>
    Object.assign(tx, { oncomplete: resolve, onabort: () => reject(tx.error) }),
  );
}

const put = (database: string, store: string, key: IDBValidKey, value: unknown) =>
  write(database, store, (s) => s.put(value, key));

async function get(database: string, store: string, key: IDBValidKey): Promise<unknown> {
  return done((await connect(database)).transaction(store).objectStore(store).get(key));
}

export const putRecord = (database: string, store: string, name: string, record: unknown) =>
  put(database, 'records', [store, name], record);

export const getRecord = async (database: string, store: string, name: string) =>
  (await get(database, 'records', [store, name])) as RawRecord;

export const putDocument = (database: string, document: unknown) =>
  put(database, 'vault', 'document', document);

export const deleteDocument = (database: string) =>
  write(database, 'vault', (s) => s.delete('document'));

export const getDocument = async (database: string) =>
  (await get(database, 'vault', 'document')) as Uint8Array<ArrayBuffer>;

/** Splits bytes as a writer splits a package: after the header, the nonce and the tag of a public value. */
export function splitRecord(bytes: Uint8Array<ArrayBuffer>): RawRecord {
  const n = 80 + (((bytes[78] ?? 0) << 8) | (bytes[79] ?? 0)) + (bytes[4] === 2 ? 28 : 12);
  return { head: bytes.slice(0, n), body: bytes.slice(n).buffer };
}
