/** Real browsers, and a server for their pages, for end-to-end tests and benchmarks. */
export { chromium, type ChromiumPage, type ChromiumSession } from './chromium.js';
export type { Engine, OpenOptions, Page, Session } from './engine.js';
export { PageError } from './evaluate.js';
export { firefox, type FirefoxOptions } from './firefox.js';
export { evaluateInMiniBrowser, type MiniBrowserRun, runInMiniBrowser } from './minibrowser.js';
export { launch, removeFolder, temporaryFolder } from './processes.js';
export { REPORT_PATH, serve, type ServeOptions, type Server } from './serve.js';
export { webkit } from './webkit.js';
