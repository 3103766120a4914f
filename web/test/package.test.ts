/** The packed tarball, checked by publint and by "are the types wrong". It holds what `make build` built. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { root } from './node.js';

const run = promisify(execFile);
let folder: string;
let tarball: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coffer-package-'));
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: root });
  const [name = ''] = await readdir(folder);
  expect(name).toMatch(/^coffer-storage-coffer-\d+\.\d+\.\d+\.tgz$/);
  tarball = join(folder, name);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('publint finds nothing in the tarball, not even a suggestion', async () => {
  const { stdout } = await run('npx', ['publint', 'run', '--strict', '--pack', 'false', tarball], {
    cwd: root,
  });
  expect(stdout).toMatch(/All good!/);
});

test('every entry point has types under ESM and bundler resolution', async () => {
  const options = ['--profile', 'esm-only', '--exclude-entrypoints', 'coffer.wasm'];
  const { stdout } = await run('npx', ['attw', tarball, '--no-emoji', ...options], { cwd: root });
  // attw exits with 1 if an entry point fails.
  expect(stdout.match(/^node16 \(from ESM\): OK/gm)).toHaveLength(4);
});

test('the tarball holds the built package, its licences and the format, and no sources', async () => {
  const { stdout } = await run('tar', ['-tzf', tarball]);
  const names = stdout.trim().split('\n');
  for (const name of ['README.md', 'LICENSE', 'web/dist/coffer.wasm', 'shared/format/SPEC.md'])
    expect(names).toContain(`package/${name}`);
  expect(names.filter((name) => name.startsWith('package/web/src/'))).toEqual([]);
});
