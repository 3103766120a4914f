/** Key sources, and the vault: creating one, and unlocking a keyset document (shared/envelope/SPEC.md). */
import { concat, encode, equal, uint } from '../core/bytes.js';
import { fromBase64 } from '../core/base64.js';
import { type Core, Reader, checkText, isBytes, textOf } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import { type Keys, latin1 } from '../crypto/sealer.js';
import {
  SALT,
  keyId,
  masterSecret,
  newSecret,
  passphraseSecret,
  random,
  recordKey,
  recordMac,
  unwrap,
  wrappingKey,
} from '../crypto/primitives.js';

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
    const key =
      typeof value === 'string'
        ? passphraseSecret(value, salt, iterations)
        : masterSecret(value.slice());
    this.#last = { id, key };
    return key;
  }
}

/** Reads a secret: 32 bytes or their canonical base64 are a master key, other text is a password. Throws `invalid_argument`. */
function readSecret(secret: string | Uint8Array): Secret {
  if (typeof secret !== 'string') {
    if (!isBytes(secret) || secret.length !== 32)
      throw errorOf('invalid_argument', 'a master key has 32 bytes');
    return new Secret(new Uint8Array(secret));
  }
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(secret)
    ? new Secret(fromBase64(secret))
    : readPassword(secret);
}

function readPassword(text: unknown): Secret {
  // HMAC pads its keys with zeros: a password and the same followed by U+0000 would yield one key.
  if (typeof text !== 'string' || text === '' || text.includes('\0'))
    throw errorOf('invalid_argument', 'the secret is empty, not a text or contains U+0000');
  checkText(text);
  return new Secret(text);
}

/** The secret of an Unlock. Throws `invalid_argument` or `not_configured`. */
export function secretOf(unlock: Unlock): Secret {
  if (typeof unlock !== 'object' || unlock === null)
    throw errorOf('invalid_argument', 'unlock has a password, masterKey, or keyset and secret');
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

/** Creates a vault: a random owner, a root wrapped by the secret's slot, a data key for each class. Returns its document. */
export async function createVault(
  core: Core,
  secret: Secret,
  environment: string,
  iterations: number | undefined,
): Promise<Bytes> {
  const owner = crypto.randomUUID();
  const password = secret.kind === PASSWORD_SLOT;
  const cost = password ? core.check(core.call.iterations(iterations ?? 0)) : 0;
  const salt = password ? random(SALT) : new Uint8Array(SALT);
  const slotSecret = await secret.key(salt, cost);
  const root = await newSecret();
  const [slotId, rootId, slotKey, rootKey] = await Promise.all([
    keyId(slotSecret),
    keyId(root.key),
    wrappingKey(slotSecret),
    wrappingKey(root.key),
  ]);
  const environmentBytes = core.input(core.begin().text(environment).length).subarray(2);
  core.begin().bytes(environmentBytes).bytes(encode(owner));
  const handle = core.check(core.call.newDocument(environmentBytes.length, owner.length));
  try {
    // A new line, and its first generation.
    const rootName = concat(random(16), uint(1, 4), rootId);
    const wrappedRoot = await root.wrap(slotKey, binding(core, handle, 0, 0, rootName));
    const slot = encodeSlot(secret.kind, rootName, slotId, salt, cost, wrappedRoot);
    core.check(core.call.addSlot(handle, core.begin().bytes(slot).length));
    for (const cls of CLASSES) {
      const dek = await newSecret();
      const id = await keyId(dek.key);
      const wrapped = await dek.wrap(rootKey, binding(core, handle, STORAGE, cls, id));
      core.check(
        core.call.addKey(
          handle,
          STORAGE,
          cls,
          core.begin().bytes(id).bytes(rootName).bytes(wrapped).length,
          Date.now(),
        ),
      );
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

/** The additional data of a wrapped key; use and class 0 are a root's. */
function binding(core: Core, handle: number, use: number, cls: number, id: Bytes): Bytes {
  core.begin().bytes(id);
  return core.output(core.call.binding(handle, use, cls));
}

/** A slot's encoding (shared/envelope/SPEC.md section 2), whose MAC is made later. */
function encodeSlot(
  kind: number,
  root: Bytes,
  slotId: Bytes,
  salt: Bytes,
  cost: number,
  wrapped: Bytes,
): Bytes {
  const [noURL, noParameters] = [uint(0, 2), uint(0, 2)];
  return concat(
    random(16),
    uint(kind, 1),
    uint(Date.now(), 8),
    root,
    slotId,
    salt,
    uint(cost, 4),
    noURL,
    noParameters,
    uint(wrapped.length, 2),
    wrapped,
    new Uint8Array(MAC),
  );
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
  return list(core, handle, 'record').map((bytes) => {
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
  for (const [i, slot] of list(core, handle, 'slot').map(readSlot).entries()) {
    if (slot.kind !== secret.kind) continue;
    try {
      core.check(core.call.checkSlot(handle, i));
    } catch (error) {
      failure = error;
      continue;
    }
    const slotSecret = await secret.key(slot.salt, slot.cost);
    if (!equal(await keyId(slotSecret), slot.slotId)) continue;
    const rootId = slot.root.subarray(LINE_AND_GENERATION);
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

/** Every data key whose root was opened, by key id. */
async function unlockKeys(
  core: Core,
  handle: number,
  roots: Map<string, Root>,
): Promise<Map<string, CryptoKey>> {
  const unlocking = list(core, handle, 'key').map(async (bytes) => {
    const r = new Reader(bytes);
    const [use, cls] = [r.uint(1), r.uint(1)];
    r.uint(1);
    const [id, name, wrapped] = [r.take(32), r.take(ROOT), r.take(r.uint(2))];
    const root = roots.get(latin1(name));
    if (!root || wrapped.length === 0) return undefined;
    return [
      latin1(id),
      await unwrapChecked(root.wrapping, wrapped, binding(core, handle, use, cls, id), id),
    ] as const;
  });
  return new Map((await Promise.all(unlocking)).filter((entry) => entry !== undefined));
}

/** Unwraps a key and holds it to its commitment. */
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

/** The ids of the keys that a document holds and has not destroyed. */
export function keyIds(core: Core, document: Uint8Array): string[] {
  const keys = consult(core, document, (handle) => list(core, handle, 'key'));
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

/** All slots, keys or authenticated records of a document. */
function list(core: Core, handle: number, what: 'slot' | 'key' | 'record'): Bytes[] {
  const next = () => core.output(core.call[what](handle, all.length));
  const all: Bytes[] = [];
  for (let item = next(); item.length > 0; item = next()) all.push(item);
  return all;
}
