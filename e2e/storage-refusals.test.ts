/** Refusals in real browsers: invalid values, arguments and secrets are typed errors, and stored values are unchanged. */
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
import { MASTER_KEY, failure } from './support.js';

let server: Server;
beforeAll(async () => {
  server = await serveStorage();
});
afterAll(() => server.close());

describe.each([chromium, firefox, webkit])('refusals in $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session?.close());

  test('an invalid value is refused with its code, and the earlier value stays', async () => {
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
    await page.evaluate(callStorage, 'secrets', MASTER_KEY, 'setEncrypted', 'k', 'v', 'phi');
    const other = Buffer.alloc(32, 1).toString('base64');
    expect(
      await failure(page.evaluate(callStorage, 'secrets', other, 'getDecrypted', 'k')),
    ).toMatchObject({ name: 'KeyError', code: 'wrong_secret' });
    expect(
      await failure(page.evaluate(callStorage, 'secrets', 'a passphrase', 'getDecrypted', 'k')),
    ).toMatchObject({ code: 'invalid_argument' });
    const unconfigured = async () =>
      ((await import('/coffer/index.js' as string)) as Coffer).getDecrypted('k');
    expect(await failure(page.evaluate(unconfigured))).toMatchObject({
      code: 'not_configured',
      message: expect.stringContaining('configure'),
    });
    expect(await page.evaluate(callStorage, 'secrets', MASTER_KEY, 'getDecrypted', 'k')).toBe('v');
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
      // Of the last key, of class phi, only the id is read: no slot opens the root of the key and its primary.
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
});
