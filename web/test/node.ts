/** The built core in Node, and helpers that the unit tests share. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Core, loadCore, setCoreSource } from '../src/core/core.js';

export const root = join(import.meta.dirname, '../..');

/** Loads web/dist/coffer.wasm, which `make wasm` builds. */
export function core(): Promise<Core> {
  setCoreSource(readFileSync(join(root, 'web/dist/coffer.wasm')));
  return loadCore();
}

/** One of the files of shared/format/vectors. */
export const vectors = <T>(name: string): T =>
  JSON.parse(readFileSync(join(root, `shared/format/vectors/${name}.json`), 'utf8')) as T;

/** The code that a call throws or rejects with; fails if it does not, or throws something without a code. */
export async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    expect(error).toMatchObject({ code: expect.any(String), message: expect.any(String) });
    return (error as { code: string }).code;
  }
  return expect.unreachable('should have failed');
}
