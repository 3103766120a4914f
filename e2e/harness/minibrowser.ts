/**
 * WebKit with a persistent profile: MiniBrowser is started on a page that runs its own script and
 * posts its result to the test's server. (Under automation WebKit keeps nothing.) The browser is
 * killed right after the report, as in a crash: data that it has not yet written is lost.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { webkitEnvironment } from './display.js';
import { callExpression, readOutcome } from './evaluate.js';
import { start } from './processes.js';
import { REPORT_PATH, type Server } from './serve.js';

const ARCHITECTURE = process.arch === 'arm64' ? 'aarch64' : 'x86_64';

export const MINI_BROWSER = {
  path: `/usr/lib/${ARCHITECTURE}-linux-gnu/webkit2gtk-4.1/MiniBrowser`,
  debianPackage: 'webkit2gtk-driver',
};

export interface MiniBrowserRun {
  /** The server that the page reports to; one run at a time. */
  server: Server;
  /** The page to open; it posts JSON to the server's REPORT_PATH. */
  url: string;
  /** The browser's home: a folder used again holds what the earlier runs stored. */
  profileDir: string;
  timeoutMs?: number;
}

/** Opens a page in a browser of its own, waits for its report, ends the browser, returns the report. */
export async function runInMiniBrowser({
  server,
  url,
  profileDir,
  timeoutMs = 120_000,
}: MiniBrowserRun): Promise<unknown> {
  const env = await webkitEnvironment(profileDir);
  const report = server.nextReport();
  report.catch(() => undefined); // the server may close after we gave up waiting
  const browser = await start(MINI_BROWSER, [url], { env });
  const fail = (reason: string) => Promise.reject(new Error(`${reason} before ${url} reported`));
  const given = new AbortController();
  try {
    return await Promise.race([
      report,
      browser.ended.then(() => fail('MiniBrowser ended')),
      sleep(timeoutMs, undefined, { signal: given.signal }).then(() =>
        fail(`${timeoutMs} ms passed`),
      ),
    ]);
  } finally {
    given.abort();
    await browser.stop();
  }
}

/**
 * Page.evaluate for a persistent WebKit profile: each call starts a browser.
 * @throws PageError with the name, message, code and stack of the page's error
 */
export async function evaluateInMiniBrowser<A extends unknown[], R>(
  run: Omit<MiniBrowserRun, 'url'>,
  fn: (...args: A) => R,
  ...args: A
): Promise<Awaited<R>> {
  const { files, origin } = run.server;
  files.set('/__run.html', '<!doctype html><script type="module" src="/__run.js"></script>');
  files.set(
    '/__run.js',
    `fetch('${REPORT_PATH}', { method: 'POST', body: JSON.stringify(await ${callExpression(fn, args)}) })`,
  );
  return readOutcome(
    (await runInMiniBrowser({ ...run, url: `${origin}/__run.html` })) as string,
  ) as Awaited<R>;
}
