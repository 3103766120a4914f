/** Unlocking a keyset document (shared/envelope/SPEC.md). */
import { type Bytes, concat, equal } from '../core/bytes.js';
import { type Core, Reader, textOf } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import { SALT, keyId, recordKey, recordMac, unwrap, wrappingKey } from '../crypto/primitives.js';
import { type Keys, latin1 } from '../crypto/sealer.js';
import { PASSWORD_SLOT, type Secret } from './secret.js';

/** The state of a key that was destroyed. */
const DESTROYED = 4;
/** The bytes of a root's name in records: lineage (16) and generation (4), then the root's key id (32). */
const LINEAGE_AND_GENERATION = 20;
export const ROOT_NAME = LINEAGE_AND_GENERATION + 32;

/** Returns the additional data of a wrapped key. Use and class are 0 for a root. */
export function binding(core: Core, handle: number, use: number, cls: number, id: Bytes): Bytes {
  core.begin().bytes(id);
  return core.output(core.call.binding(handle, use, cls));
}

/** The fields of a slot that unlocking needs. */
interface Slot {
  kind: number;
  root: Bytes;
  slotId: Bytes;
  salt: Bytes;
  cost: number;
  wrapped: Bytes;
}

function readSlot(bytes: Bytes): Slot {
  const r = new Reader(bytes, 16);
  const kind = r.uint(1);
  r.int64();
  const [root, slotId, salt, cost] = [r.take(ROOT_NAME), r.take(32), r.take(SALT), r.uint(4)];
  r.take(r.uint(2)); // URL
  r.take(r.uint(2)); // parameters
  return { kind, root, slotId, salt, cost, wrapped: r.take(r.uint(2)) };
}

/** An unwrapped root: the key that unwraps data keys, and the key that authenticates records. */
interface Root {
  name: Bytes;
  wrapping: CryptoKey;
  records: CryptoKey;
}

/** A record of a document: a slot, a key with its state, or a primary. */
interface DocumentRecord {
  mac: Bytes;
  /** The name of the root whose key made the MAC. */
  root: Bytes;
  message: Bytes;
}

/** Reads the authenticated records of a document. */
export function readRecords(core: Core, handle: number): DocumentRecord[] {
  return readAll(core, handle, 'record').map((bytes) => {
    const r = new Reader(bytes);
    const mac = r.take(r.uint(1));
    return { mac, root: r.take(ROOT_NAME), message: bytes.slice(1 + mac.length + ROOT_NAME) };
  });
}

/** Verifies the MAC of every record whose root is unwrapped. Rejects with `authentication_failed`. */
async function verifyRecords(core: Core, handle: number, roots: Map<string, Root>): Promise<void> {
  const checks = readRecords(core, handle).map(async ({ mac, root, message }) => {
    const opened = roots.get(latin1(root));
    if (opened && !equal((await recordMac(opened.records, message)).slice(0, mac.length), mac)) {
      throw errorOf('authentication_failed', 'the keyset was altered');
    }
  });
  await Promise.all(checks);
}

/** An unlocked keyset document: its owner and its data keys, which cannot be exported and cannot wrap other keys. */
export interface Unlocked extends Keys {
  owner: string;
  document: Bytes;
}

/** Unlocks a document. Rejects with `wrong_secret` if the secret opens no slot, and with `authentication_failed` if the document was altered. */
export async function unlockDocument(
  core: Core,
  document: Bytes,
  secret: Secret,
): Promise<Unlocked> {
  const read = (c: Core) => c.check(c.call.openDocument(c.begin().bytes(document).length));
  const handle = read(core);
  try {
    const owner = textOf(core.output(core.call.owner(handle)));
    const roots = await unlockRoots(core, handle, secret);
    await verifyRecords(core, handle, roots);
    const names = concat(...[...roots.values()].map(({ name }) => name));
    // The session ignores records under other roots, because no key here authenticates them.
    const open = (c: Core) => {
      const session = read(c);
      c.check(c.call.openRoots(session, c.begin().bytes(names).length));
      return session;
    };
    return { owner, document, secrets: await unlockKeys(core, handle, roots), open };
  } finally {
    core.call.closeSession(handle);
  }
}

