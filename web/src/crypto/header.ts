/** Reading and writing the fields of a header (SPEC.md section 3). The core decides whether they are valid. */
import { concat, uint, unshared } from '../core/bytes.js';
import { type DataClassification, classes, classNumber } from '../core/classification.js';
import { type Core, Reader } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import * as at from './offsets.js';
import { SALT } from './primitives.js';

export const algorithms = ['', 'AES-256-GCM', 'AES-256-GMAC', 'Cobblestone-256'] as const;
export const uses = ['', 'storage', 'cache', 'service', 'field', 'file'] as const;
export const sources = ['', 'keyset', 'passphrase', 'master-key'] as const;
export const types = ['', 'text', 'bytes', 'buffer', 'json', 'blob', 'file', 'view'] as const;

/** The flags by their bits, from the lowest. */
export const flags = ['tombstone', 'sealedContext', 'padded', 'sealedName'] as const;

/** The use of a key. Keys of one use never open packages of another. */
export type Use = Exclude<(typeof uses)[number], ''>;

export const PUBLIC = 2;
export const CHUNKED = 3;
export const KEYSET = 1;
export const PASSPHRASE = 2;
export const MASTER_KEY = 3;
export const TOMBSTONE = 1;
export const SEALED_CONTEXT = 2;
export const PADDED = 4;
export const SEALED_NAME = 8;

/** The length of a header without its context, in bytes. */
const FIXED = 78;

/** The header of a package, readable without a key. All fields are authenticated, but only opening the package proves them. */
export interface Metadata {
  /** The version of the format. */
  version: '1.0';
  /** How the value is sealed: encrypted (GCM), only authenticated (GMAC), or in chunks. */
  algorithm: (typeof algorithms)[number];
  /** How sensitive the value is. */
  classification: DataClassification;
  /** The use of the key. */
  use: Use;
  /** The kind of secret that the key comes from. */
  keySource: (typeof sources)[number];
  /** The id of the key: 64 lower-case hexadecimal digits. */
  keyId: string;
  /** The type of the value. */
  valueType: (typeof types)[number];
  /** The time of sealing, in milliseconds precision. */
  encryptedAt: Date;
  /** The revision for synchronization; 0 if unused. */
  revision: number;
  /** Strings that are authenticated with the value. */
  context: Record<string, string>;
  /** The PBKDF2 iterations. Only packages sealed with a passphrase have them. */
  iterations?: number;
  /** Whether the package marks a deleted value. */
  tombstone: boolean;
  /** Whether a further context is sealed with the value. */
  sealedContext: boolean;
  /** Whether padding hides the value's size. */
  padded: boolean;
  /** Whether the record's name is sealed, so that the store holds only a blinded name. */
  sealedName: boolean;
}

/** Returns the length of the header at the beginning of bytes. `total` is the length of the package. Throws `malformed` or `unsupported_version`. */
export function headerLength(core: Core, bytes: Uint8Array, total: number): number {
  return core.check(
    core.call.checkHeader(core.begin().bytes(bytes.subarray(0, headerEnd(bytes))).length, total),
  );
}

/** Reads the end of a header from its length field, without checking it. */
export function headerEnd(bytes: Uint8Array): number {
  return FIXED + 2 + (((bytes[FIXED] ?? 0) << 8) | (bytes[FIXED + 1] ?? 0));
}

/** Reads the fields of a header that the core accepted. */
export function readHeader(header: Uint8Array<ArrayBuffer>): Metadata {
  const r = new Reader(header, at.algorithm);
  const [algorithm, use, bits, keySource, cls, valueType] = [
    r.uint(1),
    r.uint(1),
    r.uint(1),
    r.uint(1),
    r.uint(1),
    r.uint(1),
  ];
  const keyId = toHex(r.take(32));
  r.take(SALT);
  const [encryptedAt, revision, iterations] = [new Date(r.int64()), r.int64(), r.uint(4)];
  r.uint(2); // the length of the context
  return {
    version: '1.0',
    algorithm: algorithms[algorithm] ?? '',
    classification: classes[cls - 1] ?? 'phi',
    use: uses[use] as Use,
    keySource: sources[keySource] ?? '',
    keyId,
    valueType: types[valueType] ?? '',
    encryptedAt,
    revision,
    context: r.map(),
    ...(keySource === PASSPHRASE ? { iterations } : {}),
    ...(Object.fromEntries(flags.map((flag, i) => [flag, (bits & (1 << i)) > 0])) as Record<
      (typeof flags)[number],
      boolean
    >),
  };
}

/** Writes a header. The core sorts the context and checks every field. */
export function writeHeader(core: Core, m: Metadata, salt: Uint8Array): Uint8Array<ArrayBuffer> {
  const bits = flags.reduce((set, flag, i) => set | (m[flag] ? 1 << i : 0), 0);
  const names = [
    algorithms.indexOf(m.algorithm),
    uses.indexOf(m.use),
    bits,
    sources.indexOf(m.keySource),
    classNumber(m.classification),
    types.indexOf(m.valueType),
  ];
  const fixed = concat(
    new Uint8Array([0x43, 0x46, 0x52, 1, ...names]),
    fromHex(m.keyId),
    salt,
    uint(m.encryptedAt.getTime(), 8),
    uint(m.revision, 8),
    uint(m.iterations ?? 0, 4),
  );
  return core.output(core.call.encodeHeader(core.begin().bytes(fixed).map(m.context).length));
}

/** Encodes bytes in lower-case hexadecimal. */
export function toHex(b: Uint8Array): string {
  return Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('');
}

function fromHex(s: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(s)) throw errorOf('malformed');
  return Uint8Array.from(s.match(/../g) ?? [], (x) => parseInt(x, 16));
}

/** A package in the two parts that IndexedDB stores: the head (header, nonce, and the tag of a public value) and the body, which may be large. */
export interface Parts {
  head: Uint8Array<ArrayBuffer>;
  body: ArrayBuffer | Uint8Array<ArrayBuffer>;
}

/** Joins a package into its binary form (SPEC.md section 3). */
export function joinParts({ head, body }: Parts): Uint8Array<ArrayBuffer> {
  return concat(head, body instanceof Uint8Array ? body : new Uint8Array(body));
}

/** Splits a binary package. The body shares memory with it. */
export function splitParts(core: Core, sealed: Uint8Array): Parts {
  const bytes = unshared(sealed);
  const n = headerLength(core, bytes, bytes.length) + headExtra(bytes[at.algorithm] ?? 0);
  return { head: new Uint8Array(bytes.subarray(0, n)), body: bytes.subarray(n) };
}

/** Returns how many bytes after the header belong to the head: the nonce, and a public value's tag. A chunked package has 0. */
export function headExtra(algorithm: number): number {
  return algorithm === CHUNKED ? 0 : algorithm === PUBLIC ? 28 : 12;
}
