/** Databases in real browsers: created by two tabs, deleted, blocked, or made by other software. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Page,
  type Server,
  type Session,
  chromium,
  firefox,
  webkit,
} from './harness/index.js';
import { type Coffer, callStorage, serveStorage } from './page/storage.js';
import { MASTER_KEY } from './support.js';

let server: Server;
beforeAll(async () => {
  server = await serveStorage();
});
afterAll(() => server.close());

describe.each([chromium, firefox, webkit])('databases in $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session?.close());

  test('two tabs opening an empty database together end with one vault, and see each other’s writes', async () => {
    const other = await session.page(server.origin);
    const write = (tab: string) =>
      Promise.all(
        [0, 1, 2].map((i) =>
          [page, other][Number(tab)]!.evaluate(
            callStorage,
            'tabs',
            MASTER_KEY,
            'setEncrypted',
            `${tab}-${i}`,
            tab,
            'phi',
          ),
        ),
      );
    await Promise.all([write('0'), write('1')]);
    for (const tab of [page, other]) {
      for (const name of ['0-0', '0-1', '0-2', '1-0', '1-1', '1-2']) {
        expect(await tab.evaluate(callStorage, 'tabs', MASTER_KEY, 'getDecrypted', name)).toBe(
          name[0],
        );
      }
    }
    await other.close();
  });

  test('a database deleted under an open store is an error, never a second vault with lost keys', async () => {
    const code = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('deleted', 's', { unlock: { masterKey: key } });
      await storage.setEncrypted('k', 'v', 'phi');
      await new Promise((resolve, reject) =>
        Object.assign(indexedDB.deleteDatabase('deleted'), {
          onsuccess: resolve,
          onerror: reject,
          onblocked: reject,
        }),
      );
      return storage.setEncrypted('k', 'w', 'phi').then(
        () => 'accepted',
        (e: { code: string }) => e.code,
      );
    }, MASTER_KEY);
    expect(code).toBe('connection_lost');
    await page.evaluate(callStorage, 'deleted', MASTER_KEY, 'setEncrypted', 'k', 'new', 'phi');
    expect(await page.evaluate(callStorage, 'deleted', MASTER_KEY, 'getDecrypted', 'k')).toBe(
      'new',
    );
  });

  test('the environment is checked at every opening, and the default store outlives its database', async () => {
    const seen = await page.evaluate(async (key) => {
      const { configure, createEncryptedStorage, getDecrypted, setEncrypted } = (await import(
        '/coffer/index.js' as string
      )) as Coffer;
      const code = (p: Promise<unknown>) =>
        p.then(
          () => 'accepted',
          (e: { code?: string }) => e.code ?? String(e),
        );
      const unlock = { masterKey: key };
      const out = [
        await code(createEncryptedStorage('labelled', 's', { unlock, environment: 'dev' })),
        await code(createEncryptedStorage('labelled', 's', { unlock, environment: 'prod' })),
      ];
      configure({ unlock });
      await setEncrypted('k', 1, 'phi');
      await new Promise((resolve, reject) =>
        Object.assign(indexedDB.deleteDatabase('coffer'), { onsuccess: resolve, onerror: reject }),
      );
      out.push(
        await code(setEncrypted('k', 2, 'phi')),
        await code(setEncrypted('k', 3, 'phi')),
        String(await getDecrypted('k')),
      );
      return out;
    }, MASTER_KEY);
    expect(seen).toEqual(['accepted', 'invalid_argument', 'connection_lost', 'accepted', '3']);
  });

  test('a database without our object stores is refused and left as it is', async () => {
    const seen = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const open = (name: string, stores: string[] = []) =>
        new Promise<IDBDatabase>((resolve, reject) => {
          const opening = indexedDB.open(name, 1);
          opening.onupgradeneeded = () =>
            stores.forEach((store) => opening.result.createObjectStore(store));
          opening.onsuccess = () => resolve(opening.result);
          opening.onerror = () => reject(opening.error);
        });
      const out: unknown[] = [];
      const databases: Record<string, string[]> = {
        'of others': ['keyvaluepairs'],
        'without stores': [],
        'half of it': ['vault'],
      };
      for (const [name, stores] of Object.entries(databases)) {
        (await open(name, stores)).close();
        out.push(
          await createEncryptedStorage(name, 's', { unlock: { masterKey: key } }).then(
            () => 'accepted',
            (e: { code?: string }) => e.code ?? String(e),
          ),
        );
        const found = await open(name);
        out.push([...found.objectStoreNames]);
        if (stores.includes('vault')) {
          const count = found.transaction('vault').objectStore('vault').count();
          out.push(await new Promise((resolve) => (count.onsuccess = () => resolve(count.result))));
        }
        found.close();
      }
      return out;
    }, MASTER_KEY);
    const refused = 'unsupported_version';
    expect(seen).toEqual([refused, ['keyvaluepairs'], refused, [], refused, ['vault'], 0]);
  });

  test('a database behind a blocked deletion is reported, and opens when it ended', async () => {
    const code = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const open = () => createEncryptedStorage('blocked', 's', { unlock: { masterKey: key } });
      const storage = await open();
      await storage.setEncrypted('k', 'v', 'phi');
      storage.close();
      const holder = indexedDB.open('blocked', 1);
      await new Promise((resolve) => (holder.onsuccess = resolve)); // and it ignores version changes
      const deletion = indexedDB.deleteDatabase('blocked');
      await new Promise((resolve) => (deletion.onblocked = resolve));
      const seen = await open().then(
        () => 'accepted',
        (e: { code?: string }) => e.code ?? String(e),
      );
      holder.result.close();
      return [seen, await (await open()).count()];
    }, MASTER_KEY);
    expect(code).toEqual(['database_blocked', 0]);
  });
});
