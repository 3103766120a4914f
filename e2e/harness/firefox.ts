/** Firefox, driven by Puppeteer over WebDriver BiDi. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import puppeteer, { type Browser, type Page as Tab } from 'puppeteer-core';
import type { Engine, OpenOptions, Page, Session } from './engine.js';
import { callExpression, readOutcome } from './evaluate.js';
import { installed, type Program, removeFolder, start, temporaryFolder } from './processes.js';

const PROGRAM = { path: '/usr/bin/firefox-esr', debianPackage: 'firefox-esr' };
const START_MS = 120_000;

export interface FirefoxOptions extends OpenOptions {
  /** What all origins together may store, in bytes (rounded down to KiB). */
  storageLimit?: number;
}

export const firefox = {
  name: 'firefox',
  async open(options: FirefoxOptions = {}): Promise<Session> {
    installed(PROGRAM);
    const profileDir = options.profileDir ?? (await temporaryFolder());
    await writeFile(join(profileDir, 'user.js'), preferences(options));
    const program = await startFirefox(profileDir);
    const browserWSEndpoint = await endpoint(program);
    const browser = await puppeteer.connect({
      browserWSEndpoint,
      protocol: 'webDriverBiDi',
      protocolTimeout: 0,
    });
    const close = async () => {
      await browser.close();
      await program.finish();
      if (!options.profileDir) await removeFolder(profileDir);
    };
    return { profileDir, page: (url) => openPage(browser, url), close };
  },
} satisfies Engine;

/** The profile's user.js; Firefox itself turns off updates and the like for a remote-controlled run. */
function preferences({ storageLimit }: FirefoxOptions): string {
  if (storageLimit === undefined) return '';
  return `user_pref('dom.quotaManager.temporaryStorage.fixedLimit', ${Math.floor(storageLimit / 1024)});\n`;
}

/** Starts Firefox without puppeteer.launch, which returns the process only when it is ready: too late for the guardian. */
function startFirefox(profileDir: string): Promise<Program> {
  const args = [
    '--headless',
    '--no-remote',
    '--profile',
    profileDir,
    '--remote-debugging-port=0',
    'about:blank',
  ];
  const env = { ...process.env, MOZ_CRASHREPORTER_DISABLE: '1' };
  return start(PROGRAM, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
}

/** The WebDriver BiDi address that Firefox prints. */
async function endpoint({ child, stop }: Program): Promise<string> {
  const errors = child.stderr as Readable;
  const timer = setTimeout(stop, START_MS); // ends the output below
  let printed = '';
  try {
    for await (const chunk of errors.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
      printed += chunk;
      const address = /WebDriver BiDi listening on (ws:\S+)\n/.exec(printed)?.[1];
      if (address) return `${address}/session`;
    }
    throw new Error(`Firefox did not start: ${printed}`);
  } finally {
    clearTimeout(timer);
    errors.resume();
  }
}

async function openPage(browser: Browser, url: string): Promise<Page> {
  const tab = await browser.newPage();
  tab.setDefaultTimeout(START_MS);
  await tab.goto(url);
  return {
    evaluate: (fn: string | ((...args: never[]) => unknown), ...args: unknown[]) =>
      evaluate(tab, callExpression(fn, args)),
    goto: async (to) => void (await tab.goto(to)),
    reload: async () => void (await tab.reload()),
    screenshot: async (path) => void (await tab.screenshot({ path: path as `${string}.png` })),
    close: () => tab.close(),
  } as Page;
}

/** Firefox does not reply to an evaluation whose document was unloaded. The load of the next document rejects it. */
async function evaluate(tab: Tab, expression: string): Promise<unknown> {
  let leave = () => {};
  const left = new Promise<never>((_resolve, reject) => {
    leave = () => reject(new Error('the page was left during the evaluation'));
  });
  tab.on('domcontentloaded', leave).on('close', leave);
  try {
    return readOutcome((await Promise.race([left, tab.evaluate(expression)])) as string);
  } finally {
    tab.off('domcontentloaded', leave).off('close', leave);
  }
}
