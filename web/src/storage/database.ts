import { equal } from '../core/bytes.js';
import { errorOf, storageError } from '../core/errors.js';

/** The one object store of records; out-of-line keys [store name, record name], so that a new store needs no upgrade. */
export const RECORDS = 'records';
const VAULT = 'vault';
const STORES = [RECORDS, VAULT];
const DOCUMENT = 'document';
/** Milliseconds after which a database counts as blocked. */
const LONGEST_OPENING = 10_000;

type Bytes = Uint8Array<ArrayBuffer>;

/** One database: its connection, opened again after it was lost, and the vault document in it. */
export class Database {
  readonly name: string;
  #connection: Promise<IDBDatabase> | undefined;
  #live: IDBDatabase | undefined;
  /** The document whose keys are in use; another one in its place means that the database was deleted meanwhile. */
  #document: Bytes | undefined;

  constructor(name: string) {
    this.name = name;
  }

  /** The open connection, if there is one: saves the wait on the hot path. */
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
        if (this.#document) return opening.transaction?.abort(); // it was deleted: an empty one must not take its place
        for (const store of STORES) opening.result.createObjectStore(store);
      };
      // Behind a deletion that another tab blocks, the request waits without an event.
      const blocked = () => {
        opening.onsuccess = () => opening.result.close();
        reject(errorOf('database_blocked'));
      };
      const timer = setTimeout(blocked, LONGEST_OPENING);
      opening.onblocked = blocked;
      // Firefox's private windows refuse with an InvalidStateError.
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
        // A version change is another tab that wants to delete or upgrade the database: it must not wait for us.
        connection.onclose = connection.onversionchange = () => this.drop(connection);
        resolve(connection);
      };
    });
  }

  async #verify(connection: IDBDatabase): Promise<void> {
    connection.transaction(STORES); // throws if other software made the database
    if (this.#document) expectAtRest(await read(connection), this.#document);
  }

  /** Closes a connection; the next operation opens another. */
  drop(connection = this.#live): void {
    connection?.close();
    if (connection !== this.#live) return;
    this.#live = undefined;
    this.#connection = undefined;
  }

  /** The vault document at rest, if there is one. */
  async document(): Promise<Bytes | undefined> {
    return read(await this.connect());
  }

  /** Stores a new vault's document unless another tab was faster; returns the one that stands. */
  adopt(document: Bytes): Promise<Bytes> {
    return this.#change((found) => found ?? document);
  }

  /** Puts a host's newer document in the place of the one at rest; `connection_lost` where that is another meanwhile. */
  async replace(former: Uint8Array, document: Bytes): Promise<void> {
    await this.#change((found) => (found && equal(found, former) ? document : undefined));
  }

  /** Puts in the document's place what `next` makes of it, nothing being a refusal; returns what then stands. */
  async #change(next: (found: Bytes | undefined) => Bytes | undefined): Promise<Bytes> {
    const connection = await this.connect();
    return new Promise((resolve, reject) => {
      const store = vaultOf(connection, 'readwrite');
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

  /** From now on a connection is good only where this document is at rest; rejects with `connection_lost` where it is not. */
  async hold(document: Bytes): Promise<void> {
    expectAtRest(await read(await this.connect()), document);
    this.#document = document;
  }
}

/** The vault's object store in a transaction of its own. Throws a CofferError if the connection was closed. */
function vaultOf(connection: IDBDatabase, mode?: IDBTransactionMode): IDBObjectStore {
  try {
    return connection.transaction(VAULT, mode).objectStore(VAULT);
  } catch (cause) {
    throw storageError(cause);
  }
}

function read(connection: IDBDatabase): Promise<Bytes | undefined> {
  return new Promise((resolve, reject) => {
    const request = vaultOf(connection).get(DOCUMENT) as IDBRequest<Bytes | undefined>;
    // Whoever can write to the database can write anything; what is there, of whatever type, is no reason for a new vault.
    request.onsuccess = () =>
      request.result === undefined || request.result instanceof Uint8Array
        ? resolve(request.result)
        : reject(errorOf('malformed'));
    request.onerror = () => reject(storageError(request.error));
  });
}

function expectAtRest(found: Bytes | undefined, document: Bytes): void {
  if (!found || !equal(found, document))
    throw errorOf('connection_lost', 'the database was deleted or replaced');
}
