/** The codes of a browser's refusals to open a database. */
import { IDBFactory } from 'fake-indexeddb';
import { afterEach, expect, test, vi } from 'vitest';
import { Database } from '../src/storage/database.js';
import { codeOf } from './node.js';

afterEach(() => vi.unstubAllGlobals());

/** A factory whose every request to open ends with an error of that name. */
function refusing(name: string): Pick<IDBFactory, 'open'> {
  const open = () => {
    const request = { error: new DOMException('refused', name), onerror: () => {} };
    queueMicrotask(() => request.onerror());
    return request as unknown as IDBOpenDBRequest;
  };
  return { open };
}

test.each([
  ['indexeddb_unavailable', 'InvalidStateError'], // Firefox's private windows
  ['indexeddb_unavailable', 'SecurityError'],
  ['quota_exceeded', 'QuotaExceededError'],
  ['unsupported_version', 'VersionError'],
  ['connection_lost', 'UnknownError'],
])('%s for %s', async (code, name) => {
  vi.stubGlobal('indexedDB', refusing(name));
  expect(await codeOf(() => new Database('d').connect())).toBe(code);
});

test.each([undefined, null])('indexeddb_unavailable if it is %s', async (missing) => {
  vi.stubGlobal('indexedDB', missing);
  expect(await codeOf(() => new Database('d').connect())).toBe('indexeddb_unavailable');
});

test('a connection that ends before the document is read is a lost one', async () => {
  vi.stubGlobal('indexedDB', new IDBFactory());
  const database = new Database('d');
  (await database.connect()).close(); // as a browser does, without an event
  for (const call of [
    () => database.readDocument(),
    () => database.adopt(new Uint8Array(1)),
    () => database.pin(new Uint8Array(1)),
  ]) {
    expect(await codeOf(call)).toBe('connection_lost');
  }
});
