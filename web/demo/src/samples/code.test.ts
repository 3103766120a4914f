import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { calls } from './code.js';

test('every line of code that is shown stands in the README, where it is run', async () => {
  const readme = new Set(
    (await readFile(new URL('../../../../README.md', import.meta.url), 'utf8'))
      .split('\n')
      .map((line) => line.trim()),
  );
  const missing = calls
    .flatMap(({ code }) => code.split('\n'))
    .filter((line) => !readme.has(line.trim()));
  expect(missing).toEqual([]);
});
