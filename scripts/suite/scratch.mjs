// A folder in memory for the files of tests, which would otherwise mostly wait for the disk. Tests of disks mount their own.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MEMORY = '/dev/shm';
/** Bytes: twice the maximum that the tests need. */
const NEEDED = 8 * 2 ** 30;

/** Creates the folder. It is on the disk if memory is low or if programs cannot run in the memory folder, as in some containers. */
export function scratch() {
  const dir = mkdtempSync(join(fits() ? MEMORY : tmpdir(), 'coffer-test-'));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

function fits() {
  let dir;
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    if (bavail * bsize < NEEDED) return false;
    dir = mkdtempSync(join(MEMORY, 'coffer-test-'));
    const program = join(dir, 'true');
    copyFileSync('/bin/true', program);
    return spawnSync(program).status === 0;
  } catch {
    return false;
  } finally {
    if (dir) rmSync(dir, { recursive: true, force: true });
  }
}
