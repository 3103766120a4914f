/** Runs the examples of `@coffer-storage/coffer/client` against a real server, and that of the React hook in Chromium. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as coffer from '@coffer-storage/coffer';
import * as client from '@coffer-storage/coffer/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readExamples, runExample } from '../web/test/examples.js';
import { buildServer } from './demo/build.js';
import { removeFolder, temporaryFolder } from './harness/index.js';
import { type CofferServer, startCoffer } from './server.js';

const run = promisify(execFile);
const modules = { '@coffer-storage/coffer': coffer, '@coffer-storage/coffer/client': client };

let folder: string;
let server: CofferServer;
let operator: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  const [binary, data] = [await buildServer(), join(folder, 'data')];
  server = await startCoffer(binary, data);
  const token = ['token', 'create', '--data', data, '--tenant', '*'];
  const scopes = ['--scopes', 'keys:admin,audit:read'];
  const { stdout } = await run(binary, [...token, ...scopes]);
  operator = stdout.replace('token:', '').trim();
}, 300_000);
afterAll(async () => {
  await server?.close();
  await removeFolder(folder);
});

test.each(readExamples('client'))('$name', async (example) => {
  const code = example.code
    .replaceAll('https://coffer.example', server.origin)
    .replaceAll("'coffer_…'", JSON.stringify(server.token))
    .replaceAll("'coffer_operator_…'", JSON.stringify(operator));
  expect(await runExample({ ...example, code }, modules)).toEqual(example.output);
});
