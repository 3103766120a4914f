import 'fake-indexeddb/auto';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Database } from '../src/storage/database.js';
import { CommitQueue, type Operation } from '../src/storage/queue.js';

let n = 0;
const open = () => {
  const database = new Database(`queue-${n++}`);
  return { database, queue: new CommitQueue(database) };
};

const put = (name: string, value: unknown, ready?: Promise<unknown>): Operation<void> => ({
  names: [name],
  write: true,
  ...(ready !== undefined && { ready }),
  issue: (records) => [records.put(value, ['s', name])],
  read: () => undefined,
});

const get = (name: string): Operation<unknown> => ({
  names: [name],
  write: false,
  issue: (_, lookup) => [lookup.get(['s', name])],
  read: ([value]) => value as unknown,
});

const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A promise that resolves when the test says so. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open: () => open() };
}

afterEach(() => vi.restoreAllMocks());

describe('group commit', () => {
  test('a thousand writes of one tick are one transaction', async () => {
    const { database, queue } = open();
    await database.connect();
    const transactions = vi.spyOn(IDBDatabase.prototype, 'transaction');
    await Promise.all(Array.from({ length: 1000 }, (_, i) => queue.add(put(`k${i}`, i))));
    expect(transactions).toHaveBeenCalledTimes(1);
    expect(await queue.add(get('k999'))).toBe(999);
  });

  test('reads and writes of different records in one tick are two transactions', async () => {
    const { database, queue } = open();
    await database.connect();
    const transactions = vi.spyOn(IDBDatabase.prototype, 'transaction');
    await Promise.all([
      queue.add(put('a', 1)),
      queue.add(get('b')),
      queue.add(put('c', 1)),
      queue.add(get('d')),
    ]);
    expect(transactions).toHaveBeenCalledTimes(2);
  });

  test('reads of every kind and number are answered together', async () => {
    const { queue } = open();
    const names = Array.from({ length: 100 }, (_, i) => `k${i}`);
    await Promise.all(names.map((name) => queue.add(put(name, name))));
    const count = queue.add({
      write: false,
      issue: (r) => [r.count()],
      read: ([n]) => n as number,
    });
    const nothing = queue.add({
      names: [],
      write: false,
      issue: () => [],
      read: (results) => results.length,
    });
    const missing = queue.add(get('missing'));
    expect(await Promise.all(names.map((name) => queue.add(get(name))))).toEqual(names);
    expect(await Promise.all([count, nothing, missing])).toEqual([100, 0, undefined]);
  });

  test('the transaction opens only when all values are sealed', async () => {
    const { database, queue } = open();
    await database.connect();
    const transactions = vi.spyOn(IDBDatabase.prototype, 'transaction');
    const sealed = gate();
    const writing = queue.add(put('a', 1, sealed.opened));
    await after(10);
    expect(transactions).not.toHaveBeenCalled();
    sealed.open();
    await writing;
    expect(transactions).toHaveBeenCalledTimes(1);
  });
});

describe('call order', () => {
  test('of two writes to one record the later call wins, though it is sealed first', async () => {
    const { queue } = open();
    await Promise.all([queue.add(put('a', 'first', after(30))), queue.add(put('a', 'second'))]);
    expect(await queue.add(get('a'))).toBe('second');
  });

  test('the later write also wins over several ticks', async () => {
    const { queue } = open();
    const first = queue.add(put('a', 'first', after(30)));
    await after(1);
    const second = queue.add(put('a', 'second'));
    await Promise.all([first, second]);
    expect(await queue.add(get('a'))).toBe('second');
  });

  test('a read sees the write called before it, and not the one called after it', async () => {
    const { queue } = open();
    await queue.add(put('a', 0));
    const calls = [
      queue.add(get('a')),
      queue.add(put('a', 1, after(20))),
      queue.add(get('a')),
      queue.add(put('a', 2)),
      queue.add(get('a')),
    ];
    expect(await Promise.all(calls)).toEqual([0, undefined, 1, undefined, 2]);
  });

  test('a call on all records waits for the writes before it', async () => {
    const { queue } = open();
    const writing = queue.add(put('a', 1, after(20)));
    const counting = queue.add({
      write: false,
      issue: (r) => [r.count()],
      read: ([n]) => n as number,
    });
    await writing;
    expect(await counting).toBe(1);
  });

  test('a small write is not held up by a large one to another record', async () => {
    const { queue } = open();
    const sealed = gate();
    const large = queue.add(put('large', 1, sealed.opened));
    await after(1);
    await queue.add(put('small', 1)); // or this test never ends
    sealed.open();
    await large;
  });

  test('random concurrent calls have the same results as the same calls one by one', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = (
        (s) => () =>
          (s = (s * 16807) % 2147483647) / 2147483647
      )(seed);
      const { queue } = open();
      const model = new Map<string, number>();
      const wanted: unknown[] = [];
      const got: Promise<unknown>[] = [];
      for (let i = 0; i < 60; i++) {
        const name = `k${Math.floor(random() * 4)}`;
        if (random() < 0.5) {
          wanted.push(model.get(name));
          got.push(queue.add(get(name)));
        } else {
          model.set(name, i);
          wanted.push(undefined);
          got.push(
            queue.add(put(name, i, random() < 0.5 ? after(Math.floor(random() * 4)) : undefined)),
          );
        }
        if (random() < 0.3) await after(0);
      }
      expect(await Promise.all(got), `seed ${seed}`).toEqual(wanted);
    }
  });
});

describe('failure', () => {
  const refused: Operation<void> = {
    names: ['bad'],
    write: true,
    issue: (records) => [records.put(() => undefined, ['s', 'bad'])], // a function cannot be cloned
    read: () => undefined,
  };

  test('a write that aborts the transaction fails alone, with the earlier value in place', async () => {
    const { queue } = open();
    await queue.add(put('bad', 'earlier'));
    const results = await Promise.allSettled([
      queue.add(put('a', 1)),
      queue.add(refused),
      queue.add(put('b', 2)),
    ]);
    expect(results.map((r) => r.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(
      await Promise.all([queue.add(get('a')), queue.add(get('b')), queue.add(get('bad'))]),
    ).toEqual([1, 2, 'earlier']);
  });

  test('a retried write does not overtake a later one to the same record', async () => {
    const { queue } = open();
    const calls = [queue.add(put('a', 'old')), queue.add(refused).catch(() => undefined)];
    await Promise.resolve();
    calls.push(queue.add(put('a', 'new')));
    await Promise.all(calls);
    expect(await queue.add(get('a'))).toBe('new');
  });

  test('a value that cannot be sealed fails alone and opens no transaction', async () => {
    const { queue } = open();
    const results = await Promise.allSettled([
      queue.add(put('a', 1, Promise.reject(new Error('sealing')))),
      queue.add(put('b', 2)),
    ]);
    expect(results.map((r) => r.status)).toEqual(['rejected', 'fulfilled']);
  });

  test('a read of an invalid record fails alone', async () => {
    const { queue } = open();
    const refusing: Operation<never> = {
      ...get('x'),
      read: () => {
        throw new Error('malformed');
      },
    };
    const results = await Promise.allSettled([queue.add(refusing), queue.add(get('y'))]);
    expect(results.map((r) => r.status)).toEqual(['rejected', 'fulfilled']);
  });

  test('the connection is opened again after it was lost', async () => {
    const { database, queue } = open();
    await queue.add(put('a', 1));
    (await database.connect()).close(); // as a browser does, without an event
    await queue.add(put('b', 2));
    expect(await Promise.all([queue.add(get('a')), queue.add(get('b'))])).toEqual([1, 2]);
  });
});
