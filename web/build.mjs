// Builds the npm package into web/dist: the core, Go's loader made into a module, the bundle and its types.
// `--core` builds the WebAssembly part only. Run by `make wasm` and `npm run build`.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const src = join(root, 'web/src');
const dist = join(root, 'web/dist');

function go(args, env = {}) {
  return execFileSync('go', args, { cwd: root, env: { ...process.env, ...env }, encoding: 'utf8' });
}

/** The core, and the wasm_exec.js of the very Go release that compiled it. */
function buildCore() {
  mkdirSync(dist, { recursive: true });
  go(
    [
      'build',
      '-trimpath',
      '-buildvcs=false',
      '-ldflags=-s -w',
      '-o',
      join(dist, 'coffer.wasm'),
      './wasm',
    ],
    { GOOS: 'js', GOARCH: 'wasm' },
  );
  const loader = readFileSync(join(go(['env', 'GOROOT']).trim(), 'lib/wasm/wasm_exec.js'), 'utf8');
  writeFileSync(join(src, 'core/wasm_exec.js'), asModule(loader));
}

/**
 * wasm_exec.js puts fs, process and path on globalThis, which makes other libraries think that they run in Node. Here its
 * `globalThis` is an object of its own; running it is put off to the first use, so that importing has no effect.
 */
function asModule(loader) {
  const host = ['crypto', 'performance', 'TextEncoder', 'TextDecoder']
    .map((name) => `${name}: host.${name}`)
    .join(', ');
  return `const host = globalThis;\nlet shadow;\nfunction load() {\n  const globalThis = { ${host} };\n${loader}\n  return globalThis;\n}\nexport function newGo() {\n  shadow ??= load();\n  return new shadow.Go();\n}\n`;
}

async function buildPackage() {
  for (const name of ['types', 'react', 'client'])
    rmSync(join(dist, name), { recursive: true, force: true });
  // One by one: built together, entries would share chunks, and a plain page would have to fetch those too.
  for (const name of ['index', 'react/index', 'client/index']) {
    await build({
      input: { [name]: join(src, `${name}.ts`) },
      external: ['react', './wasm_exec.js', '../index.js'],
      makeAbsoluteExternalsRelative: false,
      transform: { target: 'es2022' },
      output: { dir: dist, format: 'esm', minify: true, comments: false, sourcemap: true },
    });
  }
  cpSync(join(src, 'core/wasm_exec.js'), join(dist, 'wasm_exec.js'));
  const licence = readFileSync(join(go(['env', 'GOROOT']).trim(), 'LICENSE'), 'utf8');
  writeFileSync(
    join(dist, 'licenses.txt'),
    `The Go runtime, in coffer.wasm and wasm_exec.js:\n\n${licence}\n`,
  );
  execFileSync('npx', ['tsc', '-p', join(root, 'web/tsconfig.json')], {
    cwd: root,
    stdio: 'inherit',
  });
}

buildCore();
if (!process.argv.includes('--core')) await buildPackage();
