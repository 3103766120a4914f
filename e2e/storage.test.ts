/** The encrypted storage in real browsers: what goes in comes back, or fails with the right error and nothing lost. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  type Page,
  type Server,
  type Session,
  chromium,
  evaluateInMiniBrowser,
  firefox,
  removeFolder,
  temporaryFolder,
  webkit,
} from './harness/index.js';
import { MASTER_KEY, failure, servePackage } from './support.js';

type Coffer = typeof import('../web/src/index.js');
const MIB = 1 << 20;

let server: Server;
beforeAll(async () => {
  server = await servePackage({
    '/worker.js': `import { createEncryptedStorage } from '/coffer/index.js';
      onmessage = async ({ data }) => {
        const storage = await createEncryptedStorage('worker', 's', { unlock: { masterKey: data } });
        await storage.setEncrypted('k', 'from a worker', 'phi');
        postMessage(await storage.getDecrypted('k'));
      };`,
    '/plain.html': `<!doctype html><title>waiting</title><script type="module" src="/plain.js"></script>`,
    '/plain.js': `import { configure, getDecrypted, setEncrypted } from '/coffer/index.js';
      configure({ unlock: { masterKey: '${MASTER_KEY}' } });
      await setEncrypted('k', { plain: true }, 'pii');
      document.title = JSON.stringify(await getDecrypted('k'));`,
  });
});
afterAll(() => server.close());

/** Runs in a page: one call on a store that is opened for it. */
async function call(db: string, key: string, method: string, ...args: unknown[]): Promise<unknown> {
  const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
  const storage = await createEncryptedStorage(db, 'records', { unlock: { masterKey: key } });
  try {
    return await (storage as unknown as Record<string, (...a: unknown[]) => Promise<unknown>>)[
      method
    ]?.(...args);
  } finally {
    storage.close();
  }
}

