/** The page “Operations” of the demo for tokens with all or some scopes, served by the real binary, in the three engines. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildServer, makeToken } from './demo/build.js';
import { installVisitor, unlock } from './demo/visitor.js';
import {
  type Page,
  type Session,
  chromium,
  firefox,
  removeFolder,
  temporaryFolder,
  webkit,
} from './harness/index.js';
import { type CofferServer, startCoffer } from './server.js';

const MANY = 33; // tenants beside the server's own

let folder: string;
let binary: string;
let server: CofferServer;

beforeAll(async () => {
  folder = await temporaryFolder();
  binary = await buildServer();
  server = await startCoffer(binary, join(folder, 'data'));
  const add = async (from: number) => {
    for (let i = from; i < MANY; i += 3)
      await put(await token(`clinic-${i}`, 'cache:write'), 'patient');
  };
  await Promise.all([0, 1, 2].map(add));
}, 300_000);
afterAll(async () => {
  await server?.close();
  await removeFolder(folder);
});

const token = (tenant: string, scopes: string) =>
  makeToken(binary, join(folder, 'data'), tenant, scopes);

/** Signs in with a token, which replaces the previous one. */
async function signIn(token: string): Promise<void> {
  await visitor.press('Server’s cache');
  const before = [...document.querySelectorAll<HTMLButtonElement>('button')].find(
    ({ textContent }) => textContent === 'Sign out',
  );
  before?.click();
  await visitor.type('#token', token);
  await visitor.press('Sign in');
  await visitor.until(() => document.querySelector('.server-status.ready'));
}

/** Opens a tab of operations. */
async function watch(tab: string): Promise<void> {
  await visitor.press('Operations');
  await visitor.press(tab);
}

/** Chooses an option of a list, as a visitor does. */
async function choose(selector: string, value: string): Promise<void> {
  const list = await visitor.until(() => document.querySelector<HTMLSelectElement>(selector));
  list.value = value;
  list.dispatchEvent(new Event('change', { bubbles: true }));
}

const severityCells = () =>
  [...document.querySelectorAll('.audit tbody tr')].map((row) => row.children[1]?.textContent);

/** Puts an entry into a tenant's cache. */
async function put(bearer: string, key: string): Promise<void> {
  const { status } = await fetch(`${server.origin}/v1/cache/${key}?class=phi`, {
    method: 'PUT',
    body: 'a value',
    headers: { Authorization: `Bearer ${bearer}` },
  });
  expect(status).toBe(204);
}

