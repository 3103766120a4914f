/** One virtual X display for all the WebKit browsers of this process. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { start } from './processes.js';

const PROGRAM = { path: '/usr/bin/Xvfb', debianPackage: 'xvfb' };

let display: Promise<string> | undefined;

/**
 * Starts Xvfb on the first call; it picks a free display number and writes it to descriptor 3. Without -noreset it begins again
 * whenever the last browser ends, and a browser that starts at that moment is refused.
 */
async function startDisplay(): Promise<string> {
  const args = ['-displayfd', '3', '-noreset', '-screen', '0', '1280x1024x24', '-nolisten', 'tcp'];
  const xvfb = await start(PROGRAM, args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
  const pipe = xvfb.child.stdio[3] as Readable;
  const number = (await text(pipe)).trim(); // to its end: Xvfb dies of a pipe closed too early
  if (!number) throw new Error('Xvfb did not start');
  return `:${number}`;
}

/** The environment in which WebKit runs headless, as root, with all it stores in one folder. */
export async function webkitEnvironment(home: string): Promise<NodeJS.ProcessEnv> {
  display ??= startDisplay();
  const folders = {
    HOME: home,
    XDG_DATA_HOME: join(home, 'data'),
    XDG_CONFIG_HOME: join(home, 'config'),
    XDG_CACHE_HOME: join(home, 'cache'),
    XDG_RUNTIME_DIR: join(home, 'run'),
  };
  for (const folder of Object.values(folders))
    await mkdir(folder, { recursive: true, mode: 0o700 });
  return {
    PATH: process.env.PATH,
    LANG: 'C.UTF-8',
    ...folders,
    DISPLAY: await display,
    DBUS_SESSION_BUS_ADDRESS: 'disabled:', // else a bus daemon is started and stays behind
    GDK_BACKEND: 'x11',
    LIBGL_ALWAYS_SOFTWARE: '1', // compositing stays on: without it screenshots never come
    NO_AT_BRIDGE: '1',
  };
}
