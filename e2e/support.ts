/** Helpers of the end-to-end tests: the built package served under a strict policy, and a page's failure. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { type PageError, type Server, serve } from './harness/index.js';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
export const DIST = join(ROOT, 'web/dist');

export const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";

/** The base64 of 32 bytes that only tests use as a master key. */
export const MASTER_KEY = Buffer.alloc(32, 'coffer test master key').toString('base64');

/** Serves the built package at /coffer/ beside the given files, all under the strict policy; `headers` are added for their paths. */
export async function servePackage(
  files: Record<string, string | Uint8Array> = {},
  headers: Record<string, Record<string, string>> = {},
): Promise<Server> {
  if (!existsSync(join(DIST, 'index.js')))
    throw new Error('the package is not built: run `make build` first');
  return serve({
    folders: { '/coffer/': DIST },
    files: { '/': '<!doctype html><title>coffer</title>', ...files },
    headers: { '/': { 'Content-Security-Policy': POLICY }, ...headers },
  });
}

/** Returns the error that a promise rejects with. Fails the test if it resolves. */
export const failure = (promise: Promise<unknown>): Promise<PageError> =>
  promise.then(
    () => expect.unreachable('should have failed'),
    (error: PageError) => error,
  );
