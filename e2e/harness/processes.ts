/**
 * Child processes and temporary folders that never outlive the test process. Each child leads its
 * own process group and is ended by that group, never by name.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const FINISH_MS = 10_000;
const MARK = 'TEST_RUN_MARK';

let guardian: Socket | undefined;

/** Registers or unregisters a resource that the guardian removes if this process dies first. */
function tell(kind: 'group' | 'folder', verb: 'add' | 'delete', what: number | string): void {
  guardian ??= startGuardian();
  guardian.write(`${JSON.stringify([kind, verb, what])}\n`);
}

function startGuardian(): Socket {
  const script = fileURLToPath(new URL('guardian.mjs', import.meta.url));
  const child = spawn(process.execPath, [script], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.unref();
  const input = child.stdin as Socket;
  input.unref();
  return input;
}

/** Registers a process group that another program started with the guardian. */
export function watchGroup(pid: number): void {
  tell('group', 'add', pid);
}

/** Ends the remaining processes of a registered group. */
export function endGroup(pid: number): void {
  signalGroup(pid, 'SIGKILL');
  tell('group', 'delete', pid);
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A running program that leads its own process group. */
export interface Program {
  readonly child: ChildProcess;
  /** Settles when the program has ended. */
  readonly ended: Promise<unknown>;
  /** Waits for a program that was told to end, and ends what is left of its group. */
  finish(): Promise<void>;
  /** Ends the whole group and waits for it. */
  stop(): Promise<void>;
}

export interface LaunchOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  stdio?: StdioOptions;
}

/** Starts a program. Fails, naming the Debian package that has it, when it is not installed. */
export async function start(
  program: InstalledProgram,
  args: string[],
  options?: LaunchOptions,
): Promise<Program> {
  return launch(installed(program), args, options);
}

/** Starts a program by its path or its name. Every program carries the mark by which `make test` finds what is left. */
export async function launch(
  path: string,
  args: string[],
  options: LaunchOptions = {},
): Promise<Program> {
  const env = { ...(options.env ?? process.env), [MARK]: process.env[MARK] };
  const child = spawn(path, args, { stdio: 'ignore', ...options, env, detached: true });
  const ended = once(child, 'exit');
  await once(child, 'spawn');
  const pid = child.pid as number;
  watchGroup(pid);
  child.unref();
  const finish = async () => {
    await Promise.race([ended, sleep(FINISH_MS, undefined, { ref: false })]);
    endGroup(pid);
    await ended;
  };
  const stop = () => {
    signalGroup(pid, 'SIGTERM');
    return finish();
  };
  return { child, ended, finish, stop };
}

/** Where Debian puts a program, and the package to install when it is missing. */
export interface InstalledProgram {
  path: string;
  debianPackage: string;
}

/** The program's path. @throws Error naming the Debian package when it is not installed */
export function installed({ path, debianPackage }: InstalledProgram): string {
  if (existsSync(path)) return path;
  throw new Error(
    `${path} is missing: install the Debian package ${debianPackage} (apt-get install ${debianPackage})`,
  );
}

/** A fresh folder, removed when the test process ends, or earlier by removeFolder. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'coffer-e2e-'));
  tell('folder', 'add', folder);
  return folder;
}

/** Removes a temporary folder now; a browser's last writes may still land in it, hence the retries. */
export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 10 });
  tell('folder', 'delete', folder);
}
