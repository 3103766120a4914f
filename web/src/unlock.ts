/** Key sources, and the vault: creating one, and unlocking a keyset document (shared/envelope/SPEC.md). */
import { type Core, Reader, isBytes, isWellFormed, textOf } from './core.js';
import { errorOf } from './errors.js';
import { type Keys, latin1 } from './sealer.js';
import {
  SALT, concat, equal, keyId, masterSecret, newSecret, passphraseSecret, random, recordKey, recordMac, unwrap, wrappingKey,
} from './primitives.js';

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * What opens the storage. It is read at first use; do not change it afterwards.
 * - `password`: what the user types; stretched by PBKDF2-HMAC-SHA256 with at least 600,000 iterations.
 * - `masterKey`: the base64 of 32 random bytes, or those bytes. Any other text is taken for a password.
 * - `keyset` and `secret`: a wrapped keyset document that the host supplies (its bytes, or their base64), and the password or
 *   master key that opens it. This is how a browser and a server share data.
 */
export type Unlock =
  | { readonly password: string }
  | { readonly masterKey: string | Uint8Array }
  | { readonly keyset: string | Uint8Array | ArrayBuffer; readonly secret: string | Uint8Array };

const PASSWORD_SLOT = 1;
const MASTER_SLOT = 2;
const DESTROYED = 4;
/** The sizes of a root's name in records: line and generation, then the id. */
const LINE_AND_GENERATION = 20;
const ROOT = LINE_AND_GENERATION + 32;
const MAC = 32;
const STORAGE = 1;
const CLASSES = [1, 2, 3, 4, 5];

/** What the user or host knows, ready to yield slot keys. It lives only while a vault is created or unlocked. */
export class Secret {
  readonly kind: typeof PASSWORD_SLOT | typeof MASTER_SLOT;
  readonly #value: string | Bytes;
  #last: { id: string; key: Promise<CryptoKey> } | undefined;

  constructor(value: string | Bytes) {
    this.#value = value;
    this.kind = typeof value === 'string' ? PASSWORD_SLOT : MASTER_SLOT;
  }

  /** The key of the secret: PBKDF2 of a password, HKDF of a master key, which needs no salt. The last one is remembered. */
  key(salt: Bytes, iterations: number): Promise<CryptoKey> {
    const id = `${iterations}:${latin1(salt)}`;
    if (this.#last?.id === id) return this.#last.key;
    const value = this.#value;
    const key = typeof value === 'string' ? passphraseSecret(value, salt, iterations) : masterSecret(value.slice());
    this.#last = { id, key };
    return key;
  }
}

/** Reads a secret: 32 bytes or their canonical base64 are a master key, other text is a password. Throws `invalid_argument`. */
function readSecret(secret: string | Uint8Array): Secret {
  if (typeof secret !== 'string') {
    if (!isBytes(secret) || secret.length !== 32) throw errorOf('invalid_argument', 'a master key has 32 bytes');
    return new Secret(new Uint8Array(secret));
  }
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(secret) ? new Secret(fromBase64(secret)) : readPassword(secret);
}

function readPassword(text: unknown): Secret {
  // HMAC pads its keys with zeros: a password and the same followed by U+0000 would yield one key.
  if (typeof text !== 'string' || text === '' || text.includes('\0') || !isWellFormed(text)) {
    throw errorOf('invalid_argument', 'the secret is empty, is not well-formed text or contains U+0000');
  }
  return new Secret(text);
}

/** The secret of an Unlock. Throws `invalid_argument` or `not_configured`. */
export function secretOf(unlock: Unlock): Secret {
  if (typeof unlock !== 'object' || unlock === null) throw errorOf('invalid_argument', 'unlock has a password, a masterKey, or a keyset and secret');
  if ('password' in unlock) return readPassword(unlock.password);
  if ('masterKey' in unlock) return readSecret(unlock.masterKey);
  if ('keyset' in unlock) return readSecret(unlock.secret);
  throw errorOf('not_configured');
}

/** The bytes of a host's keyset document; nothing where the Unlock has none. */
export function keysetOf(unlock: Unlock): Bytes | undefined {
  if (!('keyset' in unlock)) return undefined;
  const { keyset } = unlock;
  return typeof keyset === 'string' ? fromBase64(keyset) : new Uint8Array(keyset).slice();
}

/** Decodes base64. Throws `malformed`. */
export function fromBase64(text: string): Bytes {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    throw errorOf('malformed', 'not base64');
  }
}

