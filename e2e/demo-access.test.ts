/** Accessibility of the demo: keyboard, screen reader, phone, and an empty console. One engine is enough. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildServer } from './demo/build.js';
import { installVisitor, unlock } from './demo/visitor.js';
import { type ChromiumPage, chromium, removeFolder, temporaryFolder } from './harness/index.js';
import { type CofferServer, startCoffer } from './server.js';

const PASSWORD = 'a password of the test';

let folder: string;
let server: CofferServer;

beforeAll(async () => {
  folder = await temporaryFolder();
  server = await startCoffer(await buildServer(), join(folder, 'data'));
}, 300_000);
afterAll(async () => {
  await server?.close();
  await removeFolder(folder);
});

test('a developer finds the calls and the API on the first page', async () => {
  const session = await chromium.open();
  try {
    const page = await session.page(`${server.origin}/`);
    await page.evaluate(installVisitor);
    await page.evaluate(() => visitor.press('HTTP'));
    expect(await page.evaluate(() => visitor.text('.code'))).toContain(
      '/v1/cache/patient/P1?class=phi',
    );
    const href = await page.evaluate(
      () => document.querySelector<HTMLAnchorElement>('.code-card a')!.href,
    );
    expect(await (await fetch(href)).text()).toContain('putEntry');
  } finally {
    await session.close();
  }
});

test('chromium logs nothing while the page loads', async () => {
  const session = await chromium.open();
  try {
    const page = (await session.page(`${server.origin}/`)) as ChromiumPage;
    const logged: string[] = [];
    page.cdp.on('Log.entryAdded', ({ entry }) => logged.push(entry.text));
    page.cdp.on('Runtime.exceptionThrown', ({ exceptionDetails }) =>
      logged.push(exceptionDetails.text),
    );
    page.cdp.on('Runtime.consoleAPICalled', ({ type }) => logged.push(type));
    await page.cdp.send('Log.enable'); // brings what was logged before, too
    await page.cdp.send('Runtime.enable');
    await page.evaluate(installVisitor);
    await page.evaluate(() =>
      visitor
        .until(() => document.querySelector('.try-it-bytes')?.textContent?.match(/[1-9a-f]/))
        .then(() => undefined),
    );
    expect(logged).toEqual([]);
  } finally {
    await session.close();
  }
});

/** Axe's findings on the current page in one theme. The tests expect an empty list. */
async function barriers(page: ChromiumPage, theme: string): Promise<string[]> {
  await page.cdp.send('Emulation.setEmulatedMedia', {
    features: [{ name: 'prefers-color-scheme', value: theme }],
  });
  return page.evaluate(async () => {
    const { violations } = await (
      globalThis as unknown as { axe: typeof import('axe-core') }
    ).axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice'] });
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`),
    );
  });
}

test('axe finds no violation in any view, light and dark', async () => {
  const session = await chromium.open();
  try {
    const page = (await session.page(`${server.origin}/`)) as ChromiumPage;
    await page.cdp.send('Runtime.evaluate', {
      expression: await readFile(
        createRequire(import.meta.url).resolve('axe-core/axe.min.js'),
        'utf8',
      ),
    });
    await page.evaluate(installVisitor);
    const found: string[] = [];
    const look = async () => {
      for (const theme of ['light', 'dark']) found.push(...(await barriers(page, theme)));
    };
    await page.evaluate(() =>
      visitor
        .until(() => document.querySelector('.unlock [type=submit]:enabled'))
        .then(() => undefined),
    );
    await look();
    await page.evaluate(unlock, PASSWORD);
    for (const [sample, file] of [
      ['Patient', 'patient-lindqvist.json'],
      ['CT slice', 'chest-ct-phantom.dcm'],
    ] as const) {
      await page.evaluate((name: string) => visitor.press(name), sample);
      if (sample === 'CT slice') await look();
      await page.evaluate(() => visitor.press('Seal and store'));
      await page.evaluate(
        (name: string) =>
          visitor
            .until(() => document.querySelector('.pane h2')?.textContent === name)
            .then(() => undefined),
        file,
      );
    }
    await look();
    await page.evaluate(async () => {
      await visitor.press('On the disk');
      await visitor.press('Flip one bit');
      await visitor.until(() => document.querySelector('.tamper .problem'));
    });
    await look();
    await page.evaluate(async (token: string) => {
      await visitor.press('Put the bit back');
      await visitor.press('On the server');
      await visitor.type('#token', token);
      await visitor.press('Sign in');
      await visitor.press('Send to the cache');
      await visitor.press('Read back and compare');
      await visitor.until(() => document.querySelector('.pane .hex-row'));
    }, server.token);
    await look();
    await page.evaluate(async () => {
      await visitor.press('Server’s cache');
      await visitor.press('demo/');
      await visitor.until(() => document.querySelector('.pane .hex-row'));
    });
    await look();
    await page.evaluate(async () => {
      await visitor.press('Operations');
      await visitor.until(
        () =>
          document.querySelector('.keysets tbody tr') &&
          document.querySelectorAll('.spark polyline').length === 4,
      );
    });
    await look();
    await page.evaluate(async () => {
      await visitor.press('Audit trail');
      await visitor.until(() => document.querySelector('.audit tbody tr'));
    });
    await look();
    expect(found).toEqual([]);
  } finally {
    await session.close();
  }
});

/** Waits until the focus is on the page's content. */
const focused = () =>
  visitor.until(() => document.activeElement?.id === 'main').then(() => undefined);

test('the focus follows navigation, long names keep the list readable, and a call clears the previous message', async () => {
  await fetch(`${server.origin}/v1/cache/${'long'.repeat(250)}?class=phi`, {
    method: 'PUT',
    body: 'x',
    headers: { Authorization: `Bearer ${server.token}` },
  });
  const session = await chromium.open();
  try {
    const page = await session.page(`${server.origin}/`);
    await page.evaluate(installVisitor);
    await page.evaluate(unlock, PASSWORD);
    await page.evaluate(focused);
    await page.evaluate(async (token: string) => {
      await visitor.press('Patient');
      await visitor.press('Seal and store');
      await visitor.press('On the server');
      await visitor.type('#token', token);
      await visitor.press('Sign in');
      await visitor.press('Send to the cache');
      await visitor.until(() => document.querySelector('.verdict'));
      const answered = window.fetch;
      window.fetch = () => new Promise<Response>(() => {});
      await visitor.press('Read back and compare');
      await visitor.until(() => !document.querySelector('.verdict'));
      window.fetch = answered;
      await visitor.press('Server’s cache');
      await visitor.until(() => document.querySelectorAll('.cache-list .file-name').length > 1);
    }, server.token);
    const heights = await page.evaluate(() =>
      [...document.querySelectorAll('.cache-list .record')].map((row) => row.clientHeight),
    );
    expect(Math.max(...heights)).toBeLessThan(150);
    await page.evaluate(() => visitor.press('Lock'));
    await page.evaluate(focused);
  } finally {
    await session.close();
  }
});

test('on a phone nothing is wider than the screen, and a new record comes into view', async () => {
  const session = await chromium.open();
  try {
    const page = (await session.page(`${server.origin}/`)) as ChromiumPage;
    await page.cdp.send('Emulation.setDeviceMetricsOverride', {
      width: 390,
      height: 844,
      deviceScaleFactor: 2,
      mobile: true,
    });
    await page.evaluate(installVisitor);
    await page.evaluate(unlock, PASSWORD);
    await page.evaluate(async () => {
      await visitor.press('CT slice');
      await visitor.press('Seal and store');
      await visitor.until(
        () =>
          Math.abs(document.querySelector('.pane')?.getBoundingClientRect().top ?? Infinity) < 40,
      );
    });
    const narrow = async (tab: string) => {
      await page.evaluate((name: string) => visitor.press(name), tab);
      expect(await page.evaluate(() => document.documentElement.scrollWidth), tab).toBe(390);
    };
    for (const tab of ['On the disk', 'Opened', 'On the server']) await narrow(tab);
    await page.evaluate(async (token: string) => {
      await visitor.type('#token', token);
      await visitor.press('Sign in');
      await visitor.press('Operations');
      await visitor.until(() => document.querySelector('.keysets tbody tr'));
    }, server.token);
    for (const tab of ['Keys', 'Audit trail']) {
      await narrow(tab);
      const cells = tab === 'Keys' ? '.keysets td' : '.audit td';
      expect(
        await page.evaluate(
          (cells: string) =>
            visitor
              .until(() => document.querySelectorAll(cells).length)
              .then(() =>
                Math.max(
                  ...[...document.querySelectorAll(cells)].map(
                    (cell) => cell.getBoundingClientRect().right,
                  ),
                ),
              ),
          cells,
        ),
        tab,
      ).toBeLessThanOrEqual(390);
    }
  } finally {
    await session.close();
  }
});
