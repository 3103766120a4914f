/**
 * An attack by somebody with access to the disk: it changes a record directly in IndexedDB. A record is two byte arrays there, the header and
 * the body of its package.
 */
import { DATABASE } from './vault.js';

interface Stored {
  head: Uint8Array<ArrayBuffer>;
  body: Uint8Array<ArrayBuffer> | ArrayBuffer;
}

/** Flips one bit in the middle of the sealed value, and returns a function that restores it. */
export async function flipOneBit(store: string, name: string): Promise<() => Promise<void>> {
  const key = [store, name];
  const before = await swap(key, (stored) => {
    const body = new Uint8Array(
      stored.body instanceof Uint8Array ? stored.body.slice() : stored.body.slice(0),
    );
    const at = body.length >> 1;
    body[at] = (body[at] ?? 0) ^ 1;
    return { ...stored, body };
  });
  return async () => void (await swap(key, () => before));
}

/** Replaces a record, and returns the former one when the change is committed. */
async function swap(key: string[], change: (stored: Stored) => Stored): Promise<Stored> {
  const database = await opened(indexedDB.open(DATABASE));
  try {
    const transaction = database.transaction('records', 'readwrite');
    const records = transaction.objectStore('records');
    const reading: IDBRequest<Stored> = records.get(key);
    reading.onsuccess = () => records.put(change(reading.result), key);
    await committed(transaction);
    return reading.result;
  } finally {
    database.close();
  }
}

function opened(request: IDBOpenDBRequest): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB failed'));
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error('IndexedDB failed'));
  });
}
