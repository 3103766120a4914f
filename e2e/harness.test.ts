/** The harness that all browser tests use, in the three engines. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  chromium,
  evaluateInMiniBrowser,
  firefox,
  type Page,
  PageError,
  removeFolder,
  runInMiniBrowser,
  type Server,
  type Session,
  serve,
  temporaryFolder,
  webkit,
} from './harness/index.js';
import { installed } from './harness/processes.js';

const HARNESS = fileURLToPath(new URL('harness/', import.meta.url));
const EMPTY_WASM = new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
const MIB = 1 << 20;

let server: Server;

beforeAll(async () => {
  server = await serve({
    folders: { '/harness/': HARNESS },
    files: {
      '/': '<!doctype html><title>harness</title>',
      '/csp/': '<!doctype html><title>csp</title>',
      '/module.js': 'export const answer = 42;',
      '/empty.wasm': EMPTY_WASM,
      '/report.html': `<!doctype html><script>fetch('/__report', { method: 'POST', body: '{"arrived":true}' })</script>`,
    },
    headers: {
      '/': { 'X-Everywhere': 'yes' },
      '/csp/': {
        'Content-Security-Policy': "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'",
      },
    },
  });
});
afterAll(() => server.close());

/** Writes a record, or reads it if no value is given. Settles when the transaction has ended. Runs in a page. */
async function record(key: string, value?: unknown): Promise<unknown> {
  const opening = indexedDB.open('harness', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore('records');
  await new Promise((resolve, reject) =>
    Object.assign(opening, { onsuccess: resolve, onerror: () => reject(opening.error) }),
  );
  const transaction = opening.result.transaction('records', 'readwrite');
  const store = transaction.objectStore('records');
  const request: IDBRequest = value === undefined ? store.get(key) : store.put(value, key);
  await new Promise((resolve, reject) =>
    Object.assign(transaction, { oncomplete: resolve, onabort: () => reject(transaction.error) }),
  ).finally(() => opening.result.close());
  return request.result;
}

/** A session that ends with the test. */
async function opened<S extends Session>(opening: Promise<S>): Promise<S> {
  const session = await opening;
  onTestFinished(() => session.close());
  return session;
}

async function profile(): Promise<string> {
  const folder = await temporaryFolder();
  onTestFinished(() => removeFolder(folder));
  return folder;
}

/** Returns the error that a promise rejects with. */
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.unreachable('should have failed'),
    (error: PageError) => error,
  );

