import { type Database, RECORDS } from './database.js';
import { storageError } from '../core/errors.js';
import { type PendingResult, Lookup } from './lookup.js';

/** The work of one call on the records. It succeeds or fails as a whole. */
export interface Operation<T> {
  /** The names of the records that it touches. Default: all records. */
  names?: readonly string[];
  write: boolean;
  /** Resolves once the values are sealed. The transaction opens afterwards, because it would end while WebCrypto works. */
  ready?: Promise<unknown>;
  /** Sends the requests. Single records are read through `lookup`. */
  issue(records: IDBObjectStore, lookup: Lookup): PendingResult[];
  /** Computes the call's result from the results of the requests. */
  read(results: unknown[]): T;
}

interface Call {
  operation: Operation<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** Calls of one tick that share a transaction: reads only, or writes only. */
class Batch {
  readonly pending: Call[] = [];
  readonly #names = new Set<string>();
  #all = false;
  settle!: () => void;
  readonly settled = new Promise<void>((resolve) => (this.settle = resolve));

  constructor(readonly write: boolean) {}

  add(p: Call): void {
    this.pending.push(p);
    if (p.operation.names) for (const name of p.operation.names) this.#names.add(name);
    else this.#all = true;
  }

  touches(operation: Operation<unknown>): boolean {
    return this.#all || !operation.names || operation.names.some((name) => this.#names.has(name));
  }

  /** Reports whether the order of the two batches matters. */
  conflicts(later: Batch): boolean {
    return (this.write || later.write) && later.pending.some((p) => this.touches(p.operation));
  }
}

/**
 * Group commit: calls made in one tick share one short transaction. Each call has its own promise, and a write's
 * promise settles when the transaction is complete. Calls on one record take effect in call order. After an abort each
 * write is retried alone, so that only writes that cannot be stored fail.
 */
export class CommitQueue {
  readonly #database: Database;
  /** The batches that are not settled, in the order of their first call. */
  readonly #live = new Set<Batch>();
  #reads: Batch | undefined;
  #writes: Batch | undefined;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Adds a call. It must run in the tick of the call, so that call order is kept. */
  add<T>(operation: Operation<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      operation.ready?.catch(() => undefined); // the error is reported when the batch runs
      this.#batchFor(operation).add({
        operation,
        resolve: resolve as (value: unknown) => void,
        reject,
      });
    });
  }

  /** Resolves when no batch is pending. */
  async idle(): Promise<void> {
    while (this.#live.size > 0) await Promise.all([...this.#live].map((b) => b.settled));
  }

  #batchFor(operation: Operation<unknown>): Batch {
    const other = operation.write ? this.#reads : this.#writes;
    if (other?.touches(operation)) this.#reads = this.#writes = undefined;
    const open = operation.write ? this.#writes : this.#reads;
    if (open) return open;
    const batch = new Batch(operation.write);
    if (operation.write) this.#writes = batch;
    else this.#reads = batch;
    this.#live.add(batch);
    queueMicrotask(() => void this.#run(batch));
    return batch;
  }

  async #run(batch: Batch): Promise<void> {
    if (this.#reads === batch) this.#reads = undefined;
    if (this.#writes === batch) this.#writes = undefined;
    const before: Promise<void>[] = [];
    for (const earlier of this.#live) {
      if (earlier === batch) break;
      if (earlier.conflicts(batch)) before.push(earlier.settled);
    }
    if (before.length > 0) await Promise.all(before);
    const sealed = batch.write ? await waitUntilSealed(batch.pending) : batch.pending;
    if (sealed.length > 0) await this.#commit(sealed, batch.write);
    this.#live.delete(batch);
    batch.settle();
  }

  async #commit(pending: readonly Call[], write: boolean): Promise<void> {
    try {
      const results = await this.#transact(pending, write);
      for (const [i, p] of pending.entries()) settleCall(p, results[i] ?? []);
    } catch (error) {
      const [only] = pending;
      if (pending.length === 1) only?.reject(storageError(error));
      else for (const p of pending) await this.#commit([p], write);
    }
  }

  /** Runs one transaction, and again on a new connection if the old one was lost. */
  async #transact(pending: readonly Call[], write: boolean): Promise<unknown[][]> {
    const connection = this.#database.live ?? (await this.#database.connect());
    try {
      return await runTransaction(connection, pending, write);
    } catch (error) {
      if ((error as DOMException)?.name === 'InvalidStateError')
        this.#database.disconnect(connection);
      if (this.#database.live === connection) throw error;
      return runTransaction(await this.#database.connect(), pending, write);
    }
  }
}

/** Settles one call. If `read` throws, only this call is rejected. */
function settleCall(p: Call, results: unknown[]): void {
  try {
    p.resolve(p.operation.read(results));
  } catch (error) {
    p.reject(error);
  }
}

/** Waits until the values are sealed. Rejects the calls whose sealing failed and returns the others. */
async function waitUntilSealed(pending: readonly Call[]): Promise<Call[]> {
  const sealed: Call[] = [];
  for (const p of pending) {
    try {
      await p.operation.ready;
      sealed.push(p);
    } catch (error) {
      p.reject(error);
    }
  }
  return sealed;
}

/** Runs one transaction. Writes resolve when it is complete, reads when the last request has succeeded. */
function runTransaction(
  connection: IDBDatabase,
  pending: readonly Call[],
  write: boolean,
): Promise<unknown[][]> {
  return new Promise((resolve, reject) => {
    const tx = connection.transaction(RECORDS, write ? 'readwrite' : 'readonly');
    const records = tx.objectStore(RECORDS);
    const lookup = new Lookup(records);
    let results: PendingResult[][] = [];
    const done = () => resolve(results.map((list) => list.map(({ result }) => result)));
    tx.oncomplete = done;
    tx.onabort = () =>
      reject(tx.error ?? new DOMException('the transaction was aborted', 'AbortError'));
    try {
      results = pending.map((p) => p.operation.issue(records, lookup));
      // tx.commit() is not used: Firefox would complete a transaction whose put exceeded the quota, and Chromium would
      // complete a read before it has fetched large values.
      const last = results.at(-1)?.at(-1);
      if (!write && !lookup.send(done) && last) (last as IDBRequest).onsuccess = done;
    } catch (error) {
      reject(error);
      tx.abort();
    }
  });
}
