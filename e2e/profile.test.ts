/** Searches the browser's profile on disk for plaintexts and for the bytes of every key. */
import { createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { Core, Reader } from '../web/src/core/core.js';
import {
  type Server,
  chromium,
  evaluateInMiniBrowser,
  firefox,
  removeFolder,
  temporaryFolder,
} from './harness/index.js';
import { DIST, servePackage } from './support.js';

type Coffer = typeof import('../web/src/index.js');

let server: Server;
beforeAll(async () => {
  server = await servePackage();
});
afterAll(() => server.close());

/** Random text and bytes, which no compression hides from a search. */
const secrets = {
  text: randomBytes(32).toString('hex'),
  bytes: randomBytes(64),
  fileName: `${randomBytes(24).toString('hex')}.dcm`,
};
const planted = { text: randomBytes(32).toString('hex'), bytes: randomBytes(64) };
const master = randomBytes(32);

/** Runs in a page: stores the secrets sealed and the planted ones in the clear; returns the vault's document and the salts in use. */
async function store(
  masterKey: string,
  secret: typeof secrets,
  clear: typeof planted,
): Promise<[Uint8Array, Uint8Array[]]> {
  const { createEncryptedStorage } = (await import('/coffer/index.js' as string)) as Coffer;
  const storage = await createEncryptedStorage('searched', 's', { unlock: { masterKey } });
  await storage.setEncrypted('text', secret.text, 'phi');
  await storage.setEncrypted('bytes', secret.bytes, 'confidential');
  await storage.setEncrypted('json', { nested: secret.text }, 'internal');
  await storage.setEncrypted(
    'file',
    new File([secret.bytes as Uint8Array<ArrayBuffer>], secret.fileName),
    'pii',
  );
  await storage.setEncrypted('large', secret.text.repeat(40_000), 'phi'); // beyond what engines keep in one row
  await storage.setEncrypted('gone', secret.text, 'phi');
  await storage.delete('gone');
  for (const name of await storage.keys()) await storage.getDecrypted(name);
  const names = await storage.keys();
  const salts = await Promise.all(
    names.map(async (name) => (await storage.getPackage(name))!.slice(42, 58)),
  );
  storage.close();
  const opened = (name: string) =>
    new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () =>
        name === 'clear' && request.result.createObjectStore('values');
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const db = await opened('clear');
  const tx = db.transaction('values', 'readwrite', { durability: 'strict' });
  tx.objectStore('values').put(clear, 'planted');
  await new Promise((resolve, reject) =>
    Object.assign(tx, { oncomplete: resolve, onabort: reject }),
  );
  db.close();
  const vault = await opened('searched');
  const request = vault.transaction('vault').objectStore('vault').get('document');
  await new Promise((resolve, reject) =>
    Object.assign(request, { onsuccess: resolve, onerror: reject }),
  );
  vault.close();
  return [request.result as Uint8Array, salts];
}

/** Every secret byte string behind the vault, derived here from its document: the master key's, the root's and the data keys' own. */
async function keyBytes(document: Uint8Array, salts: Uint8Array[]): Promise<Map<string, Buffer>> {
  const core = new Core(await WebAssembly.compile(await readFile(join(DIST, 'coffer.wasm'))));
  const handle = core.call.openDocument(core.begin().bytes(document).length);
  const derive = (key: Uint8Array, label: string, salt: Uint8Array = Buffer.alloc(0)) =>
    Buffer.from(hkdfSync('sha256', key, salt, `coffer/v1 ${label}`, 32));
  const binding = (use: number, cls: number, id: Uint8Array) => (
    core.begin().bytes(id), core.output(core.call.binding(handle, use, cls))
  );
  const unwrap = (wrapping: Buffer, wrapped: Uint8Array, data: Uint8Array) => {
    const gcm = createDecipheriv('aes-256-gcm', wrapping, wrapped.subarray(0, 12))
      .setAAD(data)
      .setAuthTag(wrapped.subarray(-16));
    return Buffer.concat([gcm.update(wrapped.subarray(12, -16)), gcm.final()]);
  };
  const slotSecret = derive(master, 'master key');
  const keys = new Map([
    ['master key', master],
    ['slot secret', slotSecret],
    ['slot wrapping key', derive(slotSecret, 'wrapping key')],
  ]);
  const slot = new Reader(core.output(core.call.slot(handle, 0)), 16 + 1 + 8);
  const [name] = [slot.take(52), slot.take(32 + 16 + 4 + 2 + 2)];
  const root = unwrap(
    derive(slotSecret, 'wrapping key'),
    slot.take(slot.uint(2)),
    binding(0, 0, name),
  );
  keys.set('root', root).set('root wrapping key', derive(root, 'wrapping key'));
  for (let i = 0, n = core.call.key(handle, i); n > 0; n = core.call.key(handle, ++i)) {
    const r = new Reader(core.output(n));
    const [use, cls] = [r.uint(1), r.uint(1)];
    r.uint(1);
    const [id] = [r.take(32), r.take(52)];
    const dek = unwrap(derive(root, 'wrapping key'), r.take(r.uint(2)), binding(use, cls, id));
    keys.set(`data key ${cls}`, dek);
    for (const [j, salt] of salts.entries())
      keys.set(`message key ${cls} ${j}`, derive(dek, 'message key', salt));
  }
  return keys;
}

/** The files below a folder that hold any of the needles, by the needle's name. */
async function search(folder: string, needles: Map<string, Buffer>): Promise<string[]> {
  const found = new Set<string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const content = await readFile(join(entry.parentPath, entry.name)).catch(() => Buffer.alloc(0));
    for (const [name, needle] of needles) if (content.includes(needle)) found.add(name);
  }
  return [...found].sort();
}

