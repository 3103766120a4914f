/** The demo and the server that serves it, as a visitor meets them. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DIST, ROOT } from '../support.js';

const run = promisify(execFile);

/** Builds the demo, and then the server with it; gives the binary. */
export async function buildServer(folder: string): Promise<string> {
  if (!existsSync(join(DIST, 'index.js'))) throw new Error('the package is not built: run `make build` first');
  const env = { ...process.env, NODE_ENV: 'production' }; // vitest's own value would bring React's development build
  await run('npx', ['vite', 'build', '-c', 'web/demo/vite.config.ts'], { cwd: ROOT, env });
  const binary = join(folder, 'coffer');
  await run('go', ['build', '-o', binary, './cmd/server'], { cwd: ROOT });
  return binary;
}

/** Makes a token by the server's own command line. */
export async function makeToken(binary: string, data: string, tenant: string, scopes: string): Promise<string> {
  const { stdout } = await run(binary, ['token', 'create', '--data', data, '--name', 'test', '--tenant', tenant, '--scopes', scopes]);
  return /coffer_\S+/.exec(stdout)![0];
}
