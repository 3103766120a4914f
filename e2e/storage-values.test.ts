/** Values in real browsers: every type is read back as it was stored, however many and large. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Page,
  type Server,
  type Session,
  chromium,
  firefox,
  webkit,
} from './harness/index.js';
import { type Coffer, serveStorage } from './page/storage.js';
import { MASTER_KEY } from './support.js';

let server: Server;
beforeAll(async () => {
  server = await serveStorage();
});
afterAll(() => server.close());

describe.each([chromium, firefox, webkit])('values in $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session?.close());

  test('a value of every class and type is read back unchanged', async () => {
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

  test('a missing value is null, and delete, exists, clear and stores work as documented', async () => {
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

  test('entries yields every value before an altered record, and then throws its error', async () => {
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

  test('a deeply nested value is stored or refused', async () => {
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
});
