// Builds the files for the benchmarks in build/bench. The package is copied, so that a concurrent build does not affect them.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const built = join(root, 'build/bench');
/** The package as it is published. */
export const dist = join(built, 'coffer');

/** Builds the package, the pages and the Go hello. Returns the driver, a TypeScript module. */
export async function buildBrowser() {
  rmSync(built, { recursive: true, force: true });
  if (!existsSync(join(root, 'web/dist/index.js')))
    execFileSync('node', ['web/build.mjs'], { cwd: root, stdio: 'inherit' });
  cpSync(join(root, 'web/dist'), dist, { recursive: true });
  const env = { ...process.env, GOOS: 'js', GOARCH: 'wasm' };
  execFileSync(
    'go',
    [
      'build',
      '-trimpath',
      '-buildvcs=false',
      '-ldflags=-s -w',
      '-o',
      join(built, 'hello.wasm'),
      './bench/browser/hello',
    ],
    { cwd: root, env, stdio: 'inherit' },
  );
  const page = join(root, 'bench/browser/page/index.ts');
  await build({
    entryPoints: { bench: page },
    outdir: built,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
  });
  return import(await buildDriver());
}

/** The driver and the harness, file by file: the harness starts a script that lies beside it. */
async function buildDriver() {
  const harness = join(root, 'e2e/harness');
  const entryPoints = [
    join(root, 'bench/browser/run.ts'),
    ...readdirSync(harness).map((name) => join(harness, name)),
  ];
  await build({
    entryPoints,
    outbase: root,
    outdir: join(built, 'driver'),
    format: 'esm',
    target: 'es2022',
    loader: { '.mjs': 'copy' },
  });
  return join(built, 'driver/bench/browser/run.js');
}
