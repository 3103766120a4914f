/** A record's key in the database. */
export type RecordKey = [store: string, name: string];

/** The result of a request, available once the request succeeded. An IDBRequest implements it. */
export interface PendingResult {
  readonly result: unknown;
}

/** The number of reads from which it is faster to list the keys first and to group neighbours. */
const MIN_GROUPED_READS = 16;
/** The most records in one request. Records may be large, and engines limit the size of one result. */
const MAX_RUN = 64;

/**
 * The reads of one transaction. A request costs an engine more than the small record that it reads, so reads of
 * neighbouring keys share a request if there are many. Only records that were asked for are read.
 */
export class Lookup {
  readonly #records: IDBObjectStore;
  readonly #reads: PendingRead[] = [];

  constructor(records: IDBObjectStore) {
    this.#records = records;
  }

  /** Adds a read. Its result is undefined if the record does not exist. */
  get(key: RecordKey): PendingResult {
    const read = new PendingRead(key);
    this.#reads.push(read);
    return read;
  }

  /** Sends the requests and calls `done` when the last has succeeded; engines process them in order. Returns whether there are any. */
  send(done: () => void): boolean {
    const reads = this.#reads;
    if (reads.length < MIN_GROUPED_READS)
      return this.#read(
        reads.map((w) => [w]),
        done,
      );
    reads.sort((a, b) => compareKeys(a.key, b.key));
    const keys = this.#records.getAllKeys(keyRange(reads), reads.length) as unknown as IDBRequest<
      RecordKey[]
    >;
    keys.onsuccess = () => this.#read(groupRuns(reads, keys.result), done) || done();
    return true;
  }

  #read(runs: readonly PendingRead[][], done: () => void): boolean {
    let last: IDBRequest | undefined;
    for (const run of runs) {
      const alone = run.length === 1; // `get` is faster than `getAll`
      last = alone
        ? this.#records.get(run[0]?.key as RecordKey)
        : this.#records.getAll(keyRange(run));
      for (const [i, w] of run.entries()) [w.request, w.at] = [last, alone ? undefined : i];
    }
    if (last) last.onsuccess = done;
    return last !== undefined;
  }
}

/** A read with the request that has its result. It has no request if the record is known to be missing. */
class PendingRead implements PendingResult {
  request: IDBRequest | undefined;
  at: number | undefined;

  constructor(readonly key: RecordKey) {}

  get result(): unknown {
    const found: unknown = this.request?.result;
    return this.at === undefined ? found : (found as unknown[])[this.at];
  }
}

/**
 * Groups sorted reads into runs of neighbouring keys. `keys` are the first keys in the range, at most as many as there
 * are reads. If they are fewer, they are all keys in the range, and reads of other keys are left out.
 */
function groupRuns(reads: readonly PendingRead[], keys: readonly RecordKey[]): PendingRead[][] {
  const runs: PendingRead[][] = [];
  let run: PendingRead[] = []; // the run that can grow
  let i = 0;
  for (const [n, w] of reads.entries()) {
    let key: RecordKey | undefined;
    for (; (key = keys[i]) && compareKeys(key, w.key) < 0; i++) run = [];
    const before = reads[n - 1];
    const again = before && compareKeys(before.key, w.key) === 0; // two callers must not share the bytes of one result
    if (again || (!key && keys.length === reads.length)) runs.push([w]);
    else if (key && compareKeys(key, w.key) === 0) {
      if (run.length % MAX_RUN === 0) runs.push((run = []));
      run.push(w);
      i++;
    }
  }
  return runs;
}

function keyRange(run: readonly PendingRead[]): IDBKeyRange {
  return IDBKeyRange.bound(run[0]?.key, run.at(-1)?.key);
}

/** Compares keys in IndexedDB's order. Another script may have added longer keys, which are never equal. */
function compareKeys(a: RecordKey, b: RecordKey): number {
  for (const i of [0, 1] as const) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return a.length - b.length;
}
