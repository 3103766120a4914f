/** The React hook: loading, updating, failing, and changing the key while something is under way. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Server, type Session, chromium } from './harness/index.js';
import { bundle, call } from './page/bundle.js';
import { MASTER_KEY, servePackage } from './support.js';

let server: Server;
let session: Session;
beforeAll(async () => {
  server = await servePackage(await bundle('react'));
  session = await chromium.open();
});
afterAll(async () => {
  await session?.close();
  await server?.close();
});

test('useEncryptedStorage (chromium)', async () => {
  const seen = await call<Record<string, unknown>>(
    await session.page(server.origin),
    'react',
    'hook',
    MASTER_KEY,
  );
  expect(seen).toEqual({
    failedAtOnce: ['first', false, 'invalid_argument'],
    writtenAtOnce: ['early', false, null],
    failedWhileLoading: 'invalid_argument',
    loadedAllTheSame: ['first', false, 'invalid_argument'],
    updated: ['second', false, null],
    refused: 'invalid_argument',
    keptWithError: ['second', false, 'invalid_argument'],
    otherKey: ['other', false, null],
    stillTheOther: ['other', false, null],
    missing: [null, false, null],
  });
});
