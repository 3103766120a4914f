/** The examples of the README and the documentation, run as they are written. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { buildServer } from './demo/build.js';
import { chromium, launch, removeFolder, temporaryFolder } from './harness/index.js';
import { freePort } from './harness/webdriver.js';
import { type CofferServer, startCoffer } from './server.js';
import { ROOT, servePackage } from './support.js';

const run = promisify(execFile);

/** Returns the only code block of a page that has this language and contains the text. */
async function example(page: string, language: string, text: string): Promise<string> {
  const content = await readFile(join(ROOT, page), 'utf8');
  const blocks = [...content.matchAll(/```(\w+)\n([\s\S]*?)```/g)].filter(
    ([, l, code]) => l === language && code?.includes(text),
  );
  expect(blocks, `the ${language} example of ${page} with ${text}`).toHaveLength(1);
  return blocks[0]![2]!;
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'coffer-readme-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Starts a program that ends with the test, and waits until its output has a line. */
async function started(command: string, args: string[], line: RegExp): Promise<RegExpExecArray> {
  const { child, stop } = await launch(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(stop);
  let output = '';
  return new Promise((resolve, reject) => {
    const read = (data: Buffer) => {
      output += data.toString();
      const match = line.exec(output);
      if (match) resolve(match);
    };
    (child.stdout as Readable).on('data', read);
    (child.stderr as Readable).on('data', read);
    child.on('exit', () => reject(new Error(`${command} ended: ${output}`)));
  });
}

test.each(['README.md', 'docs/browser.md'])(
  'the browser example of %s (chromium)',
  async (document) => {
    const code = (await example(document, 'js', 'createEncryptedStorage')).replace(
      "from '@coffer-storage/coffer'",
      "from '/coffer/index.js'",
    );
    const server = await servePackage({ '/example.js': `${code}\nexport { patient, storage };` });
    onTestFinished(() => server.close());
    const session = await chromium.open();
    onTestFinished(() => session.close());
    const page = await session.page(server.origin);
    const seen = await page.evaluate(async () => {
      const { patient, storage } = (await import('/example.js' as string)) as {
        patient: unknown;
        storage: { getDecrypted(key: string): Promise<unknown> };
      };
      return [patient, await storage.getDecrypted('patient:P2')];
    });
    expect(seen).toEqual([{ name: 'Ada', born: 1815 }, null]);
  },
);

/** Replaces the parts that differ from run to run by one letter each. */
function shape(output: string): string {
  return output
    .replace(/\b[0-9a-f]{16,}\b/g, 'H')
    .replace(/\d{4}-\d\d-\d\dT[\d:]+Z/g, 'T')
    .replace(/\b\d+(\.\d+)?(µs|ms|s)\b/g, 'D')
    .replace(/\d+/g, 'N')
    .replace(/ +/g, ' ')
    .trim();
}

test('each command of docs/tour.md prints the output of the page', async () => {
  const [dir, tour] = [await temporaryFolder(), await readFile(join(ROOT, 'docs/tour.md'), 'utf8')];
  onTestFinished(() => removeFolder(dir));
  const coffer = await buildServer();
  const server = await startCoffer(coffer, join(dir, 'coffer-data'));
  onTestFinished(() => server.close());
  for (const path of [
    '1?class=phi',
    '2?class=phi',
    '3?class=phi',
    '4?class=phi',
    '5?class=phi',
    '6?class=pii',
  ]) {
    await fetch(`${server.origin}/v1/cache/${path}`, {
      method: 'PUT',
      body: 'value',
      headers: { Authorization: `Bearer ${server.token}` },
    });
  }
  const commands = [...tour.matchAll(/```console\n([^]*?)```/g)].flatMap(([, block]) =>
    block!.split(/^\$ /m).slice(1),
  );
  expect(commands.length).toBeGreaterThan(6);
  for (const command of commands) {
    const [line = '', ...output] = command.split('\n');
    const { stdout } = await run(coffer, line.split(' ').slice(1), { cwd: dir });
    expect(shape(stdout), line).toBe(shape(output.join('\n')));
  }
}, 300_000);

test('the Go program of docs/go.md', async () => {
  const file = join(await folder(), 'main.go');
  await writeFile(file, await example('docs/go.md', 'go', 'seal.NewService'));
  const { stdout } = await run('go', ['run', file], { cwd: ROOT });
  expect(stdout).toBe('Ada <nil>\n');
});

test('the Go program of the README', async () => {
  const [dir, port] = [await folder(), await freePort()];
  await started(
    'redis-server',
    ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', dir],
    /Ready to accept connections/,
  );
  const source = (await example('README.md', 'go', 'cache.Wrap'))
    .replace('localhost:6379', `127.0.0.1:${port}`)
    .replace('"keys"', JSON.stringify(join(dir, 'keys')));
  const file = join(dir, 'main.go');
  await writeFile(file, source);
  const { stdout } = await run('go', ['run', file], { cwd: ROOT });
  expect(stdout).toBe('Ada\n');
});

describe('over HTTP', () => {
  let dir: string;
  let server: CofferServer;
  beforeAll(async () => {
    dir = await temporaryFolder();
    server = await startCoffer(await buildServer(), join(dir, 'data'));
  }, 300_000);
  afterAll(async () => {
    await server?.close();
    await removeFolder(dir);
  });
  /** The example, for the server of this test. */
  const own = async (page: string, language: string, text: string) =>
    (await example(page, language, text))
      .replaceAll('http://localhost:8080', server.origin)
      .replace('coffer_…', server.token);

  test.each(['README.md', 'docs/http.md'])('the curl example of %s', async (page) => {
    const { stdout } = await run('bash', ['-ec', await own(page, 'sh', 'curl')]);
    expect(stdout).toBe('Ada');
  });

  test('the TypeScript client of docs/http.md', async () => {
    const code = `${await own('docs/http.md', 'js', 'CofferClient')}\nprocess.stdout.write(Buffer.from(entry.value) + ' ' + entry.class);`;
    const { stdout } = await run('node', ['--input-type=module', '--eval', code], { cwd: ROOT });
    expect(stdout).toBe('Ada phi');
  });

  test('the Go client of docs/http.md', async () => {
    const file = join(dir, 'main.go');
    await writeFile(file, await own('docs/http.md', 'go', 'client.New'));
    const { stdout } = await run('go', ['run', file], { cwd: ROOT });
    expect(stdout).toBe('Ada\n');
  });
});
