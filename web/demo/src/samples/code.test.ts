import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { calls } from './code.js';

test('every line of code in the demo is in the documentation, whose examples are run', async () => {
  const pages = ['README', 'docs/browser', 'docs/go', 'docs/http'];
  const texts = pages.map((page) =>
    readFile(new URL(`../../../../${page}.md`, import.meta.url), 'utf8'),
  );
  const documented = new Set(
    (await Promise.all(texts)).flatMap((text) => text.split('\n').map((line) => line.trim())),
  );
  const missing = calls
    .flatMap(({ code }) => code.split('\n'))
    .filter((line) => !documented.has(line.trim()));
  expect(missing).toEqual([]);
});
