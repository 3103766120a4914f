/** Calls in real browsers: their order, the default store, and the settings of the page. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  type Page,
  type Server,
  type Session,
  chromium,
  firefox,
  webkit,
} from './harness/index.js';
import { type Coffer, callStorage, serveStorage } from './page/storage.js';
import { MASTER_KEY, servePackage } from './support.js';

let server: Server;
beforeAll(async () => {
  server = await serveStorage();
});
afterAll(() => server.close());

describe.each([chromium, firefox, webkit])('calls in $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session?.close());

  test('a call stores the value it was called with, even if the caller changes it later', async () => {
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

  test('calls keep their order across separately opened stores', async () => {
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

  test('calls made before configure complete, whatever it sets', async () => {
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
    expect(await other.evaluate(callStorage, 'types of the core', MASTER_KEY, 'count')).toBe(0);
    await other.close();
  });
});