describe.each([chromium, firefox, webkit])('operations ($name)', (engine) => {
  let session: Session;
  let page: Page;

  beforeAll(async () => {
    for (let i = 0; i < 5; i++) await put(server.token, `entry-${i}`);
    session = await engine.open();
    page = await session.page(`${server.origin}/`);
    await page.evaluate(installVisitor);
    await page.evaluate(unlock, 'a password of the test');
  });
  afterAll(() => session?.close());

  test('a tenant’s token shows its own keysets, the progress of a rotation, and its rollback', async () => {
    await page.evaluate(signIn, server.token);
    await page.evaluate(watch, 'Keys');
    expect(await page.evaluate(() => visitor.text('.keysets tbody'))).toMatch(
      /cache\s+PHI\s+[0-9a-f]{12}…\s+0 hours, next in \d+ days\s+\d+ enabled/,
    );
    await page.evaluate(() =>
      visitor
        .until(() =>
          /^(Oldest primary 0 hours|Keysets:),? none overdue$/.test(
            document.querySelector('.keysets .server-status.ready')?.textContent ?? '',
          ),
        )
        .then(() => undefined),
    );
    await page.evaluate(() =>
      visitor
        .until(() => document.querySelectorAll('.spark polyline').length === 4)
        .then(() => undefined),
    );
    const primaries = () =>
      page.evaluate(() =>
        [...document.querySelectorAll('.keysets tbody code')]
          .map(({ textContent }) => textContent)
          .join(),
      );
    const before = await primaries();
    await page.evaluate(async (before: string) => {
      const shown = () =>
        [...document.querySelectorAll('.keysets tbody code')]
          .map(({ textContent }) => textContent)
          .join();
      await visitor.press('Rotate the keys of default');
      await visitor.press('Make new keys');
      await visitor.until(
        () =>
          shown() !== before &&
          /[1-9]\d* re-encrypted/.test(document.querySelector('.rotation')?.textContent ?? ''),
      );
    }, before);
    const after = await primaries();
    await page.evaluate(async (after: string) => {
      const shown = () =>
        [...document.querySelectorAll('.keysets tbody code')]
          .map(({ textContent }) => textContent)
          .join();
      await visitor.press('Roll back');
      await visitor.press('Make the old keys seal again');
      await visitor.until(
        () =>
          document.querySelector('.rotation')?.textContent?.includes('Rolled back') &&
          shown() !== after,
      );
    }, after);
    expect(await primaries()).toBe(before);
  });

  test('the audit trail is filtered by severity, class, action and time, and shows new events automatically', async () => {
    await page.evaluate(watch, 'Audit trail');
    await page.evaluate(() =>
      visitor
        .until(() => document.querySelectorAll('.audit tbody tr').length > 1)
        .then(() => undefined),
    );
    await fetch(`${server.origin}/v1/keys?tenant=other`, {
      headers: { Authorization: `Bearer ${server.token}` },
    }); // refused: a warning
    await page.evaluate(choose, '.audit-filter [name=severity]', 'warning');
    await page.evaluate(() =>
      visitor
        .until(
          () =>
            document.querySelector('.audit tbody tr') &&
            [...document.querySelectorAll('.audit tbody tr')].every(
              (row) => row.className === 'severity-warning',
            ),
        )
        .then(() => undefined),
    );
    expect(new Set(await page.evaluate(severityCells))).toEqual(new Set(['warning']));
    const count = await page.evaluate(() => document.querySelectorAll('.audit tbody tr').length);
    await fetch(`${server.origin}/v1/audit?tenant=other`, {
      headers: { Authorization: `Bearer ${server.token}` },
    }); // another operation: the same one would be counted, and recorded within a minute
    await page.evaluate(
      (count: number) =>
        visitor
          .until(() => document.querySelectorAll('.audit tbody tr').length > count)
          .then(() => undefined),
      count,
    );
    await page.evaluate(choose, '.audit-filter [name=severity]', '');
    await page.evaluate(choose, '.audit-filter [name=class]', 'phi');
    await page.evaluate(async () => {
      await visitor.type('.audit-filter [name=action]', 'key.seal');
      await visitor.press('Show');
      const codes = () =>
        [...document.querySelectorAll('.audit tbody tr')].map(
          (row) => row.children[2]?.textContent,
        );
      await visitor.until(() => codes().length > 4 && codes().every((code) => code === 'key.seal'));
      await visitor.type('.audit-filter [name=since]', '2999-01-01T00:00');
      await visitor.press('Show');
      await visitor.until(() =>
        document.querySelector('.audit')?.textContent?.includes('No event matches'),
      );
    });
  });

  test('an operator’s token opens the operations page but no data', async () => {
    await page.evaluate(signIn, await token('*', 'keys:admin,audit:read,metrics:read'));
    expect(await page.evaluate(() => visitor.text('.cache .problem'))).toContain('forbidden');
    await page.evaluate(watch, 'Keys');
    await page.evaluate(() =>
      visitor
        .until(() => document.querySelector('.tenants .tenant') && document.querySelector('.spark'))
        .then(() => undefined),
    );
    await page.evaluate(watch, 'Audit trail');
    await page.evaluate(() =>
      visitor.until(() => document.querySelector('.audit tbody tr')).then(() => undefined),
    );
    expect(
      await page.evaluate(() => document.querySelector('.problem, .scope-missing')),
    ).toBeNull();
  });

  test('many tenants are listed page by page and can be searched', async () => {
    await page.evaluate(watch, 'Keys');
    const tenants = () =>
      page.evaluate(() =>
        [...document.querySelectorAll('.tenant-name')].map(({ textContent }) => textContent),
      );
    const shown = (n: number) =>
      page.evaluate(
        (n: number) =>
          visitor
            .until(() => document.querySelectorAll('.tenant').length === n)
            .then(() => undefined),
        n,
      );
    await shown(25);
    expect(await page.evaluate(() => document.documentElement.scrollHeight)).toBeLessThan(3000);
    await page.evaluate(() => visitor.press('More tenants'));
    await shown(MANY + 1);
    const all = await tenants();
    expect(all).toEqual(
      [...all].sort((a, b) => a!.localeCompare(b!, undefined, { numeric: true })),
    );
    await page.evaluate(() => visitor.type('.tenant-search input', 'CLINIC-3'));
    await shown(4);
    expect((await tenants()).every((name) => name!.startsWith('clinic-3'))).toBe(true);
    await page.evaluate(async () => {
      await visitor.type('.tenant-search input', 'clinic-17');
      await visitor.press('Find');
      await visitor.until(() =>
        document.querySelector('.tenant[open]')?.textContent?.includes('clinic-17'),
      );
      await visitor.type('.tenant-search input', 'nobody');
      await visitor.press('Find');
      await visitor.until(() =>
        document
          .querySelector('.keysets')
          ?.textContent?.includes('No tenant with exactly this name has keys'),
      );
      await visitor.type('.tenant-search input', '');
    });
    await shown(MANY + 1);
    await page.evaluate(watch, 'Audit trail');
    await page.evaluate(async () => {
      await visitor.type('.audit-filter [name=tenant]', 'clinic-17');
      await visitor.press('Show');
      const tenants = () =>
        [...document.querySelectorAll('.audit tbody tr')].map(
          (row) => row.children[4]?.textContent ?? '',
        );
      await visitor.until(
        () => tenants().length > 0 && tenants().every((text) => text.startsWith('clinic-17 ')),
      );
    });
  });

  test('each panel depends on the token’s scopes, and names the missing scope', async () => {
    const lacking = () =>
      page.evaluate(() =>
        visitor
          .until(() => document.querySelector('.health .scope-missing, .panel .scope-missing'))
          .then(() =>
            [...document.querySelectorAll('.scope-missing code')].map(
              ({ textContent }) => textContent,
            ),
          ),
      );
    await page.evaluate(signIn, await token('*', 'keys:admin'));
    await page.evaluate(watch, 'Keys');
    await page.evaluate(() =>
      visitor.until(() => document.querySelector('.tenants .tenant')).then(() => undefined),
    );
    expect(await lacking()).toEqual(['metrics:read']); // of the charts
    await page.evaluate(watch, 'Audit trail');
    await page.evaluate(() =>
      visitor.until(() => document.querySelector('.panel .scope-missing')).then(() => undefined),
    );
    expect(await lacking()).toEqual(['metrics:read', 'audit:read']);
    await page.evaluate(signIn, await token('default', 'audit:read,metrics:read'));
    await page.evaluate(() => visitor.press('Operations'));
    await page.evaluate(() =>
      visitor
        .until(() => document.querySelector('.audit tbody tr') && document.querySelector('.spark'))
        .then(() => undefined),
    );
    await page.evaluate(watch, 'Keys');
    expect(await lacking()).toEqual(['keys:admin']);
    expect(
      await page.evaluate(() => document.querySelector('.views .server-status.ready') !== null),
    ).toBe(true);
  });

  test('a failing KMS is reported until it works again', async () => {
    await page.evaluate(signIn, server.token);
    await page.evaluate(watch, 'Keys');
    await page.evaluate(() =>
      visitor
        .until(() => [...document.querySelectorAll('.health .server-status.ready')].length === 2)
        .then(() => undefined),
    );
    await page.evaluate(async () => {
      const answered = window.fetch;
      const status = () => document.querySelector('.statuses')?.textContent ?? '';
      window.fetch = async (input, init) => {
        const answer = await answered(input, init);
        const url = String(input instanceof Request ? input.url : input);
        if (url.endsWith('/readyz'))
          return new Response('{"status":"degraded","degraded":["keyring_unavailable"]}', answer);
        if (!url.endsWith('/metrics')) return answer;
        const lines = (await answer.text())
          .replace(/^coffer_kms_failing_seconds .*$/m, 'coffer_kms_failing_seconds 42')
          .replace(/^(coffer_integrity_failures_total\{class="none"\}) .*$/m, '$1 1');
        return new Response(lines, answer);
      };
      await visitor.until(
        () =>
          status().includes('Degraded: keyring_unavailable') &&
          status().includes('KMS: no answer for 42 s'),
      );
      await visitor.until(() =>
        document
          .querySelector('.health .verdict')
          ?.textContent?.startsWith('The audit log was altered'),
      );
      const problem = {
        type: 'about:blank',
        title: 'x',
        status: 503,
        code: 'audit_unavailable',
        detail: 'planned',
        requestId: 'x',
      };
      window.fetch = async (input, init) =>
        String(input instanceof Request ? input.url : input).endsWith('/metrics')
          ? new Response(JSON.stringify(problem), {
              status: 503,
              headers: { 'Content-Type': 'application/problem+json' },
            })
          : answered(input, init);
      await visitor.until(() =>
        document.querySelector('.health .problem')?.textContent?.includes('audit_unavailable'),
      );
      window.fetch = answered;
      await visitor.until(
        () =>
          !document.querySelector('.health .problem, .health .verdict') &&
          status() === 'ReadyKMS: answering',
      );
    });
  });
});
