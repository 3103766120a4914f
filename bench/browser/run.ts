/** Runs the pages of page/ in a real browser against the shipped package. */
import { readFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { chromium, firefox, type Page, serve, webkit } from '../../e2e/harness/index.js';
import type { Comparison } from './page/compare.js';

const engines = { chromium, firefox, webkit };
/** Increases the resolution of the clock. */
const ISOLATED = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};
const LOADS = 25;

/** `dist` is the built package; `built` holds the bundled pages (bench.js) and hello.wasm. */
export async function measureBrowser(
  engine: keyof typeof engines,
  dist: string,
  built: string,
): Promise<Record<string, Comparison>> {
  const files: Record<string, string | Uint8Array> = {
    '/': '<!doctype html><title>bench</title>',
    ...(await loads(dist, built)),
  };
  const server = await serve({
    files,
    folders: { '/coffer/': `${dist}/`, '/': `${built}/` },
    headers: { '/': ISOLATED },
  });
  const session = await engines[engine].open();
  try {
    const found: Record<string, Comparison> = {};
    // Each comparison gets its own page and therefore its own memory.
    for (const part of ['loading', 'sealing', 'storing'] as const) {
      const page = await session.page(server.origin);
      Object.assign(found, await runPart(page, part));
      await page.close();
    }
    return found;
  } finally {
    await session.close();
    await server.close();
  }
}

function runPart(page: Page, part: string): Promise<Record<string, Comparison>> {
  const source = `async (part, loads) => {
    const bench = await import('/bench.js');
    return bench[part](part === 'loading' ? loads : await import('/coffer/index.js'));
  }`;
  return page.evaluate(source, part, LOADS);
}

/** Copies of the core and of hello.wasm that differ in a custom section, so that each one must be compiled. */
async function loads(dist: string, built: string): Promise<Record<string, Uint8Array>> {
  const files: Record<string, Uint8Array> = {};
  for (const [name, path] of [
    ['core', `${dist}/coffer.wasm`],
    ['hello', `${built}/hello.wasm`],
  ] as const) {
    const module = await readFile(path);
    for (let i = 0; i < LOADS; i++) {
      // Section 0 of 18 bytes: a name of one byte, and 16 that are random.
      const custom = Buffer.concat([Buffer.from([0, 18, 1, 0x78]), randomBytes(16)]);
      files[`/${name}-${i}.wasm`] = Buffer.concat([
        module.subarray(0, 8),
        custom,
        module.subarray(8),
      ]);
    }
  }
  return files;
}
