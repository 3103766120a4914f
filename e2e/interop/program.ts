/** Builds the Go side of the tests once and speaks to it: JSON in, JSON out. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { temporaryFolder } from '../harness/index.js';
import { ROOT } from '../support.js';

let built: Promise<string> | undefined;

async function build(): Promise<string> {
  const program = join(await temporaryFolder(), 'interop');
  execFileSync('go', ['build', '-o', program, './e2e/interop'], { cwd: ROOT, stdio: 'inherit' });
  return program;
}

/** Runs one command of the program (e2e/interop/main.go). Bytes travel as base64. */
export async function interop<T>(
  command: 'vectors' | 'keys' | 'exchange',
  request?: unknown,
): Promise<T> {
  built ??= build();
  const input = JSON.stringify(request, function (this: Record<string, unknown>, key, json) {
    const raw = this[key]; // before a Buffer's toJSON
    return raw instanceof Uint8Array ? Buffer.from(raw).toString('base64') : json;
  }) as string | undefined;
  const stdin = input === undefined ? 'ignore' : 'pipe'; // a command without a request may end before its input is written
  return JSON.parse(
    execFileSync(await built, [command], {
      input,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      stdio: [stdin, 'pipe', 'inherit'],
    }),
  ) as T;
}
