import { type Core, Reader, isWellFormed } from './core.js';
import { errorOf } from './errors.js';
import { TOMBSTONE } from './header.js';

/** What JSON carries: it comes back as `JSON.parse` gives it. */
export type Json = string | number | boolean | null | { readonly [key: string]: Json | undefined } | readonly Json[];

/** What can be stored. A text, byte array, ArrayBuffer, Blob or File comes back as such; anything else travels as JSON. */
export type StoredValue = Json | Uint8Array | ArrayBuffer | Blob | File;

/** A value as bytes; `borrowed` says that they are the caller's, who may change them. */
export interface Encoded {
  type: number;
  bytes: Uint8Array<ArrayBuffer>;
  borrowed: boolean;
}

const TEXT = 1;
const BYTES = 2;
const BUFFER = 3;
const JSON_TEXT = 4;
const BLOB = 5;
const FILE = 6;
const LIMIT = 64 << 20;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Turns a value into bytes. Throws `invalid_argument` for what would not come back equal, `too_large` over 64 MiB. */
export function encodeValue(core: Core, value: unknown): Encoded | Promise<Encoded> {
  if (typeof value === 'string') {
    if (!isWellFormed(value)) throw errorOf('invalid_argument', 'text with a lone surrogate');
    return limited({ type: TEXT, bytes: encoder.encode(value), borrowed: false });
  }
  if (value instanceof Uint8Array) return limited({ type: BYTES, bytes: unshared(value), borrowed: true });
  if (value instanceof ArrayBuffer) return limited({ type: BUFFER, bytes: new Uint8Array(value), borrowed: true });
  if (typeof Blob !== 'undefined' && value instanceof Blob) return encodeBlob(core, value);
  return limited({ type: JSON_TEXT, bytes: encoder.encode(toJson(value)), borrowed: false });
}

function limited(e: Encoded): Encoded {
  if (e.bytes.length > LIMIT) throw errorOf('too_large', 'a value is at most 64 MiB');
  return e;
}

/** WebCrypto takes no shared memory. */
function unshared(b: Uint8Array): Uint8Array<ArrayBuffer> {
  return b.buffer instanceof ArrayBuffer ? (b as Uint8Array<ArrayBuffer>) : new Uint8Array(b);
}

async function encodeBlob(core: Core, blob: Blob): Promise<Encoded> {
  if (blob.size > LIMIT) throw errorOf('too_large', 'a value is at most 64 MiB');
  const file = typeof File !== 'undefined' && blob instanceof File ? blob : undefined;
  const type = file ? FILE : BLOB;
  const input = core.begin().text(blob.type).text(file?.name ?? '').length;
  const details = core.output(core.call.details(type, 0, input, file?.lastModified ?? 0));
  try {
    return { type, bytes: new Uint8Array(await new Blob([details, blob]).arrayBuffer()), borrowed: false };
  } catch (cause) {
    throw errorOf('invalid_argument', 'the file cannot be read (was it changed or moved?)', cause);
  }
}

function toJson(value: unknown): string {
  const prototype: unknown = typeof value === 'object' && value !== null ? Object.getPrototypeOf(value) : null;
  const plain = prototype === null || prototype === Object.prototype || Array.isArray(value);
  if (!plain || (typeof value === 'number' && !Number.isFinite(value))) {
    throw errorOf('invalid_argument', 'a value must be text, bytes, a Blob, or JSON: objects of a class would not come back as such');
  }
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw errorOf('invalid_argument', 'the value cannot be written as JSON', cause);
  }
  if (text === undefined) throw errorOf('invalid_argument', 'undefined and functions cannot be stored; use null or delete');
  return text;
}

/** What a plaintext held. */
export interface Decoded {
  value: unknown;
  /** The context, where it was sealed inside. */
  context?: Record<string, string>;
}

/** Turns an opened plaintext back into the value. Throws `malformed` where it is not what its type says. */
export function decodeValue(core: Core, type: number, flags: number, plaintext: Uint8Array<ArrayBuffer>): Decoded {
  if (type !== BLOB && type !== FILE && flags === 0) return { value: decodeBytes(type, plaintext) };
  const head = plaintext.subarray(0, 18 << 10); // details are shorter
  const length = core.begin().bytes(head).length;
  const r = new Reader(core.output(core.call.cutDetails(type, flags, length)));
  const value = plaintext.subarray(r.uint(4));
  const lastModified = r.int64();
  const [mediaType, name] = [r.text(), r.text()];
  const context: [string, string][] = [];
  while (!r.done) context.push([r.text(), r.text()]);
  const decoded: Decoded = { value: undefined, context: Object.fromEntries(context) };
  if (type === BLOB) decoded.value = new Blob([value], { type: mediaType });
  else if (type === FILE) decoded.value = new File([value], name, { type: mediaType, lastModified });
  else decoded.value = flags & TOMBSTONE ? null : decodeBytes(type, value); // a tombstone's empty value is none
  return decoded;
}

function decodeBytes(type: number, b: Uint8Array<ArrayBuffer>): unknown {
  if (type === BYTES) return b.byteLength === b.buffer.byteLength ? b : b.slice();
  if (type === BUFFER) return b.byteLength === b.buffer.byteLength ? b.buffer : b.slice().buffer;
  try {
    const text = decoder.decode(b);
    return type === TEXT ? text : (JSON.parse(text) as unknown);
  } catch (cause) {
    throw errorOf('malformed', undefined, cause);
  }
}
