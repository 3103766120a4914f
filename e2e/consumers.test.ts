/** The tarball of the npm package, installed into a new Vite React app and a plain page that are opened in browsers. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  type Engine,
  type Page,
  type Server,
  chromium,
  firefox,
  launch,
  removeFolder,
  serve,
  temporaryFolder,
  webkit,
} from './harness/index.js';
import { POLICY, ROOT } from './support.js';
import manifest from '../package.json' with { type: 'json' };

const run = promisify(execFile);
const version = (name: keyof typeof manifest.devDependencies) => manifest.devDependencies[name];

const files = {
  'package.json': JSON.stringify({
    private: true,
    type: 'module',
    dependencies: {
      '@coffer-storage/coffer': 'file:coffer.tgz',
      react: version('react'),
      'react-dom': version('react-dom'),
    },
    devDependencies: Object.fromEntries(
      (
        ['vite', '@vitejs/plugin-react', 'typescript', '@types/react', '@types/react-dom'] as const
      ).map((name) => [name, version(name)]),
    ),
  }),
  'vite.config.js': `import react from '@vitejs/plugin-react';\nexport default { plugins: [react()] };`,
  'index.html': `<!doctype html><title>waiting</title><div id="root"></div><script type="module" src="/main.tsx"></script>`,
  'main.tsx': `
    import { useEffect } from 'react';
    import { createRoot } from 'react-dom/client';
    import { configure, type CofferError, DataClassification } from '@coffer-storage/coffer';
    import { CofferClient, type Entry } from '@coffer-storage/coffer/client';
    import { useEncryptedStorage } from '@coffer-storage/coffer/react';

    export const read = (key: string): Promise<Entry | null> => new CofferClient('').get(key);

    configure({ unlock: { password: 'a password' } });

    function App() {
      const { value, loading, error, updateValue } = useEncryptedStorage<{ visits: number }>('visits', DataClassification.INTERNAL);
      useEffect(() => {
        if (!loading && !document.title.startsWith('visits')) void updateValue({ visits: (value?.visits ?? 0) + 1 });
      }, [loading]);
      useEffect(() => {
        if (error) document.title = (error as CofferError).code;
        if (value) document.title = 'visits ' + value.visits;
      }, [value, error]);
      return null;
    }
    createRoot(document.getElementById('root')!).render(<App />);`,
  'tsconfig.json': JSON.stringify({
    compilerOptions: {
      strict: true,
      noEmit: true,
      jsx: 'react-jsx',
      module: 'ESNext',
      moduleResolution: 'Bundler',
      target: 'ES2022',
      types: [],
    },
    include: ['main.tsx'],
  }),
  'server-side.mjs': `
    const before = Object.keys(globalThis).length;
    const coffer = await import('@coffer-storage/coffer');
    await import('@coffer-storage/coffer/react');
    await import('@coffer-storage/coffer/client');
    const error = await coffer.createEncryptedStorage('a', 'b', { unlock: { password: 'p' } }).catch((e) => e);
    console.log(JSON.stringify([Object.keys(globalThis).length - before, typeof coffer.createEncryptedStorage, error.name]));`,
};

let app: string;
let built: Server;
let plain: Server;

beforeAll(async () => {
  app = await temporaryFolder();
  const { stdout } = await run(
    'npm',
    ['pack', '--ignore-scripts', '--json', '--pack-destination', app],
    { cwd: ROOT },
  );
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  await run('mv', [join(app, filename), join(app, 'coffer.tgz')]);
  for (const [name, content] of Object.entries(files)) await writeFile(join(app, name), content);
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: app });
  await run('npx', ['vite', 'build'], { cwd: app });
  const headers = { '/': { 'Content-Security-Policy': POLICY } };
  built = await serve({ folders: { '/': join(app, 'dist') }, headers });
  await mkdir(join(app, 'plain'));
  plain = await serve({
    folders: { '/coffer/': join(app, 'node_modules/@coffer-storage/coffer/web/dist') },
    files: {
      '/': '<!doctype html><title>waiting</title><script type="module" src="/page.js"></script>',
      '/page.js': `import { configure, getDecrypted, setEncrypted } from '/coffer/index.js';
        configure({ unlock: { password: 'a password' } });
        await setEncrypted('k', 'plain', 'phi');
        document.title = await getDecrypted('k');`,
    },
    headers,
  });
}, 300_000);
afterAll(async () => {
  await Promise.all([built?.close(), plain?.close()]);
  if (app) await removeFolder(app);
});

/** Waits until the page's script has set a title. */
const titled = (page: Page, title: string) =>
  page.evaluate(async (wanted) => {
    while (document.title !== wanted) await new Promise((resolve) => setTimeout(resolve, 20));
  }, title);

async function opened(engine: Engine) {
  const session = await engine.open();
  onTestFinished(() => session.close());
  return session;
}

describe.each([chromium, firefox, webkit])('consumers in $name', (engine) => {
  test('a built Vite React app reads its value after a reload', async () => {
    const page = await (await opened(engine)).page(built.origin);
    await titled(page, 'visits 1');
    await page.reload();
    await titled(page, 'visits 2');
  });

  test('a plain page without a bundler', async () => {
    await titled(await (await opened(engine)).page(plain.origin), 'plain');
  });
});

describe('consumers', () => {
  test('Vite’s development server (chromium)', async () => {
    const vite = await launch('npx', ['vite', '--host', '127.0.0.1', '--port', '0'], {
      cwd: app,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(vite.stop);
    let output = '';
    while (!/http:\/\/127\.0\.0\.1:\d+/.test(output))
      output += ((await once(vite.child.stdout!, 'data')) as [Buffer])[0]
        .toString()
        .replaceAll(/\x1b\[\d+m/g, '');
    const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(output)!;
    await titled(await (await opened(chromium)).page(url!), 'visits 1');
  });

  test('a strict TypeScript project compiles with the types', async () => {
    await run('npx', ['tsc', '-p', '.'], { cwd: app });
  });

  test('importing the package on a server has no effect and no error', async () => {
    const { stdout } = await run('node', ['server-side.mjs'], { cwd: app });
    expect(JSON.parse(stdout)).toEqual([0, 'function', 'EnvironmentError']);
  });
});