describe.each([chromium, firefox, webkit])('$name', (engine) => {
  let session: Session;
  let page: Page;
  beforeAll(async () => {
    session = await engine.open();
    page = await session.page(server.origin);
  });
  afterAll(() => session?.close());

  test('evaluate returns what the function resolves to', async () => {
    const echo = async (number: number, bytes: Uint8Array, text: string) => ({
      number,
      bytes,
      text,
      list: [null, true],
    });
    const bytes = new Uint8Array([0, 127, 128, 255]);
    expect(await page.evaluate(echo, 1.5, bytes, 'né \u{1f512} \ud800')).toEqual({
      number: 1.5,
      bytes,
      text: 'né \u{1f512} \ud800',
      list: [null, true],
    });
    expect(await page.evaluate('(a, b) => a + b', 1, 2)).toBe(3);
    expect(await page.evaluate(() => undefined)).toBeUndefined();
    expect(await page.evaluate(() => new Uint8Array([1, 2]).buffer)).toEqual(
      new Uint8Array([1, 2]),
    );
    expect(await page.evaluate((bytes: Uint8Array) => bytes, Buffer.from([3]))).toEqual(
      new Uint8Array([3]),
    );
  });

  test('evaluate rejects with the error that the page threw', async () => {
    const error = await failure(
      page.evaluate(async function thrower() {
        throw Object.assign(new RangeError('too much'), { code: 'TOO_MUCH' });
      }),
    );
    expect(error).toBeInstanceOf(PageError);
    expect(error).toMatchObject({ name: 'RangeError', message: 'too much', code: 'TOO_MUCH' });
    expect(error.stack).toContain('thrower');
    expect(await failure(page.evaluate(() => Promise.reject('a string')))).toMatchObject({
      message: 'a string',
    });
    expect(await failure(page.evaluate(() => indexedDB.open('x', -1)))).toMatchObject({
      name: 'TypeError',
    });
    expect(await failure(page.evaluate('() => {'))).toBeInstanceOf(Error);
    expect(await page.evaluate(() => 'alive')).toBe('alive');
  });

  test('an evaluation whose page goes away rejects', async () => {
    const left = await session.page(server.origin);
    const pending = failure(left.evaluate(() => new Promise(() => {})));
    await left.reload();
    expect(await pending).toBeInstanceOf(Error);
    expect(await left.evaluate(() => 'alive')).toBe('alive');
    await left.close();
    expect(await failure(left.evaluate(() => 1))).toBeInstanceOf(Error);
  });

  test('the page is a secure context with crypto.subtle, and compiles wasm', async () => {
    const digest = async () => crypto.subtle.digest('SHA-256', new TextEncoder().encode('abc'));
    expect(Buffer.from(await page.evaluate(digest)).toString('hex')).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    expect(await page.evaluate(() => isSecureContext)).toBe(true);
    const compile = async () => String(await WebAssembly.compileStreaming(fetch('/empty.wasm')));
    expect(await page.evaluate(compile)).toBe('[object WebAssembly.Module]');
  });

  test("evaluated functions import modules and are bound by the page's policy", async () => {
    const strict = await session.page(`${server.origin}/csp/`);
    expect(await strict.evaluate(async () => (await import('/module.js' as string)).answer)).toBe(
      42,
    );
    expect(await strict.evaluate("async () => (await import('/module.js')).answer")).toBe(42);
    expect(
      await strict.evaluate(
        (bytes: Uint8Array<ArrayBuffer>) => WebAssembly.validate(bytes),
        EMPTY_WASM,
      ),
    ).toBe(true);
    // biome-ignore lint/security/noGlobalEval: the policy must refuse it.
    expect(await failure(strict.evaluate(() => eval('1 + 1')))).toMatchObject({
      name: 'EvalError',
    });
    // biome-ignore lint/security/noGlobalEval: without a policy it works.
    expect(await page.evaluate(() => eval('1 + 1'))).toBe(2);
    await strict.close();
  });

  test('IndexedDB survives a reload and is shared by pages', async () => {
    await page.evaluate(record, 'kept', { text: 'value', bytes: new Uint8Array([1, 2, 3]) });
    await page.reload();
    const kept = { text: 'value', bytes: new Uint8Array([1, 2, 3]) };
    expect(await page.evaluate(record, 'kept')).toEqual(kept);
    const other = await session.page(server.origin);
    expect(await other.evaluate(record, 'kept')).toEqual(kept);
    await other.evaluate(record, 'back', 'from the other page');
    expect(await page.evaluate(record, 'back')).toBe('from the other page');
    await other.close();
  });

  test('evaluations of two pages run at the same time', async () => {
    const other = await session.page(server.origin);
    const receive = () =>
      new Promise(
        (resolve) => (new BroadcastChannel('both').onmessage = ({ data }) => resolve(data)),
      );
    const send = async () => {
      const [to, from] = [new BroadcastChannel('both'), new BroadcastChannel('heard')];
      const heard = new Promise((resolve) => (from.onmessage = ({ data }) => resolve(data)));
      const sending = setInterval(() => to.postMessage('hello'), 20);
      return heard.finally(() => clearInterval(sending));
    };
    const listening = page
      .evaluate(receive)
      .then((message) =>
        page.evaluate((heard) => new BroadcastChannel('heard').postMessage(heard), message),
      );
    expect(await other.evaluate(send)).toBe('hello');
    await listening;
    await other.close();
  });

  test('goto moves the page and screenshot writes a PNG', async () => {
    await page.goto(`${server.origin}/csp/`);
    expect(await page.evaluate(() => [location.pathname, document.title])).toEqual([
      '/csp/',
      'csp',
    ]);
    const file = join(await profile(), 'page.png');
    await page.screenshot(file);
    expect((await readFile(file)).subarray(1, 4).toString()).toBe('PNG');
    await page.goto(server.origin);
  });
});

describe('profiles', () => {
  test.each([chromium, firefox])(
    '$name finds its data again in the same profile',
    async (engine) => {
      const profileDir = await profile();
      const first = await engine.open({ profileDir });
      await (await first.page(server.origin)).evaluate(record, 'kept', 'across a restart');
      await first.close();
      const second = await opened(engine.open({ profileDir }));
      expect(await (await second.page(server.origin)).evaluate(record, 'kept')).toBe(
        'across a restart',
      );
    },
  );

  test.each([chromium, firefox, webkit])(
    '$name: a fresh profile goes with its session',
    async (engine) => {
      const session = await engine.open();
      expect(existsSync(session.profileDir)).toBe(true);
      expect(await (await session.page(server.origin)).evaluate(record, 'kept')).toBeUndefined();
      await session.close();
      expect(existsSync(session.profileDir)).toBe(false);
    },
  );

  test('webkit finds its data again in the same MiniBrowser profile', async () => {
    const run = { server, profileDir: await profile() };
    await evaluateInMiniBrowser(run, record, 'kept', new Uint8Array([1, 2, 3]));
    expect(await evaluateInMiniBrowser(run, record, 'kept')).toEqual(new Uint8Array([1, 2, 3]));
    expect(
      await evaluateInMiniBrowser({ ...run, profileDir: await profile() }, record, 'kept'),
    ).toBeUndefined();
  });

  test('webkit under automation refuses a profile, since it would not keep one', async () => {
    await expect(webkit.open({ profileDir: '/tmp' })).rejects.toThrow(/runInMiniBrowser/);
  });
});

