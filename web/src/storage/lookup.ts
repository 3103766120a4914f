/** A record's key in the database. */
export type RecordKey = [store: string, name: string];

/** What a request answers, once it has. An IDBRequest is one. */
export interface Answer {
  readonly result: unknown;
}

/** From so many reads on it pays to ask first which records lie side by side. */
const MANY = 16;
/** How many records one request reads at most: they may be large, and an engine limits what it answers at once. */
const RUN = 64;

/**
 * The reads of one transaction. To an engine a request costs more than the small record that it reads, so of many reads those whose
 * keys are neighbours in the database share a request. No record is read that nobody asked for.
 */
export class Lookup {
  readonly #records: IDBObjectStore;
  readonly #wanted: Wanted[] = [];

  constructor(records: IDBObjectStore) {
    this.#records = records;
  }

  /** Asks for a record; its answer's result is undefined where there is none. */
  get(key: RecordKey): Answer {
    const wanted = new Wanted(key);
    this.#wanted.push(wanted);
    return wanted;
  }

  /** Sends the requests and calls `done` when all are answered: engines answer in order. Returns whether there are any. */
  send(done: () => void): boolean {
    const wanted = this.#wanted;
    if (wanted.length < MANY)
      return this.#read(
        wanted.map((w) => [w]),
        done,
      );
    wanted.sort((a, b) => order(a.key, b.key));
    const keys = this.#records.getAllKeys(rangeOf(wanted), wanted.length) as unknown as IDBRequest<
      RecordKey[]
    >;
    keys.onsuccess = () => this.#read(runsOf(wanted, keys.result), done) || done();
    return true;
  }

  #read(runs: readonly Wanted[][], done: () => void): boolean {
    let last: IDBRequest | undefined;
    for (const run of runs) {
      const alone = run.length === 1; // `get` answers sooner
      last = alone
        ? this.#records.get(run[0]?.key as RecordKey)
        : this.#records.getAll(rangeOf(run));
      for (const [i, w] of run.entries()) [w.request, w.at] = [last, alone ? undefined : i];
    }
    if (last) last.onsuccess = done;
    return last !== undefined;
  }
}

/** A record asked for, and where its answer is; nowhere if it is known to be missing. */
class Wanted implements Answer {
  request: IDBRequest | undefined;
  at: number | undefined;

  constructor(readonly key: RecordKey) {}

  get result(): unknown {
    const found: unknown = this.request?.result;
    return this.at === undefined ? found : (found as unknown[])[this.at];
  }
}

/**
 * Parts what is wanted, in order, into runs of neighbours. `keys` are those that are there, the first of them, as many as are wanted:
 * where they are fewer, all, and what is not among them is missing and left out.
 */
function runsOf(wanted: readonly Wanted[], keys: readonly RecordKey[]): Wanted[][] {
  const runs: Wanted[][] = [];
  let run: Wanted[] = []; // may still grow
  let i = 0;
  for (const [n, w] of wanted.entries()) {
    let key: RecordKey | undefined;
    for (; (key = keys[i]) && order(key, w.key) < 0; i++) run = [];
    const before = wanted[n - 1];
    const again = before && order(before.key, w.key) === 0; // no two callers share an answer's bytes
    if (again || (!key && keys.length === wanted.length)) runs.push([w]);
    else if (key && order(key, w.key) === 0) {
      if (run.length % RUN === 0) runs.push((run = []));
      run.push(w);
      i++;
    }
  }
  return runs;
}

function rangeOf(run: readonly Wanted[]): IDBKeyRange {
  return IDBKeyRange.bound(run[0]?.key, run.at(-1)?.key);
}

/** IndexedDB's order of such keys; one that is longer, which another script may have put there, is no equal. */
function order(a: RecordKey, b: RecordKey): number {
  for (const i of [0, 1] as const) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return a.length - b.length;
}
