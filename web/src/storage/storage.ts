import type { Bytes } from '../core/bytes.js';
import type { DataClassification } from '../core/classification.js';
import { checkText } from '../core/core.js';
import { type CofferError, errorOf } from '../core/errors.js';
import {
  type Metadata,
  type Parts,
  headerLength,
  joinParts,
  readHeader,
} from '../crypto/header.js';
import { type Context, type EncodedPlace, placePrefix } from '../crypto/sealer.js';
import type { Operation } from './queue.js';
import { type Connection, type Vault, release } from './vault.js';

/** A stored package's header, as {@link EncryptedStorage.inspect} reads it. */
export interface Inspection extends Metadata {
  /** The length of the whole package in bytes. */
  size: number;
}

/** How many entries `entries` reads at a time. */
const PAGE = 64;

/**
 * An encrypted store in IndexedDB, opened by {@link createEncryptedStorage}.
 *
 * A write's promise resolves when the transaction is complete and the value is on disk. If it rejects, the
 * earlier value is unchanged. Calls on one name take effect in call order. Values are copied in the tick of the
 * call, so later changes to an object have no effect.
 *
 * Besides the errors named below, every method rejects with a {@link StorageError}: `quota_exceeded`,
 * `connection_lost`, `database_blocked` or `closed`.
 */
export class EncryptedStorage {
  readonly #vault: Vault;
  readonly #connection: Connection;
  readonly #store: string;
  readonly #prefix: Bytes;
  readonly #minClass: DataClassification | undefined;
  #closed = false;
  /** @internal Whether the connection was lost. This storage stays unusable; a new one opens another connection. */
  lost = false;

  /** @internal */
  constructor(
    [vault, connection]: [Vault, Connection],
    store: string,
    minClass?: DataClassification,
  ) {
    this.#vault = vault;
    this.#connection = connection;
    this.#store = store;
    this.#prefix = placePrefix(vault.core, vault.owner, store, true);
    this.#minClass = minClass;
  }

  /**
   * Seals a value and stores it, replacing an earlier one.
   *
   * @param key The entry's name: at most 1,024 bytes of UTF-8.
   * @param value At most 64 MiB. See {@link StoredValue} for the types.
   * @param classification How sensitive the value is.
   * @param context Strings that are authenticated with the value and readable without a key; at most 16 KiB in all.
   *
   * @throws {@link InputError} `invalid_argument` or `too_large` for a value, name or context that cannot be stored.
   *
   * @example Store a record
   * ```ts
   * import { createEncryptedStorage, DataClassification } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('clinic', 'patients', { unlock });
   * await storage.setEncrypted('P12345', { name: 'Ada' }, DataClassification.PHI, { ward: 'A' });
   *
   * console.log(await storage.getDecrypted('P12345')); // { name: 'Ada' }
   * ```
   */
  setEncrypted(
    key: string,
    value: unknown,
    classification: DataClassification,
    context?: Context,
  ): Promise<void> {
    return this.setMany([[key, value]], classification, context);
  }

