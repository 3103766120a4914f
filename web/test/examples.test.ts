/** Runs the examples of `@coffer-storage/coffer` in Node over fake-indexeddb, and type-checks those of every entry point. */
import 'fake-indexeddb/auto';
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format, promisify } from 'node:util';
import { transform } from 'esbuild';
import { IDBFactory } from 'fake-indexeddb';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import * as coffer from '../src/index.js';
import { readExamples } from './examples.js';
import { core, root } from './node.js';

const run = promisify(execFile);
const all = readExamples('.');
const main = all.filter(({ name }) => !/^(client|react)\//.test(name));

beforeAll(core);
beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
});

test('there are at least thirty examples', () => {
  expect(all.length).toBeGreaterThanOrEqual(30);
});

test.each(main)('$name', async ({ code, language, output }) => {
  const plain = code.replace(
    /^import \{([^}]*)\} from '@coffer-storage\/coffer';$/gm,
    (_, names: string) => `const {${names.replace(/type \w+,?/g, '')}} = coffer;`,
  );
  const { code: js } = await transform(plain, { loader: language });
  const printed: string[] = [];
  const console = { log: (...args: unknown[]) => printed.push(...format(...args).split('\n')) };
  const body = new Function('coffer', 'console', `return (async () => {\n${js}\n})()`) as (
    ...args: unknown[]
  ) => Promise<void>;
  await body(coffer, console);
  expect(printed).toEqual(output);
});

test('the examples are valid in a strict TypeScript project', async () => {
  const folder = join(root, 'e2e/.tmp/examples');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await Promise.all(
    all.map(({ code, language }, i) =>
      writeFile(join(folder, `${i}.${language}`), `export {};\n${code}`),
    ),
  );
  const config = { extends: '../../../tsconfig.json', compilerOptions: { noUnusedLocals: false } };
  await writeFile(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ ...config, include: ['.'], exclude: [] }),
  );
  const { stdout } = await run('npx', ['tsc', '-p', folder], { cwd: root }).catch(
    (error: { stdout: string }) => error,
  );
  const named = stdout.replace(/^\S*?(\d+)\.tsx?/gm, (_, i) => all[Number(i)]!.name);
  expect(named).toBe('');
});
