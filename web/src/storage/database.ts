import { type Bytes, equal } from '../core/bytes.js';
import { errorOf, storageError } from '../core/errors.js';

/** The object store of all records. Keys are [store name, record name], so a new store needs no schema upgrade. */
export const RECORDS = 'records';
const VAULT = 'vault';
const STORES = [RECORDS, VAULT];
const DOCUMENT = 'document';
/** The time in milliseconds after which a database that does not open is reported as blocked. */
const OPEN_TIMEOUT = 10_000;

/** A database with its connection, which is reopened after it was lost, and its keyset document. */
export class Database {
  readonly name: string;
  #connection: Promise<IDBDatabase> | undefined;
  #live: IDBDatabase | undefined;
  /** The document whose keys are in use. If the database holds another one, it was deleted or replaced. */
  #document: Bytes | undefined;

  constructor(name: string) {
    this.name = name;
  }

  /** The open connection, if there is one. Callers need not await it. */
  get live(): IDBDatabase | undefined {
    return this.#live;
  }

  /** Opens the connection, or returns the open one. Rejects with a StorageError. */
  connect(): Promise<IDBDatabase> {
    this.#connection ??= this.#open().catch((error: unknown) => {
      this.#connection = undefined;
      throw storageError(error);
    });
    return this.#connection;
  }

  async #open(): Promise<IDBDatabase> {
    if (!globalThis.indexedDB) throw errorOf('indexeddb_unavailable');
    const connection = await this.#request();
    try {
      await this.#verify(connection);
    } catch (error) {
      connection.close();
      throw error;
    }
    this.#live = connection;
    return connection;
  }

  #request(): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
      const opening = indexedDB.open(this.name, 1);
      opening.onupgradeneeded = () => {
        if (this.#document) return opening.transaction?.abort(); // the database was deleted: do not replace it with an empty one
        for (const store of STORES) opening.result.createObjectStore(store);
      };
      // The request waits without an event while another tab blocks a deletion.
      const blocked = () => {
        opening.onsuccess = () => opening.result.close();
        reject(errorOf('database_blocked'));
      };
      const timer = setTimeout(blocked, OPEN_TIMEOUT);
      opening.onblocked = blocked;
      // Private windows of Firefox reject with an InvalidStateError.
      opening.onerror = () => {
        const { error } = opening;
        reject(
          error?.name === 'InvalidStateError'
            ? errorOf('indexeddb_unavailable', undefined, error)
            : error,
        );
      };
      opening.onsuccess = () => {
        clearTimeout(timer);
        const connection = opening.result;
        // Another tab deletes or upgrades the database and must not wait for this connection.
        connection.onclose = connection.onversionchange = () => this.disconnect(connection);
        resolve(connection);
      };
    });
  }

  async #verify(connection: IDBDatabase): Promise<void> {
    connection.transaction(STORES); // throws if other software made the database
    if (this.#document) requireDocument(await fetchDocument(connection), this.#document);
  }

  /** Closes a connection. The next operation opens another. */
  disconnect(connection = this.#live): void {
    connection?.close();
    if (connection !== this.#live) return;
    this.#live = undefined;
    this.#connection = undefined;
  }

  /** Reads the stored keyset document, if there is one. */
  async readDocument(): Promise<Bytes | undefined> {
    return fetchDocument(await this.connect());
  }

  /** Stores a new document unless another tab stored one before. Returns the stored document. */
  adopt(document: Bytes): Promise<Bytes> {
    return this.#change((found) => found ?? document);
  }

  /** Replaces the stored document with the host's newer one. Rejects with `connection_lost` if another tab changed it. */
  async replace(former: Uint8Array, document: Bytes): Promise<void> {
    await this.#change((found) => (found && equal(found, former) ? document : undefined));
  }

  /** Stores the document that `next` returns, or aborts if it returns undefined. Returns the stored document. */
  async #change(next: (found: Bytes | undefined) => Bytes | undefined): Promise<Bytes> {
    const connection = await this.connect();
    return new Promise((resolve, reject) => {
      const store = openVaultStore(connection, 'readwrite');
      const tx = store.transaction;
      const found = store.get(DOCUMENT) as IDBRequest<Bytes | undefined>;
      found.onsuccess = () => {
        const document = next(found.result);
        if (!document) return tx.abort();
        if (document !== found.result) store.put(document, DOCUMENT);
        tx.oncomplete = () => resolve(document);
      };
      tx.onabort = () => reject(storageError(tx.error));
    });
  }

  /** Requires the database to hold this document, now and after each reconnection. Rejects with `connection_lost`. */
  async pin(document: Bytes): Promise<void> {
    requireDocument(await fetchDocument(await this.connect()), document);
    this.#document = document;
  }
}

/** Opens a transaction on the vault's object store. Throws a CofferError if the connection was closed. */
function openVaultStore(connection: IDBDatabase, mode?: IDBTransactionMode): IDBObjectStore {
  try {
    return connection.transaction(VAULT, mode).objectStore(VAULT);
  } catch (cause) {
    throw storageError(cause);
  }
}

function fetchDocument(connection: IDBDatabase): Promise<Bytes | undefined> {
  return new Promise((resolve, reject) => {
    const request = openVaultStore(connection).get(DOCUMENT) as IDBRequest<Bytes | undefined>;
    // Any script of the origin can write to the database. A value of another type is an error, not a reason for a new vault.
    request.onsuccess = () =>
      request.result === undefined || request.result instanceof Uint8Array
        ? resolve(request.result)
        : reject(errorOf('malformed'));
    request.onerror = () => reject(storageError(request.error));
  });
}

function requireDocument(found: Bytes | undefined, document: Bytes): void {
  if (!found || !equal(found, document))
    throw errorOf('connection_lost', 'the database was deleted or replaced');
}
