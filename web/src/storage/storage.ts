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
import type { Unit } from './queue.js';
import { type EncodedPlace, placePrefix } from '../crypto/sealer.js';
import { type Connection, type Vault, leave } from './vault.js';

/** What lies on the disk under one name, without opening it. */
export interface Inspection extends Metadata {
  /** The package's length in bytes. */
  size: number;
}

/** Entries read at a time by `entries`. */
const PAGE = 64;

/**
 * An encrypted store in IndexedDB. Made by `createEncryptedStorage`.
 *
 * Every promise of a write settles when the transaction is complete: resolved, the value is stored; rejected, the earlier value is
 * in place. Calls on one name take effect in call order. Besides the errors named, every method rejects with a StorageError
 * (`quota_exceeded`, `connection_lost`, `database_blocked`, `closed`) where the database refuses.
 */
export class EncryptedStorage {
  readonly #vault: Vault;
  readonly #connection: Connection;
  readonly #store: string;
  readonly #prefix: Uint8Array<ArrayBuffer>;
  readonly #least: DataClassification | undefined;
  #closed = false;
  /** @internal Whether the connection was lost for good: only a new storage gets another. */
  lost = false;

  /** @internal */
  constructor([vault, connection]: [Vault, Connection], store: string, least?: DataClassification) {
    this.#vault = vault;
    this.#connection = connection;
    this.#store = store;
    this.#prefix = placePrefix(vault.core, vault.owner, store, true);
    this.#least = least;
  }

  /**
   * Seals and stores a value of at most 64 MiB under a name of at most 1,024 bytes.
   * Rejects with `invalid_argument` or `too_large` for what cannot be stored.
   */
  setEncrypted(
    key: string,
    value: unknown,
    classification: DataClassification,
    context?: Readonly<Record<string, string>>,
  ): Promise<void> {
    return this.setMany([[key, value]], classification, context);
  }

  /** Stores several values in one transaction: all of them or none. */
  async setMany(
    entries: Iterable<readonly [string, unknown]>,
    classification: DataClassification,
    context?: Readonly<Record<string, string>>,
  ): Promise<void> {
    if (this.#closed) throw errorOf('closed');
    const list = [...entries].map(([key, value]) => ({ key, value, id: this.#id(key) }));
    const sealing = list.map(({ key, value }) =>
      this.#vault.sealer.seal(value, 'storage', classification, this.#place(key), context),
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
   * Reads and opens a value; `null` where there is none. It comes back in the type it went in.
   * Rejects with `authentication_failed`, `unknown_key`, `class_too_low` or `malformed` where it must not be opened.
   */
  async getDecrypted<T = unknown>(key: string): Promise<T | null> {
    const [record] = await this.#records([key]);
    return record ? this.#open<T>(key, record) : null;
  }

  /** Reads several values in one transaction; `null` for each that is missing. */
  async getMany<T = unknown>(keys: Iterable<string>): Promise<(T | null)[]> {
    const names = [...keys];
    const records = await this.#records(names);
    return Promise.all(
      records.map((record, i) => (record ? this.#open<T>(names[i] ?? '', record) : null)),
    );
  }

  async #open<T>(key: string, record: Parts): Promise<T> {
    return (await this.#vault.sealer.open(record, 'storage', this.#place(key), this.#least))
      .value as T;
  }

  #records(names: readonly string[]): Promise<(Parts | undefined)[]> {
    return this.#run({
      names: names.map((name) => this.#id(name)),
      write: false,
      issue: (_, lookup) => names.map((name) => lookup.get([this.#store, name])),
      read: (found) => found.map(checkRecord),
    });
  }

  /** Whether there is a value under the name. */
  exists(key: string): Promise<boolean> {
    return this.#run({
      names: [this.#id(key)],
      write: false,
      issue: (records) => [records.count([this.#store, key])],
      read: ([n]) => (n as number) > 0,
    });
  }

  /** Deletes a value; resolves to whether there was one. */
  delete(key: string): Promise<boolean> {
    return this.#run({
      names: [this.#id(key)],
      write: true,
      issue: (records) => [records.count([this.#store, key]), records.delete([this.#store, key])],
      read: ([n]) => (n as number) > 0,
    });
  }

  /** The names in this store, in IndexedDB's order. */
  keys(): Promise<string[]> {
    return this.#run({
      write: false,
      issue: (records) => [records.getAllKeys(this.#range)],
      read: ([keys]) => (keys as [store: string, name: string][]).map(([, name]) => name),
    });
  }

  /** Names and values, read and opened a page at a time; what is deleted meanwhile is left out. */
  async *entries<T = unknown>(): AsyncGenerator<[string, T], void, undefined> {
    const names = await this.keys();
    for (let i = 0; i < names.length; i += PAGE) {
      const page = names.slice(i, i + PAGE);
      const records = await this.#records(page);
      // One that must not be opened keeps nobody from those before it.
      const opened = await Promise.allSettled(
        records.map((record, j) => record && this.#open<T>(page[j] ?? '', record)),
      );
      for (const [j, o] of opened.entries()) {
        if (o.status === 'rejected') throw o.reason;
        if (records[j]) yield [page[j] ?? '', o.value as T];
      }
    }
  }

  /** How many values this store holds. */
  count(): Promise<number> {
    return this.#run({
      write: false,
      issue: (records) => [records.count(this.#range)],
      read: ([n]) => n as number,
    });
  }

  /** Deletes every value of this store; other stores and the vault stay. */
  clear(): Promise<void> {
    return this.#run({
      write: true,
      issue: (records) => [records.delete(this.#range)],
      read: () => undefined,
    });
  }

  /** Reads a value's header without opening it; `null` where there is none. Its fields are proven only by opening. */
  async inspect(key: string): Promise<Inspection | null> {
    const [record] = await this.#records([key]);
    if (!record) return null;
    const size = record.head.length + record.body.byteLength;
    const n = headerLength(this.#vault.core, record.head, size);
    return { ...readHeader(record.head.subarray(0, n)), size };
  }

  /** The sealed package as it lies on the disk (binary, SPEC.md section 3); `null` where there is none. */
  async getPackage(key: string): Promise<Uint8Array<ArrayBuffer> | null> {
    const [record] = await this.#records([key]);
    return record ? joinParts(record) : null;
  }

  /** Closes the store once the calls under way are done; later calls reject with `closed`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    leave(this.#connection);
  }

  get #range(): IDBKeyRange {
    return IDBKeyRange.bound([this.#store], [this.#store, []]);
  }

  #place(name: string): EncodedPlace {
    return { prefix: this.#prefix, name };
  }

  /** Checks a name and makes it unique over the stores of the database. */
  #id(key: string): string {
    if (typeof key !== 'string') throw errorOf('invalid_argument', 'a name is a text');
    checkText(key);
    return `${this.#store.length}:${this.#store}${key}`;
  }

  async #run<T>(unit: Unit<T>): Promise<T> {
    if (this.#closed) throw errorOf('closed');
    try {
      return await this.#connection.queue.add(unit);
    } catch (error) {
      this.lost ||= (error as CofferError).code === 'connection_lost';
      throw error;
    }
  }
}

/** Whoever can write to the database can write anything: what is not a record is malformed. */
function checkRecord(record: unknown): Parts | undefined {
  if (record === undefined) return undefined;
  const { head, body } = (record ?? {}) as Partial<Parts>;
  if (!(head instanceof Uint8Array) || !(body instanceof ArrayBuffer || body instanceof Uint8Array))
    throw errorOf('malformed');
  return { head, body };
}
