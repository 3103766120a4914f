/**
 * The interface of every browser of the harness, whichever protocol drives it. The three engines pass
 * the same tests (e2e/harness.test.ts). A feature of one engine is on that engine's session type.
 */

/** A real browser that tests can start. */
export interface Engine {
  readonly name: 'chromium' | 'firefox' | 'webkit';
  /** Starts one browser. Fails, naming the Debian package, when the browser is not installed. */
  open(options?: OpenOptions): Promise<Session>;
}

export interface OpenOptions {
  /** A profile to open again; left out, the session makes a fresh one and removes it on close. */
  profileDir?: string;
}

/** One browser with one profile. Its pages share the storage of their origin. */
export interface Session {
  readonly profileDir: string;
  /** Opens a new page (a tab; in WebKit a window) and waits for its load event. */
  page(url: string): Promise<Page>;
  /** Ends the browser and waits until its process is gone. */
  close(): Promise<void>;
}

/** One tab. Evaluations of different pages run at the same time. */
export interface Page {
  /**
   * Runs a function in the page and returns what it resolves to. Only its source travels: it sees
   * the page's globals and its arguments, nothing of the test's scope. Arguments and result are
   * JSON, plus Uint8Array; `import('/path')` works.
   * @throws PageError with the name, message, code and stack of the page's error
   */
  evaluate<A extends unknown[], R>(fn: (...args: A) => R, ...args: A): Promise<Awaited<R>>;
  /** The same for a function given as source text. */
  evaluate<R = unknown>(source: string, ...args: unknown[]): Promise<R>;
  goto(url: string): Promise<void>;
  reload(): Promise<void>;
  /** Writes a PNG of the viewport. */
  screenshot(path: string): Promise<void>;
  close(): Promise<void>;
}
