/** Storage across restarts of real browsers, and at the limit of their quota. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  type Page,
  type Server,
  chromium,
  evaluateInMiniBrowser,
  firefox,
  removeFolder,
  temporaryFolder,
} from './harness/index.js';
import { type Coffer, MIB, callStorage, serveStorage } from './page/storage.js';
import { MASTER_KEY } from './support.js';

let server: Server;
beforeAll(async () => {
  server = await serveStorage();
});
afterAll(() => server.close());

describe('profiles', () => {
  test.each([chromium, firefox])(
    'storage in $name: closed and opened again, all is there',
    async (engine) => {
      const profileDir = await profile();
      const first = await engine.open({ profileDir });
      await (await first.page(server.origin)).evaluate(
        callStorage,
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
          callStorage,
          'kept',
          MASTER_KEY,
          'getDecrypted',
          'k',
        ),
      ).toBe('across a restart');
    },
  );

  test('storage in webkit: all values are there after a restart', async () => {
    const run = { server, profileDir: await profile() };
    await evaluateInMiniBrowser(
      run,
      callStorage,
      'kept',
      MASTER_KEY,
      'setEncrypted',
      'k',
      'across a restart',
      'phi',
    );
    expect(
      await evaluateInMiniBrowser(run, callStorage, 'kept', MASTER_KEY, 'getDecrypted', 'k'),
    ).toBe('across a restart');
  });
});

describe('quota', () => {
  /** Values that fit are stored. A value that does not fit fails alone, and the earlier value stays. */
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
