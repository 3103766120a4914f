/** Builds and prepares the server with its demo. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../support.js';

const run = promisify(execFile);

/** Rebuilds the parts that changed since the last build, and returns the path of the binary. */
export async function buildServer(): Promise<string> {
  const env = { ...process.env, NODE_ENV: 'production' }; // with vitest's value, React's development build would be bundled
  await run('make', ['-s', 'bin/coffer'], { cwd: ROOT, env });
  return join(ROOT, 'bin/coffer');
}

/** Creates a token with the server's command line. */
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