describe.each([chromium, firefox, webkit])('storage in $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session?.close());

  test('every class and type of value comes back as it went in', async () => {
    const seen = await page.evaluate(async (key) => {
      const { createEncryptedStorage, DataClassification } = (await import(
        '/coffer/index.js' as string
      )) as Coffer;
      const storage = await createEncryptedStorage('types', 's', { unlock: { masterKey: key } });
      const values: Record<string, unknown> = {
        text: 'héllo \u{1f512} \u0000 \ufffd',
        empty: '',
        bytes: new Uint8Array([0, 1, 255]),
        none: new Uint8Array(0),
        view: new Uint8Array([9, 8, 7, 6]).subarray(1, 3),
        buffer: new Uint8Array([4, 5]).buffer,
        json: { a: [1, null, true, { b: 'ü' }] },
        nothing: null,
        number: -0.5,
        list: [],
        blob: new Blob(['<b>'], { type: 'text/html' }),
        file: new File([new Uint8Array([1, 2])], 'Röntgen.dcm', {
          type: 'application/dicom',
          lastModified: 1234,
        }),
      };
      const describe = async (v: unknown): Promise<string> => {
        if (v instanceof File)
          return `File ${v.name} ${v.type} ${v.lastModified} ${await v.text()}`;
        if (v instanceof Blob) return `Blob ${v.type} ${await v.text()}`;
        if (v instanceof ArrayBuffer) return `ArrayBuffer ${new Uint8Array(v)}`;
        if (v instanceof Uint8Array) return `Uint8Array ${v}`;
        return `${typeof v} ${JSON.stringify(v)}`;
      };
      const wrong: string[] = [];
      let checked = 0;
      for (const cls of Object.values(DataClassification)) {
        for (const [name, value] of Object.entries(values)) {
          const context = { patient: 'Zoë', '': 'empty key', __proto__x: '1' };
          await storage.setEncrypted(`${cls} ${name}`, value, cls, context);
          const [went, came] = [
            await describe(value),
            await describe(await storage.getDecrypted(`${cls} ${name}`)),
          ];
          const header = await storage.inspect(`${cls} ${name}`);
          if (
            went !== came ||
            header?.classification !== cls ||
            JSON.stringify(header.context) !==
              JSON.stringify({ '': 'empty key', __proto__x: '1', patient: 'Zoë' })
          ) {
            wrong.push(`${cls} ${name}: ${went} -> ${came} ${JSON.stringify(header)}`);
          }
          checked++;
        }
      }
      return { wrong, checked };
    }, MASTER_KEY);
    expect(seen).toEqual({ wrong: [], checked: 60 });
  });

  test('a 16 MiB blob and 1,000 records survive a reload', async () => {
    await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('large', 's', { unlock: { masterKey: key } });
      const big = new Uint8Array(16 << 20).map((_, i) => i * 7 + (i >> 8));
      await storage.setEncrypted('big', new Blob([big], { type: 'x/y' }), 'phi');
      await Promise.all(
        Array.from({ length: 1000 }, (_, i) =>
          storage.setEncrypted(`r${i}`, new Uint8Array(1024).fill(i), 'phi'),
        ),
      );
      storage.close();
    }, MASTER_KEY);
    await page.reload();
    const read = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('large', 's', { unlock: { masterKey: key } });
      const big = new Uint8Array(await (await storage.getDecrypted<Blob>('big'))!.arrayBuffer());
      let equal = big.length === 16 << 20 ? 1 : 0;
      for (let i = 0; i < big.length; i++) if (big[i] !== ((i * 7 + (i >> 8)) & 255)) equal = 0;
      for await (const [name, value] of storage.entries<Uint8Array>()) {
        if (
          name !== 'big' &&
          value.length === 1024 &&
          value.every((x) => x === (Number(name.slice(1)) & 255))
        )
          equal++;
      }
      return [equal, await storage.count(), (await storage.keys()).length];
    }, MASTER_KEY);
    expect(read).toEqual([1001, 1001, 1001]);
  });

  test('two tabs opening an empty database together end with one vault, and see each other’s writes', async () => {
    const other = await session.page(server.origin);
    const write = (tab: string) =>
      Promise.all(
        [0, 1, 2].map((i) =>
          [page, other][Number(tab)]!.evaluate(
            call,
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
        expect(await tab.evaluate(call, 'tabs', MASTER_KEY, 'getDecrypted', name)).toBe(name[0]);
      }
    }
    await other.close();
  });

  test('a missing value is null, and delete, exists, clear and stores do what they say', async () => {
    const seen = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const unlock = { masterKey: key };
      const [a, b] = [
        await createEncryptedStorage('stores', 'a', { unlock }),
        await createEncryptedStorage('stores', 'ab', { unlock }),
      ];
      await a.setMany(
        [
          ['x', 1],
          ['y', 2],
        ],
        'internal',
      );
      await b.setEncrypted('x', 3, 'internal');
      const out: unknown[] = [
        await a.getDecrypted('z'),
        await a.inspect('z'),
        await a.getPackage('z'),
      ];
      out.push(
        await a.getMany(['y', 'z', 'x']),
        await a.exists('x'),
        await a.delete('x'),
        await a.delete('x'),
        await a.exists('x'),
        await b.getDecrypted('x'),
      );
      await a.clear();
      out.push(await a.count(), await b.count(), await b.keys());
      a.close();
      out.push(
        await b.getDecrypted('x'),
        await a.getDecrypted('x').catch((e: { code: string }) => e.code),
      );
      return out;
    }, MASTER_KEY);
    expect(seen).toEqual([
      null,
      null,
      null,
      [2, null, 1],
      true,
      true,
      false,
      false,
      3,
      0,
      1,
      ['x'],
      3,
      'closed',
    ]);
  });

  test('entries gives every value up to a record that was altered, and then its error', async () => {
    const seen = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('entries', 's', { unlock: { masterKey: key } });
      await storage.setMany(
        [
          ['a', 0],
          ['b', ''],
          ['c', null],
          ['d', 'moved'],
          ['e', 1],
        ],
        'phi',
      );
      const opening = indexedDB.open('entries');
      await new Promise((resolve) => (opening.onsuccess = resolve));
      const tx = opening.result.transaction('records', 'readwrite');
      const first = tx.objectStore('records').get(['s', 'a']);
      first.onsuccess = () => tx.objectStore('records').put(first.result, ['s', 'd']);
      await new Promise((resolve) => (tx.oncomplete = resolve));
      const out: unknown[] = [];
      try {
        for await (const entry of storage.entries()) out.push(entry);
      } catch (e) {
        out.push((e as { code: string }).code);
      }
      return out;
    }, MASTER_KEY);
    expect(seen).toEqual([['a', 0], ['b', ''], ['c', null], 'authentication_failed']);
  });

  test('a hundred values of a megabyte are read at once', async () => {
    const equal = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('many large', 's', {
        unlock: { masterKey: key },
      });
      const names = Array.from({ length: 100 }, (_, i) => `k${i}`);
      for (const [i, name] of names.entries())
        await storage.setEncrypted(name, new Uint8Array(1_000_000).fill(i), 'phi');
      const values = await Promise.all(names.map((name) => storage.getDecrypted<Uint8Array>(name)));
      return values.filter((v, i) => v?.length === 1_000_000 && v[0] === i && v.at(-1) === i)
        .length;
    }, MASTER_KEY);
    expect(equal).toBe(100);
  });

  test('what cannot be stored is refused with its code, and the earlier value stays', async () => {
    const codes = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('refused', 's', { unlock: { masterKey: key } });
      await storage.setEncrypted('k', 'earlier', 'phi');
      const code = (p: Promise<unknown>) =>
        p.then(
          () => 'accepted',
          (e: { code?: string }) => e.code ?? String(e),
        );
      const attempts: [unknown, string, Record<string, string>?, string?][] = [
        [undefined, 'phi'],
        [() => 1, 'phi'],
        [10n, 'phi'],
        [new Date(0), 'phi'],
        [new Map(), 'phi'],
        [NaN, 'phi'],
        ['\ud800', 'phi'],
        ['v', 'secret'],
        ['v', ''],
        ['v', 'phi', { a: 1 } as never],
        ['v', 'phi', { '\udc00': 'x' }],
        ['v', 'phi', { a: 'x'.repeat(17000) }],
        ['v', 'phi', Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, '']))],
        ['v', 'phi', {}, '\ud800'],
        ['v', 'phi', {}, 'x'.repeat(1025)],
        [new Uint8Array((64 << 20) + 1), 'phi'],
      ];
      const out: string[] = [];
      for (const [value, cls, context, name] of attempts)
        out.push(await code(storage.setEncrypted(name ?? 'k', value, cls as never, context)));
      const circular: Record<string, unknown> = {};
      circular.self = circular;
      out.push(
        await code(storage.setEncrypted('k', circular, 'phi')),
        await code(
          storage.setMany(
            [
              ['k', 'later'],
              ['l', undefined],
            ],
            'phi',
          ),
        ),
      );
      return [...out, await storage.getDecrypted('k'), await storage.exists('l')];
    }, MASTER_KEY);
    const invalid = 'invalid_argument';
    expect(codes).toEqual([
      ...Array<string>(11).fill(invalid),
      'too_large',
      'too_large',
      invalid,
      'too_large',
      'too_large',
      invalid,
      invalid,
      'earlier',
      false,
    ]);
  });

  test('a wrong secret, no secret and another vault are three different errors', async () => {
    await page.evaluate(call, 'secrets', MASTER_KEY, 'setEncrypted', 'k', 'v', 'phi');
    const other = Buffer.alloc(32, 1).toString('base64');
    expect(await failure(page.evaluate(call, 'secrets', other, 'getDecrypted', 'k'))).toMatchObject(
      { name: 'KeyError', code: 'wrong_secret' },
    );
    expect(
      await failure(page.evaluate(call, 'secrets', 'a passphrase', 'getDecrypted', 'k')),
    ).toMatchObject({ code: 'invalid_argument' });
    const unconfigured = async () =>
      ((await import('/coffer/index.js' as string)) as Coffer).getDecrypted('k');
    expect(await failure(page.evaluate(unconfigured))).toMatchObject({
      code: 'not_configured',
      message: expect.stringContaining('configure'),
    });
    expect(await page.evaluate(call, 'secrets', MASTER_KEY, 'getDecrypted', 'k')).toBe('v');
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
    await page.evaluate(call, 'deleted', MASTER_KEY, 'setEncrypted', 'k', 'new', 'phi');
    expect(await page.evaluate(call, 'deleted', MASTER_KEY, 'getDecrypted', 'k')).toBe('new');
  });

  test('what was given in the tick of the call is what is stored, whatever the caller changes later', async () => {
    const seen = await page.evaluate(async (key) => {
      const { configure, createEncryptedStorage, EncryptionService, getDecrypted, setEncrypted } =
        (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('snapshots', 's', {
        unlock: { masterKey: key },
      });
      const [context, blobContext, bytes] = [
        { patient: 'P1' },
        { patient: 'P1' },
        new Uint8Array([1]),
      ];
      const writes = [
        storage.setEncrypted('context', 'x', 'phi', context),
        storage.setEncrypted('blob', new Blob(['x']), 'phi', blobContext),
        storage.setEncrypted('bytes', bytes, 'pii'),
      ];
      [context.patient, blobContext.patient, bytes[0]] = ['P2', 'P2', 9];
      await Promise.all(writes);
      configure({ unlock: { masterKey: key } });
      const [object, list, sealed] = [{ x: 1 }, new Uint8Array([1]), { y: 1 }];
      const more = [setEncrypted('object', object, 'phi'), setEncrypted('list', list, 'phi')];
      const service = new EncryptionService({ masterKey: key });
      const packed = service.encrypt(sealed, 'phi', context);
      [object.x, list[0], sealed.y, context.patient] = [2, 9, 2, 'P3'];
      await Promise.all(more);
      return [
        (await storage.inspect('context'))?.context,
        (await storage.inspect('blob'))?.context,
        [...(await storage.getDecrypted<Uint8Array>('bytes'))!],
        await getDecrypted('object'),
        [...(await getDecrypted<Uint8Array>('list'))!],
        await service.decrypt(await packed),
        (await packed).metadata.context,
      ];
    }, MASTER_KEY);
    expect(seen).toEqual([
      { patient: 'P1' },
      { patient: 'P1' },
      [1],
      { x: 1 },
      [1],
      { y: 1 },
      { patient: 'P2' },
    ]);
  });

  test('call order holds over stores that were opened apart', async () => {
    const value = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const [a, b] = [
        await createEncryptedStorage('order', 's', { unlock: { masterKey: key } }),
        await createEncryptedStorage('order', 's', { unlock: { masterKey: key } }),
      ];
      await Promise.all([
        a.setEncrypted('k', new Blob([new Uint8Array(16 << 20)]), 'phi'),
        b.setEncrypted('k', 'second', 'phi'),
      ]);
      return a.getDecrypted('k');
    }, MASTER_KEY);
    expect(value).toBe('second');
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

  test('a value is stored however deep, or refused', async () => {
    const seen = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('deep', 's', { unlock: { masterKey: key } });
      const out: unknown[] = [];
      for (const depth of [1000, 4000, 20_000, 100_000]) {
        let value: unknown = null;
        for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { value };
        const code = await storage.setEncrypted('k', value, 'phi').then(
          () => 'stored',
          (e: { code?: string }) => e.code ?? String(e),
        );
        if (code !== 'invalid_argument') {
          type Nested = Nested[] | { value: Nested } | null;
          let found: Nested | undefined = await storage.getDecrypted<Nested>('k');
          let n = 0;
          for (; found; n++) found = Array.isArray(found) ? found[0] : found.value;
          out.push([code, n - depth]);
        }
      }
      return out;
    }, MASTER_KEY);
    expect(seen).toContainEqual(['stored', 0]);
    expect(new Set(seen.map(String))).toEqual(new Set(['stored,0']));
  });

  test('calls made before configure are done, whatever it sets', async () => {
    const seen = await page.evaluate(async (key) => {
      const { configure, getDecrypted, setEncrypted } = (await import(
        '/coffer/index.js' as string
      )) as Coffer;
      const code = (p: Promise<unknown>) =>
        p.then(
          (v) => v ?? 'done',
          (e: { code?: string }) => e.code ?? String(e),
        );
      const unlock = { masterKey: key };
      configure({ unlock });
      const opening = code(setEncrypted('before', 1, 'phi'));
      configure({ unlock });
      const out = [await opening, await code(getDecrypted('before'))];
      const open = code(setEncrypted('before', 2, 'phi'));
      const read = code(getDecrypted('before'));
      configure({ unlock });
      out.push(await open, await read);
      const many = Promise.all(
        Array.from({ length: 20 }, (_, i) => code(setEncrypted(`before ${i}`, i, 'phi'))),
      );
      await null;
      configure({ unlock });
      return [...out, ...new Set(await many)];
    }, MASTER_KEY);
    expect(seen).toEqual(['done', 1, 'done', 2, 'done']);
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

  test.each([
    'application/wasm; charset=utf-8',
    'application/wasm;',
    'Application/Wasm',
    'application/wasm+x',
    'text/plain',
  ])('the core loads from a server that sends it as %s', async (type) => {
    const { origin, close } = await servePackage(
      {},
      { '/coffer/coffer.wasm': { 'Content-Type': type } },
    );
    onTestFinished(close);
    const other = await session.page(origin);
    expect(await other.evaluate(call, 'types of the core', MASTER_KEY, 'count')).toBe(0);
    await other.close();
  });

  test('a refused keyset document changes nothing at rest', async () => {
    const seen = await page.evaluate(async (key) => {
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const code = (p: Promise<unknown>) =>
        p.then(
          () => 'accepted',
          (e: { code?: string }) => e.code ?? String(e),
        );
      const documentOf = async (db: string, environment: string) => {
        (
          await createEncryptedStorage(db, 's', { unlock: { masterKey: key }, environment })
        ).close();
        const opening = indexedDB.open(db);
        await new Promise((resolve) => (opening.onsuccess = resolve));
        const request = opening.result.transaction('vault').objectStore('vault').get('document');
        await new Promise((resolve) => (request.onsuccess = resolve));
        opening.result.close();
        return request.result as Uint8Array;
      };
      const [dev, prod] = [
        await documentOf('dev vault', 'dev'),
        await documentOf('prod vault', 'prod'),
      ];
      const open = (keyset: Uint8Array) =>
        code(
          createEncryptedStorage('supplied', 's', {
            unlock: { keyset, masterKey: key },
            environment: 'prod',
          }),
        );
      // The last key, of class phi, is only named: it and its primary are of a line that no slot opens.
      const naming = prod.slice();
      for (const at of [187 + 2 + 120, 187 - 41]) naming[naming.length - at]! ^= 1;
      const out = [await open(dev), await open(prod), await open(dev), await open(naming)];
      const storage = await createEncryptedStorage('supplied', 's', {
        unlock: { keyset: prod, masterKey: key },
      });
      await storage.setEncrypted('k', 'v', 'phi');
      return [
        ...out,
        await code(
          createEncryptedStorage('supplied', 's', { unlock: { keyset: dev, masterKey: key } }),
        ),
        await storage.getDecrypted('k'),
      ];
    }, MASTER_KEY);
    expect(seen).toEqual([
      'invalid_argument',
      'accepted',
      'invalid_argument',
      'invalid_argument',
      'invalid_argument',
      'v',
    ]);
  });

  test('arguments of the wrong kind are typed errors, and nothing is left unhandled', async () => {
    const seen = await page.evaluate(async (key) => {
      const { createEncryptedStorage, EncryptionService } = (await import(
        '/coffer/index.js' as string
      )) as Coffer;
      let unhandled = 0;
      addEventListener('unhandledrejection', () => unhandled++);
      const code = (p: Promise<unknown>) =>
        p.then(
          () => 'accepted',
          (e: { code?: string }) => e.code ?? String(e),
        );
      const open = (...args: unknown[]) =>
        code((createEncryptedStorage as (...a: unknown[]) => Promise<unknown>)(...args));
      const out = [
        await open('d', 's', { unlock: 'text' }),
        await open('d', 5, { unlock: { masterKey: key } }),
        await open(null, 's'),
        await open('d', 's', { unlock: { masterKey: key }, minClass: 'x' }),
      ];
      for (const source of [undefined, null, 7])
        out.push(await code((async () => new EncryptionService(source as never))()));
      const storage = await createEncryptedStorage('kinds', 's', { unlock: { masterKey: key } });
      for (const context of [new Map([['a', 'b']]), 'abc', null])
        out.push(await code(storage.setEncrypted('k', 1, 'phi', context as never)));
      out.push(
        await code(
          storage.setMany(
            [
              ['a', undefined],
              ['\ud800', 1],
            ],
            'phi',
          ),
        ),
      );
      storage.close();
      out.push(await code(storage.setEncrypted('k', undefined, 'phi')));
      await new Promise((resolve) => setTimeout(resolve, 50));
      return [...out, unhandled];
    }, MASTER_KEY);
    expect(seen).toEqual([...Array<string>(11).fill('invalid_argument'), 'closed', 0]);
  });

  test('works in a worker, and from a plain module script on the default store', async () => {
    const worker = async (key: string) => {
      const worker = new Worker('/worker.js', { type: 'module' });
      const answer = new Promise((resolve, reject) =>
        Object.assign(worker, {
          onmessage: (e: MessageEvent) => resolve(e.data),
          onerror: (e: ErrorEvent) => reject(new Error(e.message)),
        }),
      );
      worker.postMessage(key);
      return answer;
    };
    expect(await page.evaluate(worker, MASTER_KEY)).toBe('from a worker');
    const plain = await session.page(`${server.origin}/plain.html`);
    const title = async () => {
      while (document.title === 'waiting') await new Promise((resolve) => setTimeout(resolve, 20));
      return document.title;
    };
    expect(await plain.evaluate(title)).toBe('{"plain":true}');
    await plain.close();
  });

  test('leaves no trace on the page’s globals, and only keys that cannot be exported', async () => {
    const seen = await page.evaluate(async (key) => {
      const before = new Set(Object.getOwnPropertyNames(globalThis));
      const extractable: string[] = [];
      for (const method of ['importKey', 'deriveKey', 'unwrapKey'] as const) {
        const original = crypto.subtle[method].bind(crypto.subtle) as (
          ...a: unknown[]
        ) => Promise<CryptoKey>;
        Object.assign(crypto.subtle, {
          [method]: (...a: unknown[]) =>
            original(...a).then((k) => (k.extractable && extractable.push(method), k)),
        });
      }
      const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
      const storage = await createEncryptedStorage('globals', 's', { unlock: { masterKey: key } });
      await storage.setEncrypted('k', 'v', 'phi');
      await storage.getDecrypted('k');
      return [
        Object.getOwnPropertyNames(globalThis).filter((name) => !before.has(name)),
        extractable,
      ];
    }, MASTER_KEY);
    expect(seen).toEqual([[], []]);
  });
});