describe('MiniBrowser', () => {
  test('a page reports its own result', async () => {
    const run = { server, profileDir: await profile(), url: `${server.origin}/report.html` };
    expect(await runInMiniBrowser(run)).toEqual({ arrived: true });
  });

  test('an error of the function is returned', async () => {
    const thrower = () => Promise.reject(Object.assign(new TypeError('no'), { code: 'NO' }));
    const error = await failure(
      evaluateInMiniBrowser({ server, profileDir: await profile() }, thrower),
    );
    expect(error).toMatchObject({ name: 'TypeError', message: 'no', code: 'NO' });
  });

  test('a page that does not report times out', async () => {
    const run = { server, profileDir: await profile(), url: server.origin, timeoutMs: 1_000 };
    await expect(runInMiniBrowser(run)).rejects.toThrow(/1000 ms passed before/);
  });
});

describe('forced quota', () => {
  /** Small values fit. A value beyond the quota fails alone, and earlier values are unchanged. */
  async function exceeds(page: Page): Promise<void> {
    await page.evaluate(record, 'small', 'fits');
    const error = await failure(
      page.evaluate(record, 'small', new Uint8Array(randomBytes(4 * MIB))),
    );
    expect(error).toMatchObject({ name: 'QuotaExceededError' });
    expect(await page.evaluate(record, 'small')).toBe('fits');
  }

  test('chromium: setQuota', async () => {
    const session = await opened(chromium.open());
    const page = await session.page(server.origin);
    await session.setQuota(server.origin, 2 * MIB);
    await exceeds(page);
    await session.setQuota(server.origin, 64 * MIB);
    await page.evaluate(record, 'large', new Uint8Array(randomBytes(4 * MIB)));
  });

  test('firefox: storageLimit', async () => {
    const session = await opened(firefox.open({ storageLimit: 2 * MIB }));
    await exceeds(await session.page(server.origin));
  });
});

describe('serve', () => {
  const get = (path: string) => fetch(server.origin + path);

  test('serves files and folders with their content types and headers', async () => {
    const wasm = await get('/empty.wasm');
    expect([wasm.status, wasm.headers.get('content-type')]).toEqual([200, 'application/wasm']);
    expect(wasm.headers.get('x-everywhere')).toBe('yes');
    expect(wasm.headers.get('content-security-policy')).toBeNull();
    expect((await get('/csp/')).headers.get('content-security-policy')).toContain(
      'wasm-unsafe-eval',
    );
    const script = await get('/harness/guardian.mjs?query');
    expect(script.headers.get('content-type')).toContain('text/javascript');
    expect(await script.text()).toBe(await readFile(join(HARNESS, 'guardian.mjs'), 'utf8'));
  });

  test('serves nothing outside its folders', async () => {
    for (const path of [
      '/missing',
      '/harness/',
      '/harness/..%2fharness.test.ts',
      '/harness/%2e%2e/harness.test.ts',
    ]) {
      expect((await get(path)).status, path).toBe(404);
    }
  });

  test('closing rejects a report that never came', async () => {
    const other = await serve();
    const report = failure(other.nextReport());
    await other.close();
    expect((await report).message).toMatch(/closed before a report/);
  });
});

describe('processes', () => {
  test('a missing browser is a failure that names the Debian package', () => {
    expect(() => installed({ path: '/nowhere/chromium', debianPackage: 'chromium' })).toThrow(
      /\/nowhere\/chromium is missing: install the Debian package chromium/,
    );
  });

  test('the guardian ends what a dead test process left behind, and nothing it released', async () => {
    const sleeper = () => spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
    const [left, released] = [sleeper(), sleeper()];
    onTestFinished(() => void released.kill());
    const folder = await temporaryFolder();
    const guardian = spawn(process.execPath, [join(HARNESS, 'guardian.mjs')], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    const orders = [
      ['group', 'add', left.pid],
      ['group', 'add', released.pid],
      ['group', 'delete', released.pid],
      ['folder', 'add', folder],
    ];
    const ended = once(left, 'exit');
    guardian.stdin?.end(orders.map((order) => `${JSON.stringify(order)}\n`).join(''));
    expect(await ended).toEqual([null, 'SIGTERM']);
    await once(guardian, 'exit');
    expect(existsSync(folder)).toBe(false);
    expect(released.exitCode ?? released.signalCode).toBeNull();
  });
});