/**
 * Unwraps the roots whose slots the secret opens, by root name. Slots may come from a server, so their PBKDF2 parameters are checked
 * before any derivation. A slot with parameters out of bounds is skipped; its error is reported if no other slot opens.
 */
async function unlockRoots(core: Core, handle: number, secret: Secret): Promise<Map<string, Root>> {
  const roots = new Map<string, Root>();
  let failure: unknown = errorOf('wrong_secret');
  if (secret.kind === PASSWORD_SLOT) core.check(core.call.checkDerivations(handle));
  for (const [i, slot] of readAll(core, handle, 'slot').map(readSlot).entries()) {
    if (slot.kind !== secret.kind) continue;
    try {
      core.check(core.call.checkSlot(handle, i));
    } catch (error) {
      failure = error;
      continue;
    }
    const slotSecret = await secret.key(slot.salt, slot.cost);
    if (!equal(await keyId(slotSecret), slot.slotId)) continue;
    const rootId = slot.root.subarray(LINEAGE_AND_GENERATION);
    const root = await unwrapChecked(
      await wrappingKey(slotSecret),
      slot.wrapped,
      binding(core, handle, 0, 0, slot.root),
      rootId,
    );
    roots.set(latin1(slot.root), {
      name: slot.root,
      wrapping: await wrappingKey(root),
      records: await recordKey(root),
    });
  }
  if (roots.size === 0) throw failure;
  return roots;
}

/** Unwraps every data key whose root was unwrapped, by key id. */
async function unlockKeys(
  core: Core,
  handle: number,
  roots: Map<string, Root>,
): Promise<Map<string, CryptoKey>> {
  const unlocking = readAll(core, handle, 'key').map(async (bytes) => {
    const r = new Reader(bytes);
    const [use, cls] = [r.uint(1), r.uint(1)];
    r.uint(1);
    const [id, name, wrapped] = [r.take(32), r.take(ROOT_NAME), r.take(r.uint(2))];
    const root = roots.get(latin1(name));
    if (!root || wrapped.length === 0) return undefined;
    return [
      latin1(id),
      await unwrapChecked(root.wrapping, wrapped, binding(core, handle, use, cls, id), id),
    ] as const;
  });
  return new Map((await Promise.all(unlocking)).filter((entry) => entry !== undefined));
}

/** Unwraps a key and checks that its id is the expected one. Rejects with `authentication_failed`. */
async function unwrapChecked(
  wrapping: CryptoKey,
  wrapped: Bytes,
  additionalData: Bytes,
  id: Bytes,
): Promise<CryptoKey> {
  const key = await unwrap(wrapping, wrapped, additionalData);
  if (!equal(await keyId(key), id))
    throw errorOf('authentication_failed', 'a wrapped key is not the one it names');
  return key;
}

/** Lists the ids of a document's keys, except destroyed ones. */
export function listKeyIds(core: Core, document: Uint8Array): string[] {
  const keys = withDocument(core, document, (handle) => readAll(core, handle, 'key'));
  return keys.filter((key) => key[2] !== DESTROYED).map((key) => latin1(key.subarray(3, 35)));
}

/** Reads the owner or the environment that a document names. */
export function readLabel(
  core: Core,
  document: Uint8Array,
  which: 'owner' | 'environment',
): string {
  return textOf(withDocument(core, document, (handle) => core.output(core.call[which](handle))));
}

/** Opens a document in the core, calls `read` with its handle, and closes it. */
function withDocument<T>(core: Core, document: Uint8Array, read: (handle: number) => T): T {
  const handle = core.check(core.call.openDocument(core.begin().bytes(document).length));
  try {
    return read(handle);
  } finally {
    core.call.closeSession(handle);
  }
}

/** Reads all slots, keys or authenticated records of a document. */
function readAll(core: Core, handle: number, what: 'slot' | 'key' | 'record'): Bytes[] {
  const next = () => core.output(core.call[what](handle, all.length));
  const all: Bytes[] = [];
  for (let item = next(); item.length > 0; item = next()) all.push(item);
  return all;
}