/** Creates a vault: a random owner, a root wrapped by the secret's slot, a data key for each class. Returns its document. */
export async function createVault(core: Core, secret: Secret, environment: string, iterations: number | undefined): Promise<Bytes> {
  const owner = crypto.randomUUID();
  const password = secret.kind === PASSWORD_SLOT;
  const cost = password ? core.check(core.call.iterations(iterations ?? 0)) : 0;
  const salt = password ? random(SALT) : new Uint8Array(SALT);
  const slotSecret = await secret.key(salt, cost);
  const root = await newSecret();
  const [slotId, rootId, slotKey, rootKey] = await Promise.all([keyId(slotSecret), keyId(root.key), wrappingKey(slotSecret), wrappingKey(root.key)]);
  const keys = await Promise.all(CLASSES.map(() => newKey()));
  const environmentLength = core.begin().text(environment).length - 2;
  const ownerBytes = new TextEncoder().encode(owner);
  const names = core.begin().bytes(new TextEncoder().encode(environment)).bytes(ownerBytes).length;
  const handle = core.check(core.call.newDocument(environmentLength, names - environmentLength));
  try {
    const bind = (use: number, cls: number, id: Bytes) => (core.begin().bytes(id), core.output(core.call.binding(handle, use, cls)));
    // A new line, and its first generation.
    const name = concat(random(16), new Uint8Array([0, 0, 0, 1]), rootId);
    const wrappedRoot = await root.wrap(slotKey, bind(0, 0, name));
    const slot = encodeSlot(secret.kind, name, slotId, salt, cost, wrappedRoot);
    core.check(core.call.addSlot(handle, core.begin().bytes(slot).length));
    for (const [i, cls] of CLASSES.entries()) {
      const { id, secret: dek } = keys[i] as NewKey;
      const wrapped = await dek.wrap(rootKey, bind(STORAGE, cls, id));
      core.check(core.call.addKey(handle, STORAGE, cls, core.begin().bytes(id).bytes(name).bytes(wrapped).length, Date.now()));
    }
    const key = await recordKey(root.key);
    for (const [i, { message }] of records(core, handle).entries()) {
      const mac = await recordMac(key, message);
      core.begin().bytes(mac);
      core.check(core.call.sign(handle, i));
    }
    return core.output(core.call.encodeDocument(handle));
  } finally {
    core.call.closeSession(handle);
  }
}

type NewKey = Awaited<ReturnType<typeof newKey>>;

async function newKey() {
  const secret = await newSecret();
  return { secret, id: await keyId(secret.key) };
}

/** A slot's encoding (shared/envelope/SPEC.md section 2), whose MAC is made later. */
function encodeSlot(kind: number, root: Bytes, slotId: Bytes, salt: Bytes, cost: number, wrapped: Bytes): Bytes {
  const numbers = new DataView(new ArrayBuffer(19));
  numbers.setUint8(0, kind);
  numbers.setBigUint64(1, BigInt(Date.now()));
  numbers.setUint32(9, cost);
  numbers.setUint16(17, wrapped.length); // after a URL and parameters of no bytes
  const part = (from: number, to: number) => new Uint8Array(numbers.buffer, from, to - from);
  return concat(random(16), part(0, 9), root, slotId, salt, part(9, 19), wrapped, new Uint8Array(MAC));
}

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
  const [root, slotId, salt, cost] = [r.take(ROOT), r.take(32), r.take(SALT), r.uint(4)];
  r.take(r.uint(2)); // URL
  r.take(r.uint(2)); // parameters
  return { kind, root, slotId, salt, cost, wrapped: r.take(r.uint(2)) };
}

/** A root that is open: the key that wraps data keys, and the key that authenticates records. */
interface Root {
  name: Bytes;
  wrapping: CryptoKey;
  records: CryptoKey;
}

interface DocumentRecord {
  mac: Bytes;
  root: Bytes;
  message: Bytes;
}

/** The authenticated records of a document. */
function records(core: Core, handle: number): DocumentRecord[] {
  return list((i) => core.output(core.call.record(handle, i))).map((bytes) => {
    const r = new Reader(bytes);
    const mac = r.take(r.uint(1));
    return { mac, root: r.take(ROOT), message: bytes.slice(1 + mac.length + ROOT) };
  });
}

/** Checks every record whose root is open: slots, keys with their states, primaries. Rejects with `authentication_failed`. */
async function verify(core: Core, handle: number, roots: Map<string, Root>): Promise<void> {
  const checks = records(core, handle).map(async ({ mac, root, message }) => {
    const opened = roots.get(latin1(root));
    if (opened && !equal((await recordMac(opened.records, message)).slice(0, mac.length), mac)) {
      throw errorOf('authentication_failed', 'the keyset was altered');
    }
  });
  await Promise.all(checks);
}

