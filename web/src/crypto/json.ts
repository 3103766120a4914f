import { concat, none } from '../core/bytes.js';
import { fromBase64, toBase64 } from '../core/base64.js';
import type { Core } from '../core/core.js';
import { errorOf } from '../core/errors.js';
import {
  CHUNKED,
  type Metadata,
  type Parts,
  algorithms,
  flags,
  headerLength,
  joinParts,
  readHeader,
  splitParts,
  writeHeader,
} from './header.js';
import * as at from './offsets.js';
import { NONCE, SALT } from './primitives.js';

/** A package in its JSON form (SPEC.md section 7). It converts to the binary form and back without loss. */
export interface EncryptedPackage {
  /** The base64 of the body without the nonce. */
  ciphertext: string;
  /** The fields of the header, as in {@link Metadata}, and the nonce and salt. */
  metadata: {
    version: '1.0';
    algorithm: string;
    /** The id of the key: 64 lower-case hexadecimal digits. */
    keyId: string;
    /** The base64 of the 12-byte nonce. A chunked package does not have this member. */
    iv?: string;
    /** The base64 of 16 bytes. */
    salt: string;
    classification: string;
    /** The time of sealing (RFC 3339, UTC, milliseconds). */
    encryptedAt: string;
    context: Record<string, string>;
    use: string;
    valueType: string;
    keySource: string;
    revision: number;
    iterations?: number;
    tombstone?: true;
    sealedContext?: true;
    padded?: true;
    sealedName?: true;
  };
}

/** Decodes canonical base64: padded, without white space, with zero trailing bits. Throws `malformed`. */
function bytesOf(text: unknown): Uint8Array<ArrayBuffer> {
  if (typeof text !== 'string' || text.length % 4 !== 0 || /[^A-Za-z0-9+/]/.test(text.slice(0, -2)))
    throw errorOf('malformed');
  const last = text.slice(-4);
  if (
    last &&
    !/^(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)$/.test(last)
  )
    throw errorOf('malformed');
  return fromBase64(text);
}

/** Converts a package to JSON. Throws `malformed` or `unsupported_version`. */
export function packageToJson(core: Core, parts: Parts): EncryptedPackage {
  const bytes = joinParts(parts);
  const n = headerLength(core, bytes, bytes.length);
  const { encryptedAt, ...fields } = readHeader(bytes.subarray(0, n));
  const body = fields.algorithm === algorithms[CHUNKED] ? n : n + NONCE;
  const metadata: Record<string, unknown> = {
    ...fields,
    ...(body > n ? { iv: toBase64(bytes.subarray(n, body)) } : {}),
    salt: toBase64(bytes.subarray(at.salt, at.salt + SALT)),
    encryptedAt: encryptedAt.toISOString(),
  };
  for (const flag of flags) if (!fields[flag]) delete metadata[flag];
  return {
    ciphertext: toBase64(bytes.subarray(body)),
    metadata: metadata as EncryptedPackage['metadata'],
  };
}

const required = [
  'version',
  'algorithm',
  'keyId',
  'salt',
  'classification',
  'encryptedAt',
  'context',
  'use',
  'valueType',
  'keySource',
  'revision',
];
const optional = ['iv', 'iterations', ...flags];

/** Reads a package from JSON. Throws `malformed` for missing or additional members, `unsupported_version` for another version. */
export function packageFromJson(core: Core, json: unknown): Parts {
  const whole = members(json, ['ciphertext', 'metadata'], []);
  const m = members(whole.metadata, ['version']);
  if (typeof m.version === 'string' && m.version !== '1.0') throw errorOf('unsupported_version');
  members(m, required, optional);
  const chunked = m.algorithm === algorithms[CHUNKED];
  if (chunked === 'iv' in m || m.version !== '1.0') throw errorOf('malformed');
  const header = headerOf(core, metadataOf(m), sized(bytesOf(m.salt), SALT));
  const nonce = chunked ? none : sized(bytesOf(m.iv), NONCE);
  return splitParts(core, concat(header, nonce, bytesOf(whole.ciphertext)));
}

/** Writes the header. A field that writing refuses is `malformed` here. */
function headerOf(core: Core, m: Metadata, salt: Uint8Array): Uint8Array<ArrayBuffer> {
  try {
    return writeHeader(core, m, salt);
  } catch (cause) {
    throw errorOf('malformed', undefined, cause);
  }
}

/** Converts the fields to their types. writeHeader refuses unknown names. */
function metadataOf(m: Record<string, unknown>): Metadata {
  if (!flags.every((flag) => m[flag] === true || m[flag] === undefined)) throw errorOf('malformed');
  return {
    ...(m as unknown as Metadata),
    encryptedAt: dateOf(m.encryptedAt),
    revision: integer(m.revision, Number.MAX_SAFE_INTEGER),
    context: members(m.context, []) as Record<string, string>,
    ...('iterations' in m ? { iterations: integer(m.iterations, 0xffffffff, 1) } : {}),
  };
}

/** Returns an object that has all members of `must` and no others except those of `may`. Without `may`, other members are allowed. */
function members(value: unknown, must: string[], may?: string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw errorOf('malformed');
  const names = Object.keys(value);
  if (!must.every((name) => Object.hasOwn(value, name))) throw errorOf('malformed');
  if (may && !names.every((name) => must.includes(name) || may.includes(name)))
    throw errorOf('malformed');
  return value as Record<string, unknown>;
}

function sized<T extends Uint8Array>(b: T, n: number): T {
  if (b.length !== n) throw errorOf('malformed');
  return b;
}

function integer(value: unknown, max: number, min = 0): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max)
    throw errorOf('malformed');
  return value as number;
}

function dateOf(value: unknown): Date {
  // Years have four digits.
  const date = new Date(typeof value === 'string' && value.length === 24 ? value : NaN);
  // Date accepts other forms and February 30, so compare its output with the text.
  if (!(date.getTime() >= 0) || date.toISOString() !== value) throw errorOf('malformed');
  return date;
}
