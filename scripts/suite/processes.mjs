// Runs test programs and finds the processes that they leave behind.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The environment variable that marks the processes of a run. Processes that leave their session, as browsers do, inherit it. */
export const MARK = 'TEST_RUN_MARK';
/** The time that processes have to end after a signal. */
const GRACE_MS = 10_000;
const INTERVAL_MS = 100;
/** The number of consecutive scans that must find no process. */
const LOOKS = 3;

let guardian;

/** Sends the process groups to a watchdog process, which ends them if this process is killed. */
function guard(verb, pid) {
  guardian ??= spawn(
    process.execPath,
    [fileURLToPath(new URL('../../e2e/harness/guardian.mjs', import.meta.url))],
    { detached: true, stdio: ['pipe', 'ignore', 'ignore'] },
  );
  guardian.unref();
  guardian.stdin.unref();
  guardian.stdin.write(`${JSON.stringify(['group', verb, pid])}\n`);
}

/**
 * Runs a command in a session of its own, and ends the processes that it leaves behind.
 * Calls `line` with each line of output; without `line` the output is shown. `env` adds variables.
 * @returns the exit status or signal, and the processes that were left, each as `pid command`
 */
export async function run(command, args, { line, env: more, grace = GRACE_MS } = {}) {
  const mark = `${MARK}=${randomUUID()}`;
  const env = { ...process.env, ...more, [MARK]: mark.slice(MARK.length + 1) };
  const child = spawn(command, args, {
    stdio: ['ignore', line ? 'pipe' : 'inherit', 'inherit'],
    detached: true,
    env,
  });
  const closed = once(child, 'close');
  const read =
    line &&
    (async () => {
      for await (const text of createInterface({ input: child.stdout, crlfDelay: Infinity }))
        line(text);
    })();
  await once(child, 'spawn');
  guard('add', child.pid);
  const [code, signal] = await once(child, 'exit');
  const left = await endLeft(child.pid, mark, grace);
  guard('delete', child.pid);
  await Promise.all([closed, read]); // a remaining process may keep the output open
  return { status: signal ?? code, left };
}

/**
 * Waits for the processes of a session, or with a mark, to end, and kills those that do not. A single scan can miss a process:
 * it has no environment during exec, and may have started after /proc was listed.
 */
async function endLeft(session, mark, grace) {
  const deadline = Date.now() + grace;
  let left = marked(session, mark);
  for (
    let none = 0;
    none < LOOKS && Date.now() < deadline;
    none = left.length === 0 ? none + 1 : 0
  ) {
    await sleep(INTERVAL_MS);
    left = marked(session, mark);
  }
  for (const { pid } of left) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // the process has just ended
    }
  }
  return left.map(({ pid, command }) => `${pid} ${command}`);
}

/** The processes of a session, or with a mark in their environment, apart from zombies. */
function marked(session, mark) {
  const found = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      // pid (command) state ppid group session …; the command may contain parentheses
      const [state, , , of] = readFileSync(`/proc/${name}/stat`, 'utf8')
        .split(') ')
        .at(-1)
        .split(' ');
      if (state === 'Z' || state === 'X') continue;
      if (
        Number(of) !== session &&
        !readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(mark)
      )
        continue;
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').join(' ').trim();
      found.push({ pid: Number(name), command });
    } catch {
      // the process has ended or belongs to another user
    }
  }
  return found;
}
