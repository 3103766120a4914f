/** The pages and helpers that the storage tests share. */
import type { Server } from '../harness/index.js';
import { MASTER_KEY, servePackage } from '../support.js';

export type Coffer = typeof import('../../web/src/index.js');
export const MIB = 1 << 20;

/** Serves the package with a worker and a plain page that use it. */
export function serveStorage(): Promise<Server> {
  return servePackage({
    '/worker.js': `import { createEncryptedStorage } from '/coffer/index.js';
      onmessage = async ({ data }) => {
        const storage = await createEncryptedStorage('worker', 's', { unlock: { masterKey: data } });
        await storage.setEncrypted('k', 'from a worker', 'phi');
        postMessage(await storage.getDecrypted('k'));
      };`,
    '/plain.html': `<!doctype html><title>waiting</title><script type="module" src="/plain.js"></script>`,
    '/plain.js': `import { configure, getDecrypted, setEncrypted } from '/coffer/index.js';
      configure({ unlock: { masterKey: '${MASTER_KEY}' } });
      await setEncrypted('k', { plain: true }, 'pii');
      document.title = JSON.stringify(await getDecrypted('k'));`,
  });
}

/** Runs in a page: one call on a store that is opened for it. */
export async function callStorage(
  db: string,
  key: string,
  method: string,
  ...args: unknown[]
): Promise<unknown> {
  const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
  const storage = await createEncryptedStorage(db, 'records', { unlock: { masterKey: key } });
  try {
    return await (storage as unknown as Record<string, (...a: unknown[]) => Promise<unknown>>)[
      method
    ]?.(...args);
  } finally {
    storage.close();
  }
}
