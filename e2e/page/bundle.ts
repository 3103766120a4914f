/** Bundles the modules of this folder for a page. They import the shipped package by its name, and parts of web/src as such. */
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import type { Page } from '../harness/index.js';
import { ROOT } from '../support.js';

const shipped: Plugin = {
  name: 'the shipped package',
  setup: ({ onResolve }) => {
    onResolve({ filter: /^@coffer-storage\/coffer$/ }, () => ({
      path: '/coffer/index.js',
      external: true,
    }));
    // The hook shares its configuration with the package.
    onResolve({ filter: /^\.\.\/index\.js$/ }, ({ importer }) =>
      importer.includes('/web/src/react/')
        ? { path: '/coffer/index.js', external: true }
        : undefined,
    );
  },
};

/** The bundle of one module, as text to be served at /page/NAME.js. */
export async function bundle(name: string): Promise<Record<string, string>> {
  const entry = join(ROOT, 'e2e/page', `${name}.ts`);
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    plugins: [shipped],
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'warning',
  });
  return { [`/page/${name}.js`]: outputFiles[0]?.text ?? '' };
}

/** Calls an exported function of a served bundle in a page. */
export function call<R>(page: Page, name: string, fn: string, ...args: unknown[]): Promise<R> {
  const run = async (path: string, name: string, ...rest: unknown[]) => {
    const module = (await import(path)) as Record<string, (...a: unknown[]) => unknown>;
    return module[name]?.(...rest);
  };
  return page.evaluate(run, `/page/${name}.js`, fn, ...args) as Promise<R>;
}
