/**
 * WebKit (Safari's engine), driven by WebKitWebDriver under Xvfb. Under automation WebKit keeps
 * nothing beyond the session. Use runInMiniBrowser for data that must survive a restart.
 */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { webkitEnvironment } from './display.js';
import type { Engine, OpenOptions, Page, Session } from './engine.js';
import { callExpression, readOutcome } from './evaluate.js';
import { MINI_BROWSER } from './minibrowser.js';
import { installed, type Program, removeFolder, start, temporaryFolder } from './processes.js';
import { command, freePort } from './webdriver.js';

const PROGRAM = { path: '/usr/bin/WebKitWebDriver', debianPackage: 'webkit2gtk-driver' };
const DRIVER_START_MS = 60_000;
const BROWSER_START_MS = 120_000;
const SCRIPT_TIMEOUT_MS = 300_000;
/** How long one command waits for an evaluation before it lets other pages' commands through. */
const TURN_MS = 50;

export const webkit = {
  name: 'webkit',
  async open(options: OpenOptions = {}): Promise<Session> {
    if (options.profileDir)
      throw new Error('WebKit under automation keeps no profile: use runInMiniBrowser');
    const binary = installed(MINI_BROWSER);
    const profileDir = await temporaryFolder();
    const { driver, address } = await startDriver(profileDir);
    const capabilities = {
      alwaysMatch: {
        'webkitgtk:browserOptions': { binary, args: ['--automation'] },
        timeouts: { script: SCRIPT_TIMEOUT_MS },
      },
    };
    try {
      const created = await command(
        'POST',
        `${address}/session`,
        { capabilities },
        BROWSER_START_MS,
      );
      const session = `${address}/session/${(created as { sessionId: string }).sessionId}`;
      const firstWindow = (await command('GET', `${session}/window`)) as string;
      return new WebKitSession(profileDir, driver, session, firstWindow);
    } catch (error) {
      await driver.stop();
      throw error;
    }
  },
} satisfies Engine;

async function startDriver(home: string): Promise<{ driver: Program; address: string }> {
  const port = await freePort();
  const env = await webkitEnvironment(home);
  const driver = await start(PROGRAM, [`--port=${port}`, '--host=127.0.0.1'], { env });
  const address = `http://127.0.0.1:${port}`;
  for (const deadline = Date.now() + DRIVER_START_MS; ; await sleep(10)) {
    const status = await command('GET', `${address}/status`).catch(() => undefined);
    if (status) return { driver, address };
    if (Date.now() > deadline) throw new Error('WebKitWebDriver does not answer');
  }
}

type Send = (method: string, path: string, body?: unknown) => Promise<unknown>;

/** A WebDriver session has one current window, so commands take turns. */
class WebKitSession implements Session {
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    readonly profileDir: string,
    private readonly driver: Program,
    private readonly address: string,
    private readonly firstWindow: string,
  ) {}

  inTurn<T>(use: (send: Send) => Promise<T>): Promise<T> {
    const turn = this.last.then(() =>
      use((method, path, body) => command(method, this.address + path, body)),
    );
    this.last = turn.catch(() => undefined);
    return turn;
  }

  async page(url: string): Promise<Page> {
    // A window, not a tab: WebKit slows the timers of tabs that are not in front.
    const opened = await this.inTurn(async (send) => {
      await send('POST', '/window', { handle: this.firstWindow }); // the current one may be closed
      return send('POST', '/window/new', { type: 'window' });
    });
    const page = new WebKitPage(this, (opened as { handle: string }).handle);
    await page.goto(url);
    return page;
  }

  async close(): Promise<void> {
    try {
      await this.inTurn((send) => send('DELETE', ''));
    } finally {
      await this.driver.stop();
    }
    await removeFolder(this.profileDir);
  }
}

class WebKitPage implements Page {
  constructor(
    private readonly session: WebKitSession,
    private readonly handle: string,
  ) {}

  async evaluate<R>(fn: string | ((...args: never[]) => unknown), ...args: unknown[]): Promise<R> {
    const id = randomUUID();
    let outcome = await this.turn(id, callExpression(fn, args));
    while (outcome === null) outcome = await this.turn(id);
    return readOutcome(outcome) as R;
  }

  /** Starts an evaluation, or waits on for it; null when it needs another turn. */
  private async turn(id: string, expression = 'undefined'): Promise<string | null> {
    const script = `const [id, turn, done] = arguments;
      const running = globalThis[Symbol.for('harness')] ??= new Map();
      const result = running.get(id) ?? (${expression});
      if (!result) throw new Error('the page was left during the evaluation');
      running.set(id, result);
      Promise.race([result, new Promise((pass) => setTimeout(pass, turn, null))]).then((outcome) => {
        if (outcome !== null) running.delete(id);
        done(outcome);
      });`;
    const body = { script, args: [id, TURN_MS] };
    return (await this.send('POST', '/execute/async', body)) as string | null;
  }

  async goto(url: string): Promise<void> {
    await this.send('POST', '/url', { url });
  }

  async reload(): Promise<void> {
    await this.send('POST', '/refresh', {});
  }

  async screenshot(path: string): Promise<void> {
    await writeFile(path, Buffer.from((await this.send('GET', '/screenshot')) as string, 'base64'));
  }

  async close(): Promise<void> {
    await this.send('DELETE', '/window');
  }

  private send(...args: Parameters<Send>): Promise<unknown> {
    return this.session.inTurn(async (send) => {
      await send('POST', '/window', { handle: this.handle });
      return send(...args);
    });
  }
}
