import { type Core, Reader, isPlain, isWellFormed } from './core.js';
import { errorOf } from './errors.js';
import { TOMBSTONE } from './header.js';
import { unshared } from './primitives.js';

/** What JSON carries: it comes back as `JSON.parse` gives it. */
export type Json = string | number | boolean | null | { readonly [key: string]: Json | undefined } | readonly Json[];

/** What can be stored. A text, byte array, ArrayBuffer, Blob or File comes back as such; anything else travels as JSON. */
export type StoredValue = Json | Uint8Array | ArrayBuffer | Blob | File;

/** A value as bytes, or a Blob still to be read. */
export class Encoded {
  /** `borrowed` says that the bytes are the caller's, who may change them. */
  constructor(
    readonly type: number,
    readonly bytes: Uint8Array<ArrayBuffer>,
    readonly borrowed = false,
    readonly blob?: Blob,
  ) {}

  /** The same with bytes of its own: to be taken before anything is awaited. */
  own(): Encoded {
    return this.borrowed ? new Encoded(this.type, new Uint8Array(this.bytes)) : this;
  }
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

/** Turns a value into bytes, in the tick of the call. Throws `invalid_argument` for what would not come back equal, `too_large` over 64 MiB. */
export function encodeValue(value: unknown): Encoded {
  if (value instanceof Encoded) return value;
  if (typeof Blob !== 'undefined' && value instanceof Blob) {
    return limited(new Encoded(typeof File !== 'undefined' && value instanceof File ? FILE : BLOB, none, false, value), value.size);
  }
  if (value instanceof Uint8Array) return limited(new Encoded(BYTES, unshared(value), true));
  if (value instanceof ArrayBuffer) return limited(new Encoded(BUFFER, viewOf(value), true));
  if (typeof value !== 'string') return limited(new Encoded(JSON_TEXT, encoder.encode(toJson(value))));
  if (!isWellFormed(value)) throw errorOf('invalid_argument', 'text with a lone surrogate');
  return limited(new Encoded(TEXT, encoder.encode(value)));
}

const none = new Uint8Array(0);

function limited(e: Encoded, size = e.bytes.length): Encoded {
  if (size > LIMIT) throw errorOf('too_large', 'a value has at most 64 MiB');
  return e;
}

function viewOf(buffer: ArrayBuffer): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(buffer);
  } catch (cause) {
    throw errorOf('invalid_argument', 'the buffer is detached', cause);
  }
}

/** Reads a Blob, behind what is said of it. */
export async function readBlob(core: Core, { type, blob }: Encoded): Promise<Encoded> {
  const { name = '', lastModified = 0 } = blob as File;
  const input = core.begin().text((blob as Blob).type).text(type === FILE ? name : '').length;
  const details = core.output(core.call.details(type, 0, input, type === FILE ? lastModified : 0));
  try {
    return new Encoded(type, new Uint8Array(await new Blob([details, blob as Blob]).arrayBuffer()));
  } catch (cause) {
    throw errorOf('invalid_argument', 'the file cannot be read: was it changed?', cause);
  }
}

function toJson(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw errorOf('invalid_argument', 'not JSON', cause);
  }
  if (text === undefined || !isJson(value)) {
    throw errorOf('invalid_argument', 'a value is text, bytes, a Blob, or JSON throughout');
  }
  return text;
}

/** Whether JSON gives a value back as it is, but for members that are undefined. It has no cycle: JSON.stringify went before. */
function isJson(v: unknown): boolean {
  if (typeof v === 'number') return Number.isFinite(v);
  if (Array.isArray(v)) return v.every(isJson);
  if (typeof v === 'object' && v !== null) return isPlain(v) && Object.values(v).every((x) => x === undefined || isJson(x));
  return v === null || typeof v === 'string' || typeof v === 'boolean';
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
