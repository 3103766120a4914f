// Outlives the test process, however that ends (SIGKILL too), and then ends the process groups and
// removes the folders it had not released. Its input, JSON lines [kind, 'add' | 'delete', what],
// ends with the test process.
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const GRACE_MS = 500;
const held = { group: new Set(), folder: new Set() };

function signalAll(name) {
  for (const group of held.group) {
    try {
      process.kill(-group, name);
    } catch {
      held.group.delete(group); // nothing left of it
    }
  }
}

function removeFolders() {
  for (const folder of held.folder)
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => {});
for await (const line of createInterface({ input: process.stdin })) {
  const [kind, verb, what] = JSON.parse(line);
  held[kind][verb](what);
}

signalAll('SIGTERM');
await sleep(GRACE_MS);
signalAll('SIGKILL');
removeFolders();
await sleep(GRACE_MS); // a browser that was just starting, not yet watched, may write once more
removeFolders();