  /**
   * Stores several values in one transaction: all of them, or none if one fails.
   *
   * @throws As {@link EncryptedStorage.setEncrypted} does.
   *
   * @example Store two values together
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('clinic', 'drafts', { unlock });
   * await storage.setMany([['title', 'Discharge'], ['body', 'Rest.']], 'phi');
   *
   * console.log(await storage.count()); // 2
   * ```
   */
  async setMany(
    entries: Iterable<readonly [string, unknown]>,
    classification: DataClassification,
    context?: Context,
  ): Promise<void> {
    if (this.#closed) throw errorOf('closed');
    const list = [...entries].map(([key, value]) => ({ key, value, id: this.#id(key) }));
    const sealing = list.map(({ key, value }) =>
      this.#vault.sealer.seal(value, {
        use: 'storage',
        classification,
        place: this.#place(key),
        context,
      }),
    );
    let sealed: Parts[] = [];
    return this.#run({
      names: list.map(({ id }) => id),
      write: true,
      ready: Promise.all(sealing).then((parts) => (sealed = parts)),
      issue: (records) => list.map(({ key }, i) => records.put(sealed[i], [this.#store, key])),
      read: () => undefined,
    });
  }

  /**
   * Reads and opens a value. It has the type that was stored: text, bytes, Blob, File or JSON.
   *
   * @typeParam T The type that the caller expects. It is not checked.
   * @returns The value, or `null` if the name has no entry.
   *
   * @throws {@link IntegrityError} `authentication_failed` if the entry was altered, moved or forged; `class_too_low`.
   * @throws {@link KeyError} `unknown_key` if the vault does not have the entry's key.
   * @throws {@link InputError} `malformed` or `unsupported_version` if the entry is not a package of this version.
   *
   * @example Read a value of a known type
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('app', 'settings', { unlock });
   * await storage.setEncrypted('view', { theme: 'dark' }, 'internal');
   *
   * const view = await storage.getDecrypted<{ theme: string }>('view');
   * console.log(view?.theme); // dark
   * console.log(await storage.getDecrypted('missing')); // null
   * ```
   */
  async getDecrypted<T = unknown>(key: string): Promise<T | null> {
    const [record] = await this.#records([key]);
    return record ? this.#open<T>(key, record) : null;
  }

  /**
   * Reads several values in one transaction, in the order of the names. A missing value is `null`.
   *
   * @throws As {@link EncryptedStorage.getDecrypted} does, if one of the values does not open.
   *
   * @example Read two values
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('app', 'counters', { unlock });
   * await storage.setEncrypted('visits', 3, 'internal');
   *
   * console.log(await storage.getMany<number>(['visits', 'missing'])); // [ 3, null ]
   * ```
   */
  async getMany<T = unknown>(keys: Iterable<string>): Promise<(T | null)[]> {
    const names = [...keys];
    const records = await this.#records(names);
    return Promise.all(
      records.map((record, i) => (record ? this.#open<T>(names[i] ?? '', record) : null)),
    );
  }

  async #open<T>(key: string, record: Parts): Promise<T> {
    const [place, minClass] = [this.#place(key), this.#minClass];
    const opened = await this.#vault.sealer.open(record, { use: 'storage', place, minClass });
    return opened.value as T;
  }

  #records(names: readonly string[]): Promise<(Parts | undefined)[]> {
    return this.#run({
      names: names.map((name) => this.#id(name)),
      write: false,
      issue: (_, lookup) => names.map((name) => lookup.get([this.#store, name])),
      read: (found) => found.map(checkRecord),
    });
  }

  /**
   * Reports whether the name has an entry. The entry is not opened.
   *
   * @example
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('app', 'flags', { unlock });
   * console.log(await storage.exists('welcomed')); // false
   * ```
   */
  exists(key: string): Promise<boolean> {
    return this.#run({
      names: [this.#id(key)],
      write: false,
      issue: (records) => [records.count([this.#store, key])],
      read: ([n]) => (n as number) > 0,
    });
  }

  /**
   * Deletes an entry. Resolves to whether there was one.
   *
   * @example
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('app', 'notes', { unlock });
   * await storage.setEncrypted('note', 'call back', 'confidential');
   *
   * console.log(await storage.delete('note')); // true
   * console.log(await storage.delete('note')); // false
   * ```
   */
  delete(key: string): Promise<boolean> {
    return this.#run({
      names: [this.#id(key)],
      write: true,
      issue: (records) => [records.count([this.#store, key]), records.delete([this.#store, key])],
      read: ([n]) => (n as number) > 0,
    });
  }

  /**
   * Lists the names in this store, in IndexedDB's key order (by UTF-16 code units).
   *
   * @example
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('app', 'letters', { unlock });
   * await storage.setMany([['b', 2], ['a', 1]], 'internal');
   *
   * console.log(await storage.keys()); // [ 'a', 'b' ]
   * ```
   */
  keys(): Promise<string[]> {
    return this.#run({
      write: false,
      issue: (records) => [records.getAllKeys(this.#range)],
      read: ([keys]) => (keys as [store: string, name: string][]).map(([, name]) => name),
    });
  }

  /**
   * Iterates over names and values. Entries are read and opened 64 at a time, so the whole is not a snapshot:
   * an entry deleted during the iteration is skipped.
   *
   * @throws As {@link EncryptedStorage.getDecrypted} does, after the entries before the one that does not open.
   *
   * @example
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('app', 'scores', { unlock });
   * await storage.setMany([['ada', 7], ['bob', 5]], 'internal');
   *
   * for await (const [name, score] of storage.entries<number>()) console.log(name, score);
   * // ada 7
   * // bob 5
   * ```
   */
  async *entries<T = unknown>(): AsyncGenerator<[string, T], void, undefined> {
    const names = await this.keys();
    for (let i = 0; i < names.length; i += PAGE) {
      const page = names.slice(i, i + PAGE);
      const records = await this.#records(page);
      // allSettled, so that entries before one that does not open are still yielded.
      const opened = await Promise.allSettled(
        records.map((record, j) => record && this.#open<T>(page[j] ?? '', record)),
      );
      for (const [j, o] of opened.entries()) {
        if (o.status === 'rejected') throw o.reason;
        if (records[j]) yield [page[j] ?? '', o.value as T];
      }
    }
  }

  /** Returns the number of entries in this store. */
  count(): Promise<number> {
    return this.#run({
      write: false,
      issue: (records) => [records.count(this.#range)],
      read: ([n]) => n as number,
    });
  }

  /**
   * Deletes every entry of this store. Other stores of the database, and its keys, are unchanged.
   *
   * @example
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('app', 'cache', { unlock });
   * await storage.setEncrypted('answer', 42, 'internal');
   * await storage.clear();
   *
   * console.log(await storage.count()); // 0
   * ```
   */
  clear(): Promise<void> {
    return this.#run({
      write: true,
      issue: (records) => [records.delete(this.#range)],
      read: () => undefined,
    });
  }

  /**
   * Reads an entry's header without opening the entry; `null` if there is no entry. The fields are what the
   * database holds: only opening the entry proves them.
   *
   * @throws {@link InputError} `malformed` or `unsupported_version`.
   *
   * @example Show the class and context without a key
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('clinic', 'reports', { unlock });
   * await storage.setEncrypted('R1', 'unremarkable', 'phi', { modality: 'CT' });
   *
   * const header = await storage.inspect('R1');
   * console.log(header?.classification, header?.context); // phi { modality: 'CT' }
   * ```
   */
  async inspect(key: string): Promise<Inspection | null> {
    const [record] = await this.#records([key]);
    if (!record) return null;
    const size = record.head.length + record.body.byteLength;
    const n = headerLength(this.#vault.core, record.head, size);
    return { ...readHeader(record.head.subarray(0, n)), size };
  }

  /**
   * Returns an entry's package as it is on disk, in the binary form of SPEC.md section 3; `null` if there is no
   * entry. A server with the same keyset can open it.
   *
   * @example
   * ```ts
   * import { createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('clinic', 'exports', { unlock });
   * await storage.setEncrypted('E1', 'text', 'phi');
   *
   * const sealed = await storage.getPackage('E1');
   * console.log(String.fromCharCode(...sealed!.subarray(0, 3))); // CFR
   * ```
   */
  async getPackage(key: string): Promise<Uint8Array<ArrayBuffer> | null> {
    const [record] = await this.#records([key]);
    return record ? joinParts(record) : null;
  }

  /**
   * Closes the store after the calls under way have settled. Later calls reject with `closed`.
   *
   * @example
   * ```ts
   * import { type CofferError, createEncryptedStorage } from '@coffer-storage/coffer';
   *
   * const unlock = { password: 'correct horse battery staple' };
   * const storage = await createEncryptedStorage('app', 'default', { unlock });
   * storage.close();
   *
   * console.log(await storage.count().catch((error: CofferError) => error.code)); // closed
   * ```
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    release(this.#connection);
  }

  get #range(): IDBKeyRange {
    return IDBKeyRange.bound([this.#store], [this.#store, []]);
  }

  #place(name: string): EncodedPlace {
    return { prefix: this.#prefix, name };
  }

  /** Checks a name and makes it unique among the stores of the database. */
  #id(key: string): string {
    if (typeof key !== 'string') throw errorOf('invalid_argument', 'a name is a string');
    checkText(key);
    return `${this.#store.length}:${this.#store}${key}`;
  }

  async #run<T>(operation: Operation<T>): Promise<T> {
    if (this.#closed) throw errorOf('closed');
    try {
      return await this.#connection.queue.add(operation);
    } catch (error) {
      this.lost ||= (error as CofferError).code === 'connection_lost';
      throw error;
    }
  }
}

/** Checks that a stored value is a record: scripts of the page's origin can write anything to the database. Throws `malformed`. */
function checkRecord(record: unknown): Parts | undefined {
  if (record === undefined) return undefined;
  const { head, body } = (record ?? {}) as Partial<Parts>;
  if (!(head instanceof Uint8Array) || !(body instanceof ArrayBuffer || body instanceof Uint8Array))
    throw errorOf('malformed');
  return { head, body };
}
