/** Runs the examples of `@coffer-storage/coffer` in Node over fake-indexeddb, and type-checks those of every entry point. */
import 'fake-indexeddb/auto';
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { IDBFactory } from 'fake-indexeddb';
import { type FunctionComponent, createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import * as coffer from '../src/index.js';
import * as react from '../src/react/index.js';
import { readExamples, runExample } from './examples.js';
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

test.each(main)('$name', async (example) => {
  expect(await runExample(example, { '@coffer-storage/coffer': coffer })).toEqual(example.output);
});

test.each(all.filter(({ name }) => name.startsWith('react/')))('$name', async ({ code }) => {
  const body = code.replace(/^import \{([^}]*)\} from ('[^']*');$/gm, 'const {$1} = modules[$2];');
  const [, component] = /^export function (\w+)/m.exec(body) ?? [];
  const options = { loader: 'tsx', jsx: 'transform', jsxFactory: 'createElement' } as const;
  const { code: js } = await transform(body.replace(/^export /m, ''), options);
  const load = new Function('modules', 'createElement', `${js}\nreturn ${component};`) as (
    ...args: unknown[]
  ) => FunctionComponent;
  const modules = { '@coffer-storage/coffer': coffer, '@coffer-storage/coffer/react': react };
  // The first render; e2e/react.test.ts covers what follows it in a browser.
  expect(renderToString(createElement(load(modules, createElement)))).toBe('<p>Loading…</p>');
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