describe('profiles', () => {
  test.each([chromium, firefox])(
    'storage in $name: closed and opened again, all is there',
    async (engine) => {
      const profileDir = await profile();
      const first = await engine.open({ profileDir });
      await (await first.page(server.origin)).evaluate(
        call,
        'kept',
        MASTER_KEY,
        'setEncrypted',
        'k',
        'across a restart',
        'phi',
      );
      await first.close();
      const second = await engine.open({ profileDir });
      onTestFinished(() => second.close());
      expect(
        await (await second.page(server.origin)).evaluate(
          call,
          'kept',
          MASTER_KEY,
          'getDecrypted',
          'k',
        ),
      ).toBe('across a restart');
    },
  );

  test('storage in webkit: closed and opened again, all is there', async () => {
    const run = { server, profileDir: await profile() };
    await evaluateInMiniBrowser(
      run,
      call,
      'kept',
      MASTER_KEY,
      'setEncrypted',
      'k',
      'across a restart',
      'phi',
    );
    expect(await evaluateInMiniBrowser(run, call, 'kept', MASTER_KEY, 'getDecrypted', 'k')).toBe(
      'across a restart',
    );
  });
});

describe('quota', () => {
  /** What fits is stored, what does not fails alone, and the earlier value stays. */
  async function exceeds(page: Page): Promise<void> {
    const seen = await page.evaluate(
      async (key, big: Uint8Array) => {
        const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
        const storage = await createEncryptedStorage('quota', 's', { unlock: { masterKey: key } });
        await storage.setEncrypted('big', 'earlier', 'phi');
        const code = (p: Promise<unknown>) =>
          p.then(
            () => 'stored',
            (e: { code: string }) => e.code,
          );
        const outcomes = await Promise.all([
          code(storage.setEncrypted('a', 1, 'phi')),
          code(storage.setEncrypted('big', big, 'phi')),
          code(storage.setEncrypted('b', 2, 'phi')),
        ]);
        return [...outcomes, await storage.getMany(['a', 'big', 'b'])];
      },
      MASTER_KEY,
      new Uint8Array(randomBytes(6 * MIB)),
    );
    expect(seen).toEqual(['stored', 'quota_exceeded', 'stored', [1, 'earlier', 2]]);
  }

  test('storage in chromium', async () => {
    const session = await chromium.open();
    onTestFinished(() => session.close());
    const page = await session.page(server.origin);
    await session.setQuota(server.origin, 4 * MIB);
    await exceeds(page);
  });

  test('storage in firefox', async () => {
    const session = await firefox.open({ storageLimit: 4 * MIB });
    onTestFinished(() => session.close());
    await exceeds(await session.page(server.origin));
  });
});

async function profile(): Promise<string> {
  const folder = await temporaryFolder();
  onTestFinished(() => removeFolder(folder));
  return folder;
}
