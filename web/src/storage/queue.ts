import { type Database, RECORDS } from './database.js';
import { storageError } from '../core/errors.js';
import { type Answer, Lookup } from './lookup.js';

/** One call's work on the records. It succeeds or fails as a whole. */
export interface Unit<T> {
  /** The records it touches; left out, all of them. */
  names?: readonly string[];
  write: boolean;
  /** Settles when sealing is done: before the transaction opens, because no engine lets a transaction wait for WebCrypto. */
  ready?: Promise<unknown>;
  /** Issues the requests; single records are read by way of `lookup`. */
  issue(records: IDBObjectStore, lookup: Lookup): Answer[];
  /** Makes the call's result of theirs. */
  read(results: unknown[]): T;
}

interface Pending {
  unit: Unit<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** Calls of one tick that share a transaction: either all reads or all writes. */
class Batch {
  readonly pending: Pending[] = [];
  readonly #names = new Set<string>();
  #all = false;
  settle!: () => void;
  readonly settled = new Promise<void>((resolve) => (this.settle = resolve));

  constructor(readonly write: boolean) {}

  add(p: Pending): void {
    this.pending.push(p);
    if (p.unit.names) for (const name of p.unit.names) this.#names.add(name);
    else this.#all = true;
  }

  touches(unit: Unit<unknown>): boolean {
    return this.#all || !unit.names || unit.names.some((name) => this.#names.has(name));
  }

  /** Whether the order of the two matters. */
  conflicts(later: Batch): boolean {
    return (this.write || later.write) && later.pending.some((p) => this.touches(p.unit));
  }
}

/**
 * Group commit. Calls made in one tick share one short transaction; each promise settles for itself, a write's only when the
 * transaction is complete. Calls on one record take effect in call order. After an abort each write is tried again alone, so that
 * one which cannot be stored fails alone.
 */
export class CommitQueue {
  readonly #database: Database;
  /** Batches that are not settled, in the order of their first call. */
  readonly #live = new Set<Batch>();
  #reads: Batch | undefined;
  #writes: Batch | undefined;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Adds a call; must run in the tick of the call. */
  add<T>(unit: Unit<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      unit.ready?.catch(() => undefined); // reported below, even if that is later
      this.#batchFor(unit).add({ unit, resolve: resolve as (value: unknown) => void, reject });
    });
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#live.size > 0) await Promise.all([...this.#live].map((b) => b.settled));
  }

  #batchFor(unit: Unit<unknown>): Batch {
    const other = unit.write ? this.#reads : this.#writes;
    if (other?.touches(unit)) this.#reads = this.#writes = undefined;
    const open = unit.write ? this.#writes : this.#reads;
    if (open) return open;
    const batch = new Batch(unit.write);
    if (unit.write) this.#writes = batch;
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
    const sealed = batch.write ? await sealing(batch.pending) : batch.pending;
    if (sealed.length > 0) await this.#commit(sealed, batch.write);
    this.#live.delete(batch);
    batch.settle();
  }

  async #commit(pending: readonly Pending[], write: boolean): Promise<void> {
    try {
      const results = await this.#transact(pending, write);
      for (const [i, p] of pending.entries()) settle(p, results[i] ?? []);
    } catch (error) {
      const [only] = pending;
      if (pending.length === 1) only?.reject(storageError(error));
      else for (const p of pending) await this.#commit([p], write);
    }
  }

  /** Runs one transaction; once more on a new connection where the old one was lost. */
  async #transact(pending: readonly Pending[], write: boolean): Promise<unknown[][]> {
    const connection = this.#database.live ?? (await this.#database.connect());
    try {
      return await transaction(connection, pending, write);
    } catch (error) {
      if ((error as DOMException)?.name === 'InvalidStateError') this.#database.drop(connection);
      if (this.#database.live === connection) throw error;
      return transaction(await this.#database.connect(), pending, write);
    }
  }
}

/** Settles one call; what it read may be refused without harm to the others. */
function settle(p: Pending, results: unknown[]): void {
  try {
    p.resolve(p.unit.read(results));
  } catch (error) {
    p.reject(error);
  }
}

/** Waits for the writes to be sealed; rejects those that failed and returns the others. */
async function sealing(pending: readonly Pending[]): Promise<Pending[]> {
  const sealed: Pending[] = [];
  for (const p of pending) {
    try {
      await p.unit.ready;
      sealed.push(p);
    } catch (error) {
      p.reject(error);
    }
  }
  return sealed;
}

/** Runs one transaction: writes until it is complete, reads until the last has been answered, which needs no more than that. */
function transaction(
  connection: IDBDatabase,
  pending: readonly Pending[],
  write: boolean,
): Promise<unknown[][]> {
  return new Promise((resolve, reject) => {
    const tx = connection.transaction(RECORDS, write ? 'readwrite' : 'readonly');
    const records = tx.objectStore(RECORDS);
    const lookup = new Lookup(records);
    let answers: Answer[][] = [];
    const done = () => resolve(answers.map((of) => of.map((answer) => answer.result)));
    tx.oncomplete = done;
    tx.onabort = () =>
      reject(tx.error ?? new DOMException('the transaction was aborted', 'AbortError'));
    try {
      answers = pending.map((p) => p.unit.issue(records, lookup));
      // No tx.commit(): after it Firefox completes a transaction whose put was refused for quota, and Chromium completes a read
      // before it has fetched the large values.
      const last = answers.at(-1)?.at(-1);
      if (!write && !lookup.send(done) && last) (last as IDBRequest).onsuccess = done;
    } catch (error) {
      reject(error);
      tx.abort();
    }
  });
}
