/** Chromium, driven by Playwright; functions run through the DevTools protocol. */
import {
  type Browser,
  type BrowserContext,
  type CDPSession,
  chromium as playwright,
  type Page as Tab,
} from 'playwright-core';
import type { Engine, OpenOptions, Page, Session } from './engine.js';
import { callExpression, readOutcome } from './evaluate.js';
import { endGroup, installed, removeFolder, temporaryFolder, watchGroup } from './processes.js';

const PROGRAM = { path: '/usr/bin/chromium', debianPackage: 'chromium' };
const START_MS = 120_000;
const FLAGS = [
  '--no-sandbox', // tests may run as root
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export interface ChromiumSession extends Session {
  page(url: string): Promise<ChromiumPage>;
  /** Limits what an origin may store, in bytes, for the rest of the session. */
  setQuota(origin: string, bytes: number): Promise<void>;
}

export interface ChromiumPage extends Page {
  /** The tab's DevTools protocol session. */
  readonly cdp: CDPSession;
}

export const chromium = {
  name: 'chromium',
  async open(options: OpenOptions = {}): Promise<ChromiumSession> {
    const executablePath = installed(PROGRAM);
    const profileDir = options.profileDir ?? (await temporaryFolder());
    const context = await playwright.launchPersistentContext(profileDir, {
      executablePath,
      args: FLAGS,
      headless: true,
      timeout: START_MS,
      // Should the test process die, Chromium ends with Playwright's pipe to it, or by the guardian.
      handleSIGINT: false,
      handleSIGTERM: false,
      handleSIGHUP: false,
    });
    context.setDefaultTimeout(START_MS);
    const pid = await browserPid(context);
    watchGroup(pid);
    const close = async () => {
      await context.close();
      endGroup(pid);
      if (!options.profileDir) await removeFolder(profileDir);
    };
    return {
      profileDir,
      page: (url) => openPage(context, url),
      setQuota: quotaSetter(context),
      close,
    };
  },
} satisfies Engine;

async function browserPid(context: BrowserContext): Promise<number> {
  const cdp = await (context.browser() as Browser).newBrowserCDPSession();
  const { processInfo } = await cdp.send('SystemInfo.getProcessInfo');
  await cdp.detach();
  return processInfo.find(({ type }) => type === 'browser')?.id as number;
}

/** An override lasts as long as the DevTools session that set it: the first, blank tab keeps it. */
function quotaSetter(context: BrowserContext) {
  let cdp: Promise<CDPSession> | undefined;
  return async (origin: string, bytes: number) => {
    cdp ??= context.newCDPSession(context.pages()[0] as Tab);
    await (await cdp).send('Storage.overrideQuotaForOrigin', { origin, quotaSize: bytes });
  };
}

async function openPage(context: BrowserContext, url: string): Promise<ChromiumPage> {
  const tab = await context.newPage();
  await tab.goto(url);
  const cdp = await context.newCDPSession(tab);
  return {
    cdp,
    evaluate: (fn: string | ((...args: never[]) => unknown), ...args: unknown[]) =>
      evaluate(cdp, callExpression(fn, args)),
    goto: async (to) => void (await tab.goto(to)),
    reload: async () => void (await tab.reload()),
    screenshot: async (path) => void (await tab.screenshot({ path })),
    close: () => tab.close(),
  } as ChromiumPage;
}

async function evaluate(cdp: CDPSession, expression: string): Promise<unknown> {
  const { result, exceptionDetails } = await cdp.send('Runtime.evaluate', {
    expression,
    awaitPromise: true,
    returnByValue: true,
    allowUnsafeEvalBlockedByCSP: false, // or the page's policy would not bind the tested code
  });
  if (exceptionDetails)
    throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return readOutcome(result.value as string);
}
