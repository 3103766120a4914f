/** Wycheproof in three browsers, through the package's own functions over WebCrypto; the server's are tested in internal/secret. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Page,
  type Server,
  type Session,
  chromium,
  firefox,
  webkit,
} from './harness/index.js';
import { interop } from './interop/program.js';
import { bundle, call } from './page/bundle.js';
import type { Outcome } from './page/check.js';
import { servePackage } from './support.js';

interface Vector {
  result: 'valid' | 'invalid';
}

let server: Server;
let vectors: Record<'gcm' | 'hkdf' | 'pbkdf2', Vector[]>;
beforeAll(async () => {
  vectors = await interop('vectors');
  server = await servePackage({
    '/wycheproof.json': JSON.stringify(vectors),
    ...(await bundle('wycheproof')),
  });
});
afterAll(() => server.close());

describe.each([chromium, firefox, webkit])('Wycheproof in $name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session.close());

  test.each([
    ['AES-256-GCM', 'gcm', 'gcm', 27],
    ['HKDF-SHA256', 'hkdf', 'hkdfSha256', 3],
    ['PBKDF2-HMAC-SHA256', 'pbkdf2', 'pbkdf2HmacSha256', 0],
  ] as const)('%s', async (_name, primitive, check, invalid) => {
    const count = vectors[primitive].length;
    expect(count).toBeGreaterThanOrEqual(60);
    expect(vectors[primitive].filter((v) => v.result !== 'valid').length).toBeGreaterThanOrEqual(
      invalid,
    );
    expect(await call<Outcome>(page, 'wycheproof', check, engine.name)).toEqual({
      checked: count,
      wrong: [],
    });
  });
});
