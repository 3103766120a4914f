import 'fake-indexeddb/auto';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Lookup, type RecordKey } from '../src/storage/lookup.js';

let db: IDBDatabase;

beforeEach(async () => {
  const opening = indexedDB.open(`lookup-${Math.random()}`);
  opening.onupgradeneeded = () => opening.result.createObjectStore('records');
  await new Promise((resolve) => (opening.onsuccess = resolve));
  db = opening.result;
});

afterEach(() => {
  vi.restoreAllMocks();
  db.close();
});

/** Each record holds its key. */
async function fill(keys: readonly (RecordKey | [...RecordKey, string])[]): Promise<void> {
  const tx = db.transaction('records', 'readwrite');
  const records = tx.objectStore('records');
  records.clear();
  for (const key of keys) records.put({ key }, [...key]);
  await new Promise((resolve) => (tx.oncomplete = resolve));
}

/** The answers, when `done` was called. */
function look(keys: readonly RecordKey[]): Promise<unknown[]> {
  const lookup = new Lookup(db.transaction('records').objectStore('records'));
  const answers = keys.map((key) => lookup.get(key));
  return new Promise((resolve) => {
    const sent = lookup.send(() => resolve(answers.map((answer) => answer.result)));
    if (!sent) resolve([]);
  });
}

/** How many requests are sent from here on, by kind. */
function requests() {
  const prototype = IDBObjectStore.prototype;
  const spies = {
    get: vi.spyOn(prototype, 'get'),
    getAll: vi.spyOn(prototype, 'getAll'),
    getAllKeys: vi.spyOn(prototype, 'getAllKeys'),
  };
  return () =>
    Object.fromEntries(Object.entries(spies).map(([name, spy]) => [name, spy.mock.calls.length]));
}

const named = (n: number, store = 's') =>
  Array.from({ length: n }, (_, i): RecordKey => [store, `k${i}`]);

describe('lookup', () => {
  test('a thousand neighbours take a request for every 64', async () => {
    await fill(named(1000));
    const sent = requests();
    expect(await look(named(1000))).toEqual(named(1000).map((key) => ({ key })));
    expect(sent()).toEqual({ get: 0, getAll: 16, getAllKeys: 1 });
  });

  test('a few are read one by one, without asking for keys', async () => {
    await fill(named(15));
    const sent = requests();
    await look(named(15));
    expect(sent()).toEqual({ get: 15, getAll: 0, getAllKeys: 0 });
  });

  test('nothing is sent for records that are known to be missing', async () => {
    const sent = requests();
    expect(await look(named(20))).toEqual(Array(20).fill(undefined));
    expect(sent()).toEqual({ get: 0, getAll: 0, getAllKeys: 1 });
  });

  test('two callers of one record never share its bytes', async () => {
    await fill(named(20));
    const answers = await look([...named(20), ...named(1)]);
    expect(answers[20]).toEqual(answers[0]);
    expect(answers[20]).not.toBe(answers[0]);
  });

  test('a longer key that another script stored is not a record', async () => {
    await fill([
      ...named(20).filter(([, name]) => name !== 'k5'),
      ['s', 'k5', 'x'],
      ['s', 'k6', 'x'],
    ]);
    expect(await look(named(20))).toEqual(
      named(20).map((key) => (key[1] === 'k5' ? undefined : { key })),
    );
  });

  test('each of many random reads gets its own record, and no other record is read', async () => {
    const key = fc.tuple(
      fc.constantFrom('a', 'b'),
      fc.integer({ min: 0, max: 120 }).map((n) => `k${n}`),
    );
    const many = fc.array(key, { minLength: 0, maxLength: 150 });
    await fc.assert(
      fc.asyncProperty(many, many, async (there, wanted) => {
        await fill(there);
        const present = new Set(there.map(String));
        const all = vi.spyOn(IDBObjectStore.prototype, 'getAll');
        expect(await look(wanted)).toEqual(
          wanted.map((k) => (present.has(String(k)) ? { key: k } : undefined)),
        );
        const unwanted = [...present]
          .filter((k) => !wanted.map(String).includes(k))
          .map((k) => k.split(','));
        for (const [range] of all.mock.calls)
          expect(unwanted.filter((k) => (range as IDBKeyRange).includes(k))).toEqual([]);
        all.mockRestore();
      }),
      { numRuns: 60 },
    );
  });
});
