/** Tests of coffer/client that need no server. e2e/client.test.ts has the others. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect, promisify } from 'node:util';
import { expect, test } from 'vitest';
import { errorOf } from '../src/core/errors.js';
import { makeError } from '../src/client/http.js';
import type { Code } from '../src/core/codes.gen.js';

const root = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');

test('the types are those of the document', async () => {
  const args = [
    'openapi-typescript',
    'internal/api/openapi.yaml',
    '--output',
    'web/src/client/openapi.gen.ts',
    '--default-non-nullable',
    'false',
    '--check',
  ];
  await promisify(execFile)('npx', args, { cwd: root }); // fails: run `make generate`
  expect(read('Makefile')).toContain(args.slice(0, -1).join(' '));
});

test('an error is of one class, whether the core or a server names it', () => {
  const codes = [...read('web/src/core/codes.gen.ts').matchAll(/^ {2}\| '(\w+)'/gm)].map(
    ([, code]) => code as Code,
  );
  expect(codes.length).toBeGreaterThan(30);
  for (const code of codes) {
    const { name } = errorOf(code);
    if (
      /Storage|Environment/.test(name) ||
      code === 'not_configured' ||
      code === 'ttl_out_of_range'
    )
      continue; // named by one side only
    expect(makeError(code, '').name, code).toBe(name);
  }
});

test('a console prints an error with the name of its class, although the package is minified', async () => {
  const { InputError } = await import(join(root, 'web/dist/index.js'));
  expect(inspect(new InputError('malformed', 'x'))).toMatch(/^InputError: x\n/);
});

test('the built client shares the error classes with the main entry, and adds nothing to it', () => {
  const client = read('web/dist/client/index.js');
  expect(client).toMatch(/^import\{[^}]*CofferError[^}]*\}from"\.\.\/index\.js";/);
  expect(client).not.toMatch(/extends Error/);
  expect(read('web/dist/index.js')).not.toMatch(/Retry-After|from"\.\/(?!wasm_exec)/);
});
