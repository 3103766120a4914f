/** The server with its demo, as a visitor meets them. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../support.js';

const run = promisify(execFile);

/** Builds what has changed of it since it was built last; gives the binary. */
export async function buildServer(): Promise<string> {
  const env = { ...process.env, NODE_ENV: 'production' }; // vitest's own value would bring React's development build
  await run('make', ['-s', 'bin/coffer'], { cwd: ROOT, env });
  return join(ROOT, 'bin/coffer');
}

/** Makes a token by the server's own command line. */
export async function makeToken(
  binary: string,
  data: string,
  tenant: string,
  scopes: string,
): Promise<string> {
  const { stdout } = await run(binary, [
    'token',
    'create',
    '--data',
    data,
    '--name',
    'test',
    '--tenant',
    tenant,
    '--scopes',
    scopes,
  ]);
  return /coffer_\S+/.exec(stdout)![0];
}
