/** Rebuilds vectors from fields, key and nonce with the package's own functions, to check that they write the same bytes. */
import { concat } from '../../web/src/core/bytes.js';
import { toBase64 } from '../../web/src/core/base64.js';
import type { EncryptedPackage } from '@coffer-storage/coffer';
import { classes } from '../../web/src/core/classification.js';
import { type Core, loadCore, setCoreSource } from '../../web/src/core/core.js';
import {
  type Metadata,
  algorithms,
  sources,
  types,
  uses,
  writeHeader,
} from '../../web/src/crypto/header.js';
import { gcmSeal, importSecret, messageKey } from '../../web/src/crypto/primitives.js';
import { fromHex, toHex } from './check.js';
import { type Data, type PackageVector, type VectorPlace, bytesOf } from './files.js';

type Bytes = Uint8Array<ArrayBuffer>;

setCoreSource('/coffer/coffer.wasm');
export const core: Promise<Core> = loadCore();

/** Whether bytes equal a Data, which has either the bytes or their digest. */
export async function matches(d: Data, bytes: Bytes): Promise<boolean> {
  if (!d.sha256) return toHex(bytes) === toHex(bytesOf(d));
  return (
    bytes.length === d.length &&
    toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))) === d.sha256
  );
}

/** Returns a vector's package. It is sealed again if the file has only the digest of its bytes. */
export async function rebuild(v: PackageVector): Promise<Bytes> {
  if (!v.package.sha256) return bytesOf(v.package);
  const bytes = await sealed(v);
  if (!(await matches(v.package, bytes))) throw new Error('sealed anew, it is another package');
  return bytes;
}

/** Over this length a package is not converted: that would take long and show nothing new. */
export const LONG = 4 << 20;

/** A chunked package of which only the digest is given cannot be made here. */
export const available = (v: PackageVector): boolean =>
  v.header.algorithm !== 3 || !v.package.sha256;

/** Seals the vector's value under its key, salt and nonce; not for algorithm 3. */
export async function sealed(v: PackageVector): Promise<Bytes> {
  const [header, nonce, data] = [await headerBytes(v), fromHex(v.nonce), await additionalData(v)];
  const plaintext = padded(v, concat(await details(v), bytesOf(v.value)));
  const key = await messageKey(await importSecret(fromHex(v.key)), fromHex(v.header.salt));
  if (v.header.algorithm === 1)
    return concat(header, nonce, new Uint8Array(await gcmSeal(key, nonce, data, plaintext)));
  const tag = await gcmSeal(key, nonce, concat(data, plaintext), new Uint8Array(0));
  return concat(header, nonce, new Uint8Array(tag), plaintext);
}

/** The plaintext with the vector's padding, or else by Padmé and at least to 256 bytes (SPEC.md section 6.3). */
function padded(v: PackageVector, plaintext: Bytes): Bytes {
  if (!(v.header.flags & 4)) return plaintext;
  const size = Math.max(plaintext.length + 1, 256);
  const exponent = Math.floor(Math.log2(size));
  const unit = 2 ** (exponent - Math.floor(Math.log2(exponent)) - 1);
  const padding = new Uint8Array(v.padding ?? Math.ceil(size / unit) * unit - plaintext.length);
  padding[0] = 0x80;
  return concat(plaintext, padding);
}

/** The fields of the vector's header, in words. */
export function metadataOf({ header: h }: PackageVector): Metadata {
  return {
    version: '1.0',
    algorithm: algorithms[h.algorithm]!,
    classification: classes[h.class - 1]!,
    use: uses[h.use] as Metadata['use'],
    keySource: sources[h.source]!,
    keyId: h.keyId,
    valueType: types[h.type]!,
    encryptedAt: new Date(h.encryptedAt),
    revision: h.revision,
    context: h.context,
    ...(h.iterations ? { iterations: h.iterations } : {}),
    tombstone: (h.flags & 1) !== 0,
    sealedContext: (h.flags & 2) !== 0,
    padded: (h.flags & 4) !== 0,
    sealedName: (h.flags & 8) !== 0,
  };
}

export async function headerBytes(v: PackageVector): Promise<Bytes> {
  return writeHeader(await core, metadataOf(v), fromHex(v.header.salt));
}

/** The additional data that the core computes for opening the package in its place. */
export async function additionalData(v: PackageVector): Promise<Bytes> {
  const [c, header, h] = [await core, await headerBytes(v), v.header];
  const session = c.check(
    c.call.openSingle(h.source, (c.begin().bytes(fromHex(h.keyId)), h.iterations)),
  );
  const body = (v.package.length ?? v.package.hex.length / 2) - header.length;
  const input = c.begin().bytes(header).bytes(encodePlace(v.place)).length;
  const data = c.output(c.call.planOpen(session, h.use, h.class, input, body));
  c.call.closeSession(session);
  return data;
}

/** The encoding of a place in the additional data (SPEC.md section 5). */
export function encodePlace({ owner, collection, name }: VectorPlace): Bytes {
  const text = (s: string) => {
    const b = new TextEncoder().encode(s);
    return concat(new Uint8Array([b.length >> 8, b.length & 255]), b);
  };
  const place = concat(text(owner), text(collection));
  return name === undefined
    ? concat(place, new Uint8Array(1))
    : concat(place, new Uint8Array([1]), text(name));
}

async function details({ header: h, details: d }: PackageVector): Promise<Bytes> {
  const c = await core;
  const { encodeDetails } = c.call;
  const input = c
    .begin()
    .text(d?.name ?? '')
    .text(d?.mediaType ?? '')
    .text(d?.fileName ?? '')
    .map(d?.context).length;
  return c.output(encodeDetails(h.type, h.flags, d?.element ?? 0, input, d?.lastModified ?? 0));
}

/** The JSON form; its ciphertext is filled in where the file leaves it out. */
export async function withCiphertext(v: PackageVector, bytes: Bytes): Promise<EncryptedPackage> {
  const start = (await headerBytes(v)).length + (v.header.algorithm === 3 ? 0 : 12);
  return { ciphertext: toBase64(bytes.subarray(start)), ...v.json } as EncryptedPackage;
}
