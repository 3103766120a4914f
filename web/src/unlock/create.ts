/** Creating a keyset document (shared/envelope/SPEC.md). */
import { type Bytes, concat, encode, uint } from '../core/bytes.js';
import type { Core } from '../core/core.js';
import {
  SALT,
  keyId,
  newSecret,
  random,
  recordKey,
  recordMac,
  wrappingKey,
} from '../crypto/primitives.js';
import { binding, readRecords } from './document.js';
import { PASSWORD_SLOT, type Secret } from './secret.js';

/** The size of a record's MAC in bytes. */
const MAC = 32;
/** The number of use `storage`. */
const STORAGE = 1;
/** The numbers of the classes, from public to phi. */
const CLASSES = [1, 2, 3, 4, 5];

/**
 * Creates a keyset document: a random owner, one root wrapped under the secret, and a storage key for each class.
 * `iterations` are those of PBKDF2 for a password; undefined selects the default of 600,000. Returns the document's bytes.
 */
export async function createDocument(
  core: Core,
  secret: Secret,
  environment: string,
  iterations: number | undefined,
): Promise<Bytes> {
  const owner = crypto.randomUUID();
  const password = secret.kind === PASSWORD_SLOT;
  const cost = password ? core.check(core.call.writeIterations(iterations ?? 0)) : 0;
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
    // A new lineage in its first generation.
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
    for (const [i, { message }] of readRecords(core, handle).entries()) {
      const mac = await recordMac(key, message);
      core.begin().bytes(mac);
      core.check(core.call.sign(handle, i));
    }
    return core.output(core.call.encodeDocument(handle));
  } finally {
    core.call.closeSession(handle);
  }
}

/** Encodes a slot (shared/envelope/SPEC.md section 2) with zeros in place of its MAC. */
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
