import { classes } from './classification.js';
import type { Core } from './core.js';
import { errorOf } from './errors.js';
import { CHUNKED, type Metadata, type Parts, algorithms, at, headExtra, headerLength, readHeader, sources, types, uses, writeHeader } from './header.js';
import { concat } from './primitives.js';

/** A package as JSON, for interchange (SPEC.md section 7). It converts to the binary form and back without loss. */
export interface EncryptedPackage {
  /** Base64 of the body without the nonce. */
  ciphertext: string;
  metadata: {
    version: '1.0';
    algorithm: string;
    /** 64 lower-case hexadecimal digits: the key's commitment. */
    keyId: string;
    /** Base64 of the 12-byte nonce; a chunked package has none. */
    iv?: string;
    /** Base64 of 16 bytes. */
    salt: string;
    classification: string;
    /** RFC 3339, UTC, milliseconds. */
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

/** Base64 of bytes (RFC 4648 section 4). */
export function toBase64(b: Uint8Array): string {
  let s = '';
  for (let i = 0; i < b.length; i += 0x8000) s += String.fromCharCode(...b.subarray(i, i + 0x8000));
  return btoa(s);
}

/** Strict base64: padded, no white space, zero trailing bits. */
function bytesOf(text: unknown): Uint8Array<ArrayBuffer> {
  if (typeof text !== 'string' || text.length % 4 !== 0 || /[^A-Za-z0-9+/]/.test(text.slice(0, -2))) throw errorOf('malformed');
  const last = text.slice(-4);
  if (last && !/^(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)$/.test(last)) throw errorOf('malformed');
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** Converts a package to JSON. Throws `malformed` or `unsupported_version`. */
export function packageToJson(core: Core, { head, body }: Parts): EncryptedPackage {
  const n = headerLength(core, head, head.length + body.byteLength);
  const m = readHeader(head.subarray(0, n));
  const chunked = head[at.algorithm] === CHUNKED;
  const bytes = body instanceof Uint8Array ? body : new Uint8Array(body);
  const tag = head.subarray(n + (chunked ? 0 : 12));
  return {
    ciphertext: toBase64(tag.length > 0 ? concat(tag, bytes) : bytes),
    metadata: {
      version: '1.0',
      algorithm: m.algorithm,
      keyId: m.keyId,
      ...(chunked ? {} : { iv: toBase64(head.subarray(n, n + 12)) }),
      salt: toBase64(head.subarray(at.salt, at.salt + 16)),
      classification: m.classification,
      encryptedAt: m.encryptedAt.toISOString(),
      context: m.context,
      use: m.use,
      valueType: m.valueType,
      keySource: m.keySource,
      revision: m.revision,
      ...(m.iterations === undefined ? {} : { iterations: m.iterations }),
      ...(m.tombstone ? { tombstone: true } : {}),
      ...(m.sealedContext ? { sealedContext: true } : {}),
      ...(m.padded ? { padded: true } : {}),
      ...(m.sealedName ? { sealedName: true } : {}),
    },
  };
}

const required = ['version', 'algorithm', 'keyId', 'salt', 'classification', 'encryptedAt', 'context', 'use', 'valueType', 'keySource', 'revision'];
const flags = ['tombstone', 'sealedContext', 'padded', 'sealedName'];
const optional = ['iv', 'iterations', ...flags];

/** Reads a package from JSON. Throws `malformed` for anything but exactly the members of SPEC.md, `unsupported_version` for another version. */
export function packageFromJson(core: Core, json: unknown): Parts {
  const whole = members(json, ['ciphertext', 'metadata'], []);
  const m = members(whole.metadata, ['version']);
  if (typeof m.version === 'string' && m.version !== '1.0') throw errorOf('unsupported_version');
  members(m, required, optional);
  const chunked = m.algorithm === algorithms[CHUNKED];
  if (chunked === 'iv' in m || m.version !== '1.0') throw errorOf('malformed');
  const header = headerOf(core, metadataOf(m), sized(bytesOf(m.salt), 16));
  const iv = chunked ? new Uint8Array(0) : sized(bytesOf(m.iv), 12);
  const rest = bytesOf(whole.ciphertext);
  const inHead = headExtra(header[at.algorithm] ?? 0) - iv.length;
  if (rest.length < inHead) throw errorOf('malformed');
  const parts = { head: concat(header, iv, rest.subarray(0, inHead)), body: rest.slice(inHead) };
  headerLength(core, parts.head, parts.head.length + parts.body.length);
  return parts;
}

/** What a caller may not write is malformed where it is read. */
function headerOf(core: Core, m: Metadata, salt: Uint8Array): Uint8Array<ArrayBuffer> {
  try {
    return writeHeader(core, m, salt);
  } catch (cause) {
    throw errorOf('malformed', undefined, cause);
  }
}

function metadataOf(m: Record<string, unknown>): Metadata {
  const context = members(m.context, []);
  if (!Object.values(context).every((v) => typeof v === 'string')) throw errorOf('malformed');
  if (!flags.every((name) => m[name] === true || m[name] === undefined)) throw errorOf('malformed');
  return {
    version: '1.0',
    algorithm: oneOf(algorithms, m.algorithm),
    classification: oneOf(classes, m.classification),
    use: oneOf(uses, m.use) as Metadata['use'],
    keySource: oneOf(sources, m.keySource),
    keyId: typeof m.keyId === 'string' ? m.keyId : '',
    valueType: oneOf(types, m.valueType),
    encryptedAt: dateOf(m.encryptedAt),
    revision: integer(m.revision, Number.MAX_SAFE_INTEGER),
    context: context as Record<string, string>,
    ...('iterations' in m ? { iterations: integer(m.iterations, 0xffffffff, 1) } : {}),
    tombstone: m.tombstone === true,
    sealedContext: m.sealedContext === true,
    padded: m.padded === true,
    sealedName: m.sealedName === true,
  };
}

/** An object with all members of `must`, and no others but those of `may`; every name goes where `may` is left out. */
function members(value: unknown, must: string[], may?: string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw errorOf('malformed');
  const names = Object.keys(value);
  if (!must.every((name) => Object.hasOwn(value, name))) throw errorOf('malformed');
  if (may && !names.every((name) => must.includes(name) || may.includes(name))) throw errorOf('malformed');
  return value as Record<string, unknown>;
}

function oneOf<T extends string>(names: readonly T[], value: unknown): T {
  if (value === '' || !names.includes(value as T)) throw errorOf('malformed');
  return value as T;
}

function sized<T extends Uint8Array>(b: T, n: number): T {
  if (b.length !== n) throw errorOf('malformed');
  return b;
}

function integer(value: unknown, max: number, min = 0): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) throw errorOf('malformed');
  return value as number;
}

function dateOf(value: unknown): Date {
  const date = new Date(typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value) ? value : NaN);
  // Date accepts the 30th of February: what it writes again must be what was read.
  if (Number.isNaN(date.getTime()) || date.getTime() < 0 || date.toISOString() !== value) throw errorOf('malformed');
  return date;
}