/** A text as an engine may write it, and bytes. */
function forms(name: string, value: string | Buffer): [string, Buffer][] {
  if (typeof value !== 'string')
    return [
      [name, value],
      [`${name} in base64`, Buffer.from(value.toString('base64'))],
      [`${name} in hex`, Buffer.from(value.toString('hex'))],
    ];
  return [
    [name, Buffer.from(value)],
    [`${name} in UTF-16`, Buffer.from(value, 'utf16le')],
  ];
}

/** Checks that the search finds the planted values, which proves that it works, and nothing else. */
async function expectOnlyCiphertext(
  folder: string,
  document: Uint8Array,
  salts: Uint8Array[],
): Promise<void> {
  const control = await search(
    folder,
    new Map([...forms('text', planted.text), ...forms('bytes', planted.bytes)]),
  );
  expect(control).toEqual(expect.arrayContaining([expect.stringMatching(/^text/), 'bytes']));
  const keys = await keyBytes(document, salts);
  expect(keys.size).toBeGreaterThanOrEqual(5 + 5 + 5 * 5);
  const needles = new Map<string, Buffer>();
  for (const [name, value] of [
    ...keys,
    ['text', secrets.text],
    ['bytes', secrets.bytes],
    ['file name', secrets.fileName],
  ] as [string, string | Buffer][]) {
    for (const [form, needle] of forms(name, value)) needles.set(form, needle);
  }
  expect(await search(folder, needles)).toEqual([]);
}

async function profile(): Promise<string> {
  const folder = await temporaryFolder();
  onTestFinished(() => removeFolder(folder));
  return folder;
}

describe('the profile on disk holds ciphertext only', () => {
  test.each([chromium, firefox])('$name', async (engine) => {
    const profileDir = await profile();
    const session = await engine.open({ profileDir });
    const page = await session.page(server.origin);
    const [document, salts] = await page.evaluate(
      store,
      master.toString('base64'),
      secrets,
      planted,
    );
    await session.close();
    await expectOnlyCiphertext(profileDir, document, salts);
  });

  test('webkit', async () => {
    const run = { server, profileDir: await profile() };
    const [document, salts] = await evaluateInMiniBrowser(
      run,
      store,
      master.toString('base64'),
      secrets,
      planted,
    );
    await expectOnlyCiphertext(run.profileDir, document, salts);
  });

  test('a CryptoKey stored in IndexedDB is found on the disk, so the package stores none', async () => {
    const [profileDir, secret] = [await profile(), randomBytes(32)];
    const session = await chromium.open({ profileDir });
    const page = await session.page(server.origin);
    await page.evaluate(async (bytes: Uint8Array) => {
      const key = await crypto.subtle.importKey('raw', bytes as BufferSource, 'AES-GCM', false, [
        'encrypt',
      ]);
      const opening = indexedDB.open('key', 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore('keys');
      await new Promise((resolve) => (opening.onsuccess = resolve));
      const tx = opening.result.transaction('keys', 'readwrite', { durability: 'strict' });
      tx.objectStore('keys').put(key, 'k');
      await new Promise((resolve) => (tx.oncomplete = resolve));
    }, secret);
    await session.close();
    expect(await search(profileDir, new Map([['key', secret]]))).toEqual(['key']);
  });
});
