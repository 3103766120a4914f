/** “Operations” in the demo as those see it who may see all of it, or a part, served by the real binary, in the three engines. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildServer, makeToken } from './demo/build.js';
import { installVisitor, unlock } from './demo/visitor.js';
import { type Page, type Session, chromium, firefox, removeFolder, temporaryFolder, webkit } from './harness/index.js';
import { type CofferServer, startCoffer } from './server.js';

let folder: string;
let binary: string;
let server: CofferServer;

beforeAll(async () => {
  folder = await temporaryFolder();
  binary = await buildServer(folder);
  server = await startCoffer(binary, join(folder, 'data'));
}, 300_000);
afterAll(async () => {
  await server?.close();
  await removeFolder(folder);
});

const token = (tenant: string, scopes: string) => makeToken(binary, join(folder, 'data'), tenant, scopes);

/** Signs in with a token, in place of the one before. */
async function signIn(token: string): Promise<void> {
  await visitor.press('Server’s cache');
  const before = [...document.querySelectorAll<HTMLButtonElement>('button')].find(({ textContent }) => textContent === 'Sign out');
  before?.click();
  await visitor.type('#token', token);
  await visitor.press('Sign in');
  await visitor.until(() => document.querySelector('.server-status.ready'));
}

/** Puts an entry into a tenant's cache. */
async function put(bearer: string, key: string): Promise<void> {
  const { status } = await fetch(`${server.origin}/v1/cache/${key}?class=phi`, { method: 'PUT', body: 'a value', headers: { Authorization: `Bearer ${bearer}` } });
  expect(status).toBe(204);
}

describe.each([chromium, firefox, webkit])('operations ($name)', (engine) => {
  let session: Session;
  let page: Page;

  beforeAll(async () => {
    await put(server.token, 'default');
    session = await engine.open();
    page = await session.page(`${server.origin}/`);
    await page.evaluate(installVisitor);
    await page.evaluate(unlock, 'a password of the test');
  });
  afterAll(() => session?.close());

  test('an operator’s token opens no data, and operations nonetheless', async () => {
    await page.evaluate(signIn, await token('*', 'keys:admin,audit:read'));
    expect(await page.evaluate(() => visitor.text('.cache .problem'))).toContain('forbidden');
    await page.evaluate(() => visitor.press('Operations'));
    await page.evaluate(() => visitor.until(() => document.querySelector('.keysets tbody tr') && document.querySelector('.audit tbody tr') && document.querySelector('.spark')).then(() => undefined));
    expect(await page.evaluate(() => document.querySelector('.problem, .scope-missing'))).toBeNull();
  });

  test('each panel is shown by what the token may, and says which scope it lacks', async () => {
    await page.evaluate(signIn, await token('*', 'keys:admin'));
    await page.evaluate(() => visitor.press('Operations'));
    await page.evaluate(() => visitor.until(() => document.querySelector('.keysets tbody tr') && document.querySelectorAll('.scope-missing').length === 2).then(() => undefined));
    expect(await page.evaluate(() => [...document.querySelectorAll('.scope-missing code')].map(({ textContent }) => textContent))).toEqual(['audit:read', 'audit:read']);
    await page.evaluate(signIn, await token('default', 'audit:read'));
    await page.evaluate(() => visitor.press('Operations'));
    await page.evaluate(() => visitor.until(() => document.querySelector('.audit tbody tr') && document.querySelector('.spark')).then(() => undefined));
    expect(await page.evaluate(() => [...document.querySelectorAll('.scope-missing code')].map(({ textContent }) => textContent))).toEqual(['keys:admin']);
    expect(await page.evaluate(() => document.querySelector('.views .server-status.ready') !== null)).toBe(true);
  });
});