/** An unlocked document: its owner, and its data keys, none of which can be exported or can wrap anything. */
export interface Unlocked extends Keys {
  owner: string;
  document: Bytes;
}

/** Unlocks a document. Rejects with `wrong_secret` where no slot fits, `authentication_failed` where a wrapped key was altered. */
export async function unlockDocument(core: Core, document: Bytes, secret: Secret): Promise<Unlocked> {
  const read = (c: Core) => c.check(c.call.openDocument(c.begin().bytes(document).length));
  const handle = read(core);
  try {
    const owner = textOf(core.output(core.call.owner(handle)));
    const roots = await unlockRoots(core, handle, secret);
    await verify(core, handle, roots);
    const names = concat(...[...roots.values()].map(({ name }) => name));
    // Records under other roots do not count: nothing authenticates them.
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
 * The roots that the secret opens, by name. A slot whose derivation is out of bounds is left out; if no other one opens, that is the
 * error. Slots may come from a server, so their parameters are held to the bounds before any work is done.
 */
async function unlockRoots(core: Core, handle: number, secret: Secret): Promise<Map<string, Root>> {
  const roots = new Map<string, Root>();
  let failure: unknown = errorOf('wrong_secret');
  if (secret.kind === PASSWORD_SLOT) core.check(core.call.checkDerivations(handle));
  for (const [i, slot] of list((n) => core.output(core.call.slot(handle, n))).map(readSlot).entries()) {
    if (slot.kind !== secret.kind) continue;
    try {
      core.check(core.call.checkSlot(handle, i));
    } catch (error) {
      failure = error;
      continue;
    }
    const slotSecret = await secret.key(slot.salt, slot.cost);
    if (latin1(await keyId(slotSecret)) !== latin1(slot.slotId)) continue;
    core.begin().bytes(slot.root);
    const binding = core.output(core.call.binding(handle, 0, 0));
    const root = await unwrapChecked(await wrappingKey(slotSecret), slot.wrapped, binding, slot.root.slice(LINE_AND_GENERATION));
    roots.set(latin1(slot.root), { name: slot.root, wrapping: await wrappingKey(root), records: await recordKey(root) });
  }
  if (roots.size === 0) throw failure;
  return roots;
}

/** Every data key whose root was opened, by key id. */
async function unlockKeys(core: Core, handle: number, roots: Map<string, Root>): Promise<Map<string, CryptoKey>> {
  const unlocking = list((i) => core.output(core.call.key(handle, i))).map(async (bytes) => {
    const r = new Reader(bytes);
    const [use, cls] = [r.uint(1), r.uint(1)];
    r.uint(1);
    const [id, name, wrapped] = [r.take(32), r.take(ROOT), r.take(r.uint(2))];
    const root = roots.get(latin1(name));
    if (!root || wrapped.length === 0) return undefined;
    core.begin().bytes(id);
    const binding = core.output(core.call.binding(handle, use, cls));
    return [latin1(id), await unwrapChecked(root.wrapping, wrapped, binding, id)] as const;
  });
  return new Map((await Promise.all(unlocking)).filter((entry) => entry !== undefined));
}

/** Unwraps a key and holds it to its commitment. */
async function unwrapChecked(wrapping: CryptoKey, wrapped: Bytes, binding: Bytes, id: Bytes): Promise<CryptoKey> {
  const key = await unwrap(wrapping, wrapped, binding);
  if (latin1(await keyId(key)) !== latin1(id)) throw errorOf('authentication_failed', 'a wrapped key is not the one it names');
  return key;
}

/** The ids of the keys that a document holds and has not destroyed. */
export function keyIds(core: Core, document: Uint8Array): string[] {
  const keys = consult(core, document, (handle) => list((i) => core.output(core.call.key(handle, i))));
  return keys.filter((key) => key[2] !== DESTROYED).map((key) => latin1(key.subarray(3, 35)));
}

/** A document's label. */
export function label(core: Core, document: Uint8Array, which: 'owner' | 'environment'): string {
  return textOf(consult(core, document, (handle) => core.output(core.call[which](handle))));
}

/** Has the core read a document, for as long as the question takes. */
function consult<T>(core: Core, document: Uint8Array, question: (handle: number) => T): T {
  const handle = core.check(core.call.openDocument(core.begin().bytes(document).length));
  try {
    return question(handle);
  } finally {
    core.call.closeSession(handle);
  }
}

function list(next: (i: number) => Bytes): Bytes[] {
  const all: Bytes[] = [];
  for (let item = next(0); item.length > 0; item = next(all.length)) all.push(item);
  return all;
}

